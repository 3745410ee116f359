/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes sets of PATH's volume step by step, in right and in wrong order: library-steps PATH GO EVENTS. A writer waits
 * in prepare-backup for the file GO. Ends by assert() where the library does not do as umbra/umbra.h says.
 */
#include <umbra/umbra.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct umbra_client *client;
static const char *events;

static void assert_refused(int result, int reason) {
  assert(result < 0);
  assert(umbra_client_reason(client) == reason);
  assert(*umbra_client_message(client));
}

static struct umbra_set *new_set(const char *path, const char *auto_release) {
  struct umbra_set *set = NULL;
  assert(umbra_set_new(client, &set) == 0);
  assert(umbra_set_option(set, "provider", "files") == 0);
  assert(umbra_set_option(set, "auto-release", auto_release) == 0);
  assert(umbra_set_add_path(set, path) == 0);
  return set;
}

static int sets(void) {
  char *json = NULL;
  assert(umbra_list(client, "sets", &json) == 0);
  int count = 0;
  for (const char *at = json; (at = strstr(at, "\"created\"")); at++)
    count++;
  free(json);
  return count;
}

/* How often a word is in the writer's notes. */
static int noted(const char *word) {
  char line[256];
  FILE *notes = fopen(events, "r");
  int count = 0;
  while (notes && fgets(line, sizeof line, notes))
    count += strstr(line, word) != NULL;
  if (notes)
    (void)fclose(notes);
  return count;
}

/* Whenever it comes back nobody stands still. */
static void dispatch_to_the_end(void) {
  while (umbra_client_dispatch(client) > 0)
    assert(noted(" freeze") == noted(" thaw"));
}

int main(int argc, char **argv) {
  assert(argc == 4);
  events = argv[3];
  assert(umbra_client_new(&client) == 0);
  assert(umbra_client_fd(client) >= 0);
  assert(umbra_client_dispatch(client) == 0);
  struct umbra_set *one = new_set(argv[1], "yes"), *other = new_set(argv[1], "no"), *freed = new_set(argv[1], "yes");
  assert_refused(umbra_set_result(one), UMBRA_REASON_BAD_STATE);
  assert(umbra_set_create_async(one) == 0);
  assert(umbra_set_result(one) == -EINPROGRESS);
  assert_refused(umbra_set_create_async(other), UMBRA_REASON_BAD_STATE);
  assert_refused(umbra_set_create(other), UMBRA_REASON_BAD_STATE);
  assert_refused(umbra_set_add_path(one, argv[1]), UMBRA_REASON_BAD_STATE);
  assert(close(open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) == 0);
  dispatch_to_the_end();
  assert(umbra_set_result(one) == 0);
  assert(umbra_set_document(one));
  assert_refused(umbra_set_create_async(one), UMBRA_REASON_BAD_STATE);
  assert(umbra_set_complete(one, 1) == 0);
  /* One that stays has no owner when it is made. */
  assert(umbra_set_create_async(other) == 0);
  dispatch_to_the_end();
  assert(umbra_set_result(other) == 0);
  assert_refused(umbra_set_complete(other, 1), UMBRA_REASON_BAD_STATE);
  assert(sets() == 2);
  /* Freed in the midst of it: undone. What was freed is no longer this client's. */
  assert(unlink(argv[2]) == 0);
  assert(umbra_set_create_async(freed) == 0);
  assert(umbra_set_result(freed) == -EINPROGRESS);
  umbra_set_free(freed);
  assert(umbra_client_dispatch(client) == 0);
  assert(sets() == 2);
  umbra_set_free(one);
  umbra_set_free(other);
  assert(sets() == 1);
  umbra_client_free(client);
  return 0;
}
