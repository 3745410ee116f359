/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "view/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int beneath_open(int directory_fd, const char *path, int flags) {
  path += strspn(path, "/");
  struct open_how how = {.flags = (unsigned)flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
  long fd = syscall(SYS_openat2, directory_fd, *path ? path : ".", &how, sizeof how);
  return fd < 0 ? -errno : (int)fd;
}
