/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A requester with a loop of its own: makes a shadow copy of the volume of PATH and listens to its user meanwhile.
 *
 *     requester-async PATH
 *
 * A line "cancel" on standard input gives up; any other is answered. Status 1: no shadow copy; 4: it was given up.
 */
#include "umbra/umbra.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 0: no more input. */
static int listen_to_user(struct umbra_client *client) {
  char line[256];
  ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
  if (n <= 0)
    return 0;
  line[n] = 0;
  if (strncmp(line, "cancel", 6) == 0)
    umbra_client_cancel(client);
  else
    (void)printf("still at it: %s", line);
  (void)fflush(stdout);
  return 1;
}

static int wait_for_result(struct umbra_client *client, struct umbra_set *set) {
  int listening = 1;
  while (umbra_set_result(set) == -EINPROGRESS) {
    struct pollfd polls[2];
    polls[0].fd = umbra_client_fd(client);
    polls[1].fd = listening ? STDIN_FILENO : -1;
    polls[0].events = polls[1].events = POLLIN;
    if (poll(polls, 2, -1) < 0 && errno != EINTR)
      return -errno;
    if (polls[1].revents)
      listening = listen_to_user(client);
    (void)umbra_client_dispatch(client);
  }
  return umbra_set_result(set);
}

int main(int argc, char **argv) {
  struct umbra_client *client = NULL;
  struct umbra_set *set = NULL;
  if (argc != 2 || umbra_client_new(&client) < 0) {
    (void)fprintf(stderr, "usage: requester-async PATH\n");
    return 2;
  }
  int r = umbra_set_new(client, &set);
  if (r >= 0)
    r = umbra_set_option(set, "auto-release", "yes");
  if (r >= 0)
    r = umbra_set_add_path(set, argv[1]);
  if (r >= 0)
    r = umbra_set_create_async(set);
  if (r >= 0)
    r = wait_for_result(client, set);
  if (r < 0)
    (void)fprintf(stderr, "requester-async: %s\n", umbra_client_message(client));
  else
    (void)printf("%s\n", umbra_set_document(set));
  umbra_set_free(set);
  umbra_client_free(client);
  return r == -ECANCELED ? 4 : r < 0;
}
