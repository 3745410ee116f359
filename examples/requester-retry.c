/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A requester that knows what is worth a second try: makes a shadow copy, application-consistent or none, of the
 * volume of PATH.
 *
 *     requester-retry PATH [SECONDS-BETWEEN]
 *
 * Prints a line for each try that failed: its reason and message. Status 1: given up.
 */
#include "umbra/umbra.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TRIES_MAX = 3, SECONDS_BETWEEN = 600 };

static int is_worth_another_try(int reason) {
  return reason == UMBRA_REASON_WRITER_RETRY || reason == UMBRA_REASON_WRITER_TIMEOUT ||
         reason == UMBRA_REASON_HOLD_TIMEOUT || reason == UMBRA_REASON_BUSY;
}

/* A set that failed has been undone: each try has its own. */
static int try_it(struct umbra_client *client, const char *path) {
  struct umbra_set *set = NULL;
  int r = umbra_set_new(client, &set);
  if (r >= 0)
    r = umbra_set_option(set, "auto-release", "yes");
  if (r >= 0)
    r = umbra_set_option(set, "require", "application");
  if (r >= 0)
    r = umbra_set_add_path(set, path);
  if (r >= 0)
    r = umbra_set_create(set);
  if (r >= 0)
    (void)printf("%s\n", umbra_set_document(set));
  umbra_set_free(set);
  return r;
}

int main(int argc, char **argv) {
  struct umbra_client *client = NULL;
  if (argc < 2 || umbra_client_new(&client) < 0) {
    (void)fprintf(stderr, "usage: requester-retry PATH [SECONDS-BETWEEN]\n");
    return 2;
  }
  unsigned between_s = argc > 2 ? (unsigned)atoi(argv[2]) : SECONDS_BETWEEN;
  int r = try_it(client, argv[1]);
  for (int tries = 1; r < 0; tries++) {
    (void)fprintf(stderr, "try %d: %s: %s\n", tries, umbra_reason_name(umbra_client_reason(client)),
                  umbra_client_message(client));
    if (tries == TRIES_MAX || !is_worth_another_try(umbra_client_reason(client)))
      break;
    (void)sleep(between_s);
    r = try_it(client, argv[1]);
  }
  umbra_client_free(client);
  return r < 0;
}
