/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libumbra/reverting.h"
#include "libumbra/handles.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"
#include "cow/serve/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The directory of the notes, open, or negative errno. */
static int open_notes(const struct umbra_client *client, bool make) {
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "%s/reverting", client->coordinator->state_dir) < 0) {
    path = NULL;
    return -ENOMEM;
  }
  int r = make ? fd_make_directories(path, 0700) : 0;
  return r < 0 ? r : fd_open_directory(path);
}

int reverting_begin(struct umbra_client *client, const char *name, const char *shadow_id) {
  CLEANUP_JSON json_t *note = json_pack("{s:s}", "shadow", shadow_id);
  CLEANUP_CLOSE int notes = open_notes(client, true);
  if (notes < 0 || !note)
    return error_code(&client->error, notes < 0 ? notes : -ENOMEM, "writing down that '%s' is reverted", name);
  return json_write_file(notes, name, note, 0600, true, &client->error);
}

int reverting_end(struct umbra_client *client, const char *name) {
  CLEANUP_CLOSE int notes = open_notes(client, false);
  if (notes == -ENOENT)
    return 0;
  if (notes < 0)
    return error_code(&client->error, notes, "writing down that '%s' is whole", name);
  if ((unlinkat(notes, name, 0) < 0 && errno != ENOENT) || fsync(notes) < 0)
    return error_errno(&client->error, "writing down that '%s' is whole", name);
  return 0;
}

char *reverting_to(const struct umbra_client *client, const char *name) {
  CLEANUP_CLOSE int notes = open_notes(client, false);
  CLEANUP_JSON json_t *note = NULL;
  if (notes < 0 || json_read_file(notes, name, &note, NULL) < 0)
    return NULL;
  return strdup(json_get_string_or(note, "shadow", "?"));
}

void reverting_judge(struct umbra_client *client, const char *name, const char *directory) {
  CLEANUP_FREE char *id = reverting_to(client, name);
  CLEANUP_JSON json_t *shadows = NULL;
  if (!id || cow_client_list(directory, &shadows, NULL) < 0)
    return;
  const char *state = json_get_string_or(json_object_get(shadows, id), "state", "");
  if (strcmp(state, "live") == 0) {
    coordinator_warn(client->coordinator, "'%s' is half reverted: end that before it is used (umbra revert %.8s)",
                     name, id);
    return;
  }
  coordinator_warn(client->coordinator,
                   "'%s' was half reverted to shadow copy %s, which is gone: unless it was made anew since, it is a "
                   "mixture: restore it from a backup",
                   name, id);
  (void)reverting_end(client, name);
}
