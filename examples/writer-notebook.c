/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer in 60 lines: a notebook whose pages are only whole while its lock is held (flock on NOTEBOOK/lock).  From
 * freeze to thaw it holds that lock; should umbra or this process die, the kernel gives it back.
 *
 *     cc -o /etc/umbra/writers.d/notebook writer-notebook.c -lumbra
 */
#include "umbra/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int lock_fd = -1;

static const char *notebook(void) {
  const char *directory = getenv("NOTEBOOK");
  return directory ? directory : "/srv/notebook";
}

static int identify(struct umbra_writer_list *list) {
  if (access(notebook(), R_OK) < 0)
    return 0; /* no notebook, nobody to tell */
  struct umbra_writer_instance *i = umbra_writer_list_add(list, NULL, UMBRA_WRITER_FRONT_END);
  umbra_writer_instance_add_files(i, "pages", notebook(), "*", 1);
  umbra_writer_instance_add_exclude(i, "pages", notebook(), "lock");
  return 0;
}

static int let_go(struct umbra_writer_session *s) {
  (void)s;
  if (lock_fd >= 0)
    (void)close(lock_fd);
  lock_fd = -1;
  return 0;
}

static int freeze(struct umbra_writer_session *s) {
  char path[4096];
  (void)snprintf(path, sizeof path, "%s/lock", notebook());
  lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_fd < 0 || flock(lock_fd, LOCK_EX) < 0)
    return umbra_writer_fail(s, -errno, "locking '%s': %s", path, strerror(errno));
  return 0;
}

static const struct umbra_writer writer = {
    .name = "notebook", .identify = identify, .freeze = freeze, .thaw = let_go, .abort = let_go};

int main(int argc, char **argv) { return umbra_writer_main(&writer, argc, argv); }
