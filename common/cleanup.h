/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ownership by scope: a local that owns something says so with one of these attributes and is released when it goes
 * out of scope.  Handing over is explicit, with take_fd() or take_pointer().  Declaration order is destruction order.
 */
#ifndef COMMON_CLEANUP_H
#define COMMON_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static inline void cleanup_free_pointer(void *pointer) { free(*(void **)pointer); }
static inline void cleanup_close_fd(int *fd) {
  if (*fd >= 0)
    (void)close(*fd);
}
static inline void cleanup_close_dir(DIR **dir) {
  if (*dir)
    (void)closedir(*dir);
}
static inline void cleanup_close_file(FILE **file) {
  if (*file)
    (void)fclose(*file);
}

#define CLEANUP_FREE CLEANUP(cleanup_free_pointer)
#define CLEANUP_CLOSE CLEANUP(cleanup_close_fd)
#define CLEANUP_CLOSEDIR CLEANUP(cleanup_close_dir)
#define CLEANUP_FCLOSE CLEANUP(cleanup_close_file)

/* Gives the descriptor away: returns it and leaves -EBADF-like -1 behind. */
static inline int take_fd(int *fd) {
  int taken = *fd;
  *fd = -1;
  return taken;
}

static inline void *take_pointer_impl(void **pointer) {
  void *taken = *pointer;
  *pointer = NULL;
  return taken;
}
/* Gives the pointer away: evaluates to it and leaves NULL behind. */
#define take_pointer(p) ((__typeof__(p))take_pointer_impl((void **)&(p)))

#endif
