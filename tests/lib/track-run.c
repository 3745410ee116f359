/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a shell command while a block device is tracked.
 *
 *     track-run DEVICE COMMAND [sturdy]
 *
 * Status: the command's, or 125 if tracking could not start or may have missed a write.
 */
#include "track/track.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

int main(int argc, char **argv) {
  struct umbra_error err = {0};
  struct track *t = NULL;
  if (argc < 3)
    return 125;
  int fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
  int r =
      fd < 0 ? error_errno(&err, "opening '%s'", argv[1]) : track_start(fd, argc > 3 ? TRACK_STURDY : 0, &t, &err);
  int status = r < 0 ? 0 : system(argv[2]);
  if (r >= 0)
    r = track_check(t, NULL, &err);
  if (r < 0)
    (void)fprintf(stderr, "track-run: %s\n", err.message);
  track_stop(t);
  return r < 0 ? 125 : WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
