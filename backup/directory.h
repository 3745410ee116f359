/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory's descriptor with several owners: the walk that goes on and the threads that still read files in it. */
#ifndef BACKUP_DIRECTORY_H
#define BACKUP_DIRECTORY_H

#include "common/cleanup.h"

#include <stdatomic.h>

struct directory {
  int fd;
  atomic_uint owners;
};

/* Owns fd from now on, even on failure (NULL). */
static inline struct directory *directory_new(int fd) {
  struct directory *d = malloc(sizeof *d);
  if (!d) {
    (void)close(fd);
    return NULL;
  }
  d->fd = fd;
  atomic_init(&d->owners, 1);
  return d;
}
static inline struct directory *directory_ref(struct directory *d) {
  (void)atomic_fetch_add(&d->owners, 1);
  return d;
}
static inline void directory_unref(struct directory *d) {
  if (!d || atomic_fetch_sub(&d->owners, 1) > 1)
    return;
  (void)close(d->fd);
  free(d);
}

#endif
