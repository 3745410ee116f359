/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/placing.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { NAME_BYTES = 32, TRIES_MAX = 16 };

static void beside(char name[NAME_BYTES]) {
  uint64_t number = 0;
  (void)getrandom(&number, sizeof number, 0);
  (void)snprintf(name, NAME_BYTES, ".umbra-%016llx", (unsigned long long)number);
}

static int has_place(const struct umbra_stream_options *options, struct umbra_error *err) {
  return options->name ? 0
                       : error_set(err, -EINVAL, UMBRA_REASON_INVALID,
                                   "what takes the file's place needs to know its directory and name");
}

/* Into place, and a descriptor of it. */
static int move_in(const struct umbra_stream_options *options, const char *temporary, struct umbra_error *err) {
  int fd = openat(options->directory_fd, temporary, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0 && renameat(options->directory_fd, temporary, options->directory_fd, options->name) == 0) {
    /* Two names of one file: the rename does nothing, and leaves both. */
    (void)unlinkat(options->directory_fd, temporary, 0);
    return fd;
  }
  int r = error_errno(err, "putting '%s' in its place", options->name);
  if (fd >= 0)
    (void)close(fd);
  (void)unlinkat(options->directory_fd, temporary, 0);
  return r;
}

int placing_special(const struct umbra_stream_options *options, mode_t type, dev_t device, const char *symlink_target,
                    struct umbra_error *err) {
  char temporary[NAME_BYTES];
  int r = has_place(options, err);
  if (r < 0)
    return r;
  for (int i = 0; i < TRIES_MAX; i++) {
    beside(temporary);
    r = S_ISLNK(type) ? symlinkat(symlink_target, options->directory_fd, temporary)
                      : mknodat(options->directory_fd, temporary, type | 0600, device);
    if (r == 0)
      return move_in(options, temporary, err);
    if (errno != EEXIST)
      break;
  }
  return error_errno(err, "making what '%s' is", options->name);
}

int placing_link(const struct umbra_stream_options *options, const char *path, struct umbra_error *err) {
  char temporary[NAME_BYTES], source[FD_PROC_PATH_BYTES];
  struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
  int r = has_place(options, err);
  if (r < 0)
    return r;
  if (options->root_fd < 0)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID,
                     "one more name of '%s', and where its path starts from was not told", path);
  CLEANUP_CLOSE int fd = (int)syscall(SYS_openat2, options->root_fd, path, &how, sizeof how);
  if (fd < 0)
    return error_errno(err, "looking for '%s', of which '%s' is one more name", path, options->name);
  for (int i = 0; i < TRIES_MAX; i++) {
    beside(temporary);
    if (linkat(AT_FDCWD, fd_proc_path(fd, source), options->directory_fd, temporary, AT_SYMLINK_FOLLOW) == 0)
      return move_in(options, temporary, err);
    if (errno != EEXIST)
      break;
  }
  return error_errno(err, "making '%s' one more name of '%s'", options->name, path);
}
