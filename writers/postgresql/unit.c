/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking systemctl. See unit.h. */
#include "writers/postgresql/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

/* What it prints is of no interest, its complaints only when something is to be done. */
static int systemctl(const char *verb, const char *option, const char *unit, bool complain) {
  char *const arguments[] = {(char *)"systemctl", (char *)verb, (char *)option, (char *)"--", (char *)unit, NULL};
  pid_t pid;
  int status;
  posix_spawn_file_actions_t actions;
  int r = posix_spawn_file_actions_init(&actions);
  if (r != 0)
    return -r;
  r = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  if (r == 0 && !complain)
    r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  if (r == 0)
    r = posix_spawnp(&pid, arguments[0], &actions, NULL, arguments, environ);
  (void)posix_spawn_file_actions_destroy(&actions);
  if (r != 0)
    return -r;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR)
      return -errno;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

bool unit_known(const char *unit) { return unit && systemctl("cat", "--quiet", unit, false) == 0; }
bool unit_active(const char *unit) { return unit && systemctl("is-active", "--quiet", unit, false) == 0; }
int unit_stop(const char *unit) { return systemctl("stop", "--no-ask-password", unit, true); }
int unit_start(const char *unit) { return systemctl("start", "--no-ask-password", unit, true); }
