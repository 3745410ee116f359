/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libumbra/condition.h"
#include "libumbra/handles.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "providers/provider.h"

#include <errno.h>
#include <string.h>

/* {id: record} of one provider's. */
static json_t *records_of(const json_t *made, const char *provider) {
  json_t *records = json_object(), *one;
  const char *id;
  json_object_foreach((json_t *)made, id, one) {
    if (strcmp(json_get_string_or(one, "provider", ""), provider) == 0)
      (void)json_object_set(records, id, json_object_get(one, "record"));
  }
  return records;
}

json_t *condition_find(const json_t *made) {
  json_t *found = json_object();
  for (size_t i = 0; found && i < providers_count; i++) {
    CLEANUP_JSON json_t *records = providers[i]->look ? records_of(made, providers[i]->name) : NULL;
    if (json_object_size(records) > 0)
      providers[i]->look(records, found);
  }
  return found;
}

void condition_note(json_t *set, const char *usual, const json_t *found) {
  const char *all = NULL;
  size_t i;
  json_t *shadow;
  json_array_foreach(json_object_get(set, "shadows"), i, shadow) {
    const json_t *condition = json_object_get(found, json_get_string_or(shadow, "id", ""));
    const char *state = json_get_string_or(condition, "state", usual),
               *why = json_get_string_or(condition, "why", NULL);
    (void)json_object_set_new(shadow, "state", json_string(state));
    (void)json_object_set_new(shadow, "why", why ? json_string(why) : json_null());
    all = !all || strcmp(all, state) == 0 ? state : "incomplete";
  }
  (void)json_object_set_new(set, "state", json_string(all ? all : usual));
}

int condition_check(struct umbra_client *client, const json_t *made, const char *shadow_id) {
  CLEANUP_JSON json_t *one = json_pack("{s:O?}", shadow_id, made), *found = condition_find(one);
  const json_t *condition = json_object_get(found, shadow_id);
  const char *state = json_get_string_or(condition, "state", ""), *why = json_get_string_or(condition, "why", "");
  if (strcmp(state, "dropped") == 0)
    return error_set(&client->error, -EIO, UMBRA_REASON_STORAGE,
                     "shadow copy %s was dropped: %s (it can only be deleted)", shadow_id, why);
  if (strcmp(state, "detached") == 0)
    return error_set(&client->error, -ENOENT, UMBRA_REASON_NOT_FOUND, "shadow copy %s cannot be shown: %s", shadow_id,
                     why);
  if (strcmp(state, "lost") == 0)
    return error_set(&client->error, -ENOENT, UMBRA_REASON_NOT_FOUND,
                     "shadow copy %s is lost: %s (it can only be deleted)", shadow_id, why);
  return 0;
}
