/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backup program in some 60 lines: copies a directory as it was at one instant, with the writers' consent.
 *
 *     requester-copy SOURCE TARGET
 *
 * TARGET must not exist. Status 3, as umbra's own: copied, but a writer could not do what it promised.
 */
#include "umbra/umbra.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void warn(void *userdata, const char *message) {
  (void)userdata;
  (void)fprintf(stderr, "requester-copy: %s\n", message);
}

/* cp, in the directory that shows the shadow copy. */
static int copy(int directory_fd, const char *target) {
  pid_t pid = fork();
  if (pid == 0) {
    if (fchdir(directory_fd) == 0)
      (void)execlp("cp", "cp", "-aT", "--", ".", target, (char *)NULL);
    _exit(127);
  }
  int status = -1;
  return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -EIO;
}

int main(int argc, char **argv) {
  struct umbra_client *client = NULL;
  struct umbra_set *set = NULL;
  char target[4096];
  if (argc != 3 || !getcwd(target, sizeof target) || umbra_client_new(&client) < 0) {
    (void)fprintf(stderr, "usage: requester-copy SOURCE TARGET\n");
    return 2;
  }
  size_t length = argv[2][0] == '/' ? 0 : strlen(target);
  (void)snprintf(target + length, sizeof target - length, "%s%s", length ? "/" : "", argv[2]);
  umbra_client_on_warning(client, warn, NULL);
  int directory = -1, copied = -1, r = umbra_set_new(client, &set);
  if (r >= 0)
    r = umbra_set_option(set, "auto-release", "yes"); /* gone with us, in whatever way we go */
  if (r >= 0)
    r = umbra_set_add_path(set, argv[1]);
  if (r >= 0)
    r = umbra_set_create(set);
  if (r >= 0)
    r = directory = umbra_set_open_path(set, argv[1]);
  if (r >= 0) {
    copied = copy(directory, target);
    r = umbra_set_complete(set, copied == 0);
    (void)close(directory);
  }
  if (r < 0 || copied < 0)
    (void)fprintf(stderr, "requester-copy: %s\n", r < 0 ? umbra_client_message(client) : "copying failed");
  int degraded = r >= 0 && umbra_set_degraded(set);
  umbra_set_free(set);
  umbra_client_free(client);
  return r < 0 || copied < 0 ? 1 : degraded ? 3 : 0;
}
