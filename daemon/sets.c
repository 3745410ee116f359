/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/sets.h"

#include "daemon/calls.h"

#include "common/cleanup.h"
#include "common/id.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SET_INTERFACE SERVICE_NAME ".Set"
#define SET_PREFIX SERVICE_PATH "/set"

/* An id without its dashes, which no object path may have. */
static int object_path(const char *prefix, const char *id, char buffer[SET_OBJECT_PATH_BYTES]) {
  if (!id_valid(id))
    return -EINVAL;
  size_t used = (size_t)snprintf(buffer, SET_OBJECT_PATH_BYTES, "%s/", prefix);
  for (const char *at = id; *at && used + 1 < SET_OBJECT_PATH_BYTES; at++)
    if (*at != '-')
      buffer[used++] = *at;
  buffer[used] = 0;
  return 0;
}

int shadow_object_path(const char *id, char buffer[SET_OBJECT_PATH_BYTES]) {
  return object_path(SERVICE_PATH "/shadow", id, buffer);
}

const char *set_object_path(const struct set_object *set) { return set->path; }

struct set_object *sets_find_path(struct service *s, const char *path) {
  struct set_object *set = s->sets;
  while (set && strcmp(set->path, path) != 0)
    set = set->next;
  return set;
}

struct set_object *sets_find_id(struct service *s, const char *id) {
  struct set_object *set = s->sets;
  while (set && strcmp(set->id, id) != 0)
    set = set->next;
  return set;
}

const char *set_object_state(const struct set_object *set) {
  static const char *const stages[] = {
      [SET_STAGE_CREATING] = "creating", [SET_STAGE_THERE] = "ready", [SET_STAGE_FAILED] = "failed"};
  const char *listed = json_get_string_or(set->document, "state", NULL);
  return set->stage == SET_STAGE_THERE && listed ? listed : stages[set->stage];
}

static struct set_object *set_new(struct service *s, const char *id, enum set_stage stage) {
  struct set_object *set = calloc(1, sizeof *set);
  json_t *document = json_object();
  if (!set || !document || object_path(SET_PREFIX, id, set->path) < 0) {
    free(set);
    json_decref(document);
    return NULL;
  }
  (void)snprintf(set->id, sizeof set->id, "%s", id);
  set->stage = stage;
  set->document = document;
  /* The newest last, as in the catalogue. */
  struct set_object **at = &s->sets;
  while (*at)
    at = &(*at)->next;
  *at = set;
  return set;
}

static void set_object_free(struct set_object *set) {
  json_decref(set->document);
  json_decref(set->result);
  free(set->owner);
  free(set->failure);
  free(set);
}

static json_t *shadows_of(const json_t *document) { return json_object_get(document, "shadows"); }

static json_t *shadow_by_id(const json_t *document, const char *id) {
  size_t i;
  json_t *shadow;
  json_array_foreach(shadows_of(document), i, shadow) {
    if (strcmp(json_get_string_or(shadow, "id", ""), id) == 0)
      return shadow;
  }
  return NULL;
}

static void announce(struct service *s, struct set_object *set) {
  (void)sd_bus_emit_object_added(s->bus, set->path);
  (void)sd_bus_emit_signal(s->bus, SERVICE_PATH, SERVICE_NAME ".Manager", "SetNew", "so", set->id, set->path);
}

/* Takes it off the bus, with its shadow copies, and frees it. */
static void set_remove(struct service *s, struct set_object *set) {
  size_t i;
  json_t *shadow;
  json_array_foreach(shadows_of(set->document), i, shadow) shadows_removed(s, shadow);
  (void)sd_bus_emit_object_removed(s->bus, set->path);
  (void)sd_bus_emit_signal(s->bus, SERVICE_PATH, SERVICE_NAME ".Manager", "SetRemoved", "so", set->id, set->path);
  for (struct set_object **at = &s->sets; *at; at = &(*at)->next)
    if (*at == set) {
      *at = set->next;
      break;
    }
  calls_set_finished(s, set->id, false, UMBRA_REASON_NOT_FOUND, "the set is gone");
  set_object_free(set);
}

void sets_free_all(struct service *s) {
  while (s->sets) {
    struct set_object *set = s->sets;
    s->sets = set->next;
    set_object_free(set);
  }
}

/* Everything but Id and Owner may be another now. */
static void tell_changed(struct service *s, const struct set_object *set) {
  (void)sd_bus_emit_properties_changed(s->bus, set->path, SET_INTERFACE, "State", "Label", "Created", "Consistency",
                                       "Instant", "HoldMs", "Persistent", "AutoRelease", "Document", "Shadows",
                                       "Failure", NULL);
}

/* document: taken. */
static void take_document(struct service *s, struct set_object *set, json_t *document) {
  CLEANUP_JSON json_t *before = set->document;
  size_t i;
  json_t *shadow;
  bool same = json_equal(before, document) == 1;
  set->document = document;
  if (same)
    return;
  json_array_foreach(shadows_of(before), i, shadow) {
    if (!shadow_by_id(document, json_get_string_or(shadow, "id", "")))
      shadows_removed(s, shadow);
  }
  json_array_foreach(shadows_of(document), i, shadow) {
    const json_t *old = shadow_by_id(before, json_get_string_or(shadow, "id", ""));
    if (!old)
      shadows_added(s, shadow);
    else if (!json_equal(old, shadow))
      shadows_changed(s, old, shadow);
  }
}

struct set_object *sets_begin(struct service *s, const struct call *c) {
  /* A list may have found it first. */
  struct set_object *found = sets_find_id(s, c->set_id),
                    *set = found ? found : set_new(s, c->set_id, SET_STAGE_CREATING);
  if (!set)
    return NULL;
  set->stage = SET_STAGE_CREATING;
  set->job = c->number;
  set->user = c->user;
  free(set->owner);
  set->owner = c->sender ? strdup(c->sender) : NULL;
  if (!found)
    announce(s, set);
  return set;
}

void sets_made(struct service *s, const char *id, const json_t *document) {
  struct set_object *set = sets_find_id(s, id);
  if (!set)
    return;
  set->stage = SET_STAGE_THERE;
  set->since = s->last_number;
  json_decref(set->result);
  set->result = json_pack("{s:O?, s:O?}", "set", json_object_get(document, "set"), "degraded",
                          json_object_get(document, "degraded"));
  take_document(s, set, json_deep_copy(json_object_get(document, "set")));
  tell_changed(s, set);
  (void)sd_bus_emit_signal(s->bus, set->path, SET_INTERFACE, "Ready", "bs", 1, "");
  calls_set_finished(s, id, true, UMBRA_REASON_NONE, "");
}

/* The oldest that have failed go when there are too many. */
static void limit_failed(struct service *s) {
  size_t count = 0;
  struct set_object *oldest = NULL;
  for (struct set_object *set = s->sets; set; set = set->next)
    if (set->stage == SET_STAGE_FAILED) {
      oldest = oldest ? oldest : set;
      count++;
    }
  if (count > SETS_FAILED_MAX)
    set_remove(s, oldest);
}

void sets_failed(struct service *s, const char *id, enum umbra_reason reason, const char *message) {
  struct set_object *set = sets_find_id(s, id);
  if (!set || set->stage != SET_STAGE_CREATING)
    return;
  set->stage = SET_STAGE_FAILED;
  set->reason = reason;
  set->failure = strdup(message);
  tell_changed(s, set);
  (void)sd_bus_emit_signal(s->bus, set->path, SET_INTERFACE, "Ready", "bs", 0, message);
  calls_set_finished(s, id, false, reason, message);
  limit_failed(s);
}

void sets_gone(struct service *s, const char *id, const char *why, bool told) {
  struct set_object *set = sets_find_id(s, id);
  if (!set)
    return;
  if (set->stage == SET_STAGE_CREATING)
    sets_failed(s, id, UMBRA_REASON_COORDINATOR_DIED, why);
  set = sets_find_id(s, id);
  if (!set)
    return;
  set->job = 0;
  if (set->stage == SET_STAGE_FAILED ? told : json_get_boolean_or(set->document, "auto_release", false))
    set_remove(s, set);
}

void sets_tell(struct service *s, const char *id, const json_t *line) {
  const struct set_object *set = sets_find_id(s, id);
  if (!set)
    return;
  if (strcmp(json_get_string_or(line, "event", ""), "warning") == 0)
    (void)sd_bus_emit_signal(s->bus, set->path, SET_INTERFACE, "Warning", "s",
                             json_get_string_or(line, "message", ""));
  else
    (void)sd_bus_emit_signal(s->bus, set->path, SET_INTERFACE, "Progress", "sstt",
                             json_get_string_or(line, "phase", ""), json_get_string_or(line, "volume", ""),
                             (uint64_t)json_get_integer_or(line, "done", 0),
                             (uint64_t)json_get_integer_or(line, "total", 0));
}

static bool is_listed(const json_t *list, const char *id) {
  size_t i;
  json_t *document;
  json_array_foreach(list, i, document) {
    if (strcmp(json_get_string_or(document, "id", ""), id) == 0)
      return true;
  }
  return false;
}

void sets_take_list(struct service *s, const json_t *list, int64_t call) {
  size_t i;
  json_t *document;
  json_array_foreach(list, i, document) {
    const char *id = json_get_string_or(document, "id", "");
    struct set_object *set = sets_find_id(s, id);
    if (!set && (set = set_new(s, id, SET_STAGE_THERE))) {
      take_document(s, set, json_deep_copy(document));
      announce(s, set);
    } else if (set && set->stage == SET_STAGE_THERE && !json_equal(set->document, document)) {
      take_document(s, set, json_deep_copy(document));
      tell_changed(s, set);
    }
  }
  struct set_object *next;
  for (struct set_object *set = s->sets; set; set = next) {
    next = set->next;
    if (set->stage == SET_STAGE_THERE && set->job == 0 && set->since < call && !is_listed(list, set->id))
      set_remove(s, set);
  }
}

int sets_append_paths(struct service *s, char ***paths) {
  char path[SET_OBJECT_PATH_BYTES];
  int r = 0;
  for (const struct set_object *set = s->sets; set && r >= 0; set = set->next) {
    size_t i;
    json_t *shadow;
    r = strv_append(paths, set->path);
    json_array_foreach(shadows_of(set->document), i, shadow) {
      if (r >= 0 && shadow_object_path(json_get_string_or(shadow, "id", ""), path) >= 0)
        r = strv_append(paths, path);
    }
  }
  return r;
}

/* ---- methods ---- */

static struct service *service_of(sd_bus_message *m) {
  return sd_bus_slot_get_userdata(sd_bus_get_current_slot(sd_bus_message_get_bus(m)));
}

/* 0, or negative with *error: only its user and those who may everything. */
static int check_user(struct service *s, const struct set_object *set, sd_bus_message *m, sd_bus_error *error) {
  uid_t user = (uid_t)-1;
  bool trusted = false;
  char name[BUS_ERROR_BYTES];
  int r = authority_look(s, m, &user, &trusted);
  if (r < 0 || trusted || user == set->user)
    return r;
  return sd_bus_error_setf(error, bus_error_name(UMBRA_REASON_ACCESS, name), "the set is another user's");
}

int sets_delete(struct service *s, struct set_object *set, sd_bus_message *m, sd_bus_error *error) {
  char name[BUS_ERROR_BYTES];
  const struct call *maker = set->job ? service_find_call(s, set->job) : NULL;
  struct call_options options = {.access = maker ? CALL_OWNER : CALL_MANAGE, .owner = set->user};
  if (set->stage == SET_STAGE_CREATING)
    return sd_bus_error_setf(error, bus_error_name(UMBRA_REASON_BAD_STATE, name),
                             "the set is being made: cancel it, or wait");
  if (set->stage == SET_STAGE_FAILED) {
    int r = check_user(s, set, m, error);
    if (r < 0)
      return r;
    set_remove(s, set);
    return sd_bus_reply_method_return(m, NULL);
  }
  if (maker && maker->auto_release) {
    options.request = json_pack("{s:s}", "do", "release");
    options.to = set->job;
  } else
    options.request = json_pack("{s:s, s:s}", "do", "delete", "text", set->id);
  return calls_begin(s, m, &options, NULL, error);
}

static int method_delete(sd_bus_message *m, void *found, sd_bus_error *error) {
  return sets_delete(service_of(m), found, m, error);
}

static int method_complete(sd_bus_message *m, void *found, sd_bus_error *error) {
  const struct set_object *set = found;
  int succeeded = 0;
  char name[BUS_ERROR_BYTES];
  int r = sd_bus_message_read(m, "b", &succeeded);
  if (r < 0)
    return r;
  if (set->stage != SET_STAGE_THERE || set->job == 0)
    return sd_bus_error_setf(error, bus_error_name(UMBRA_REASON_BAD_STATE, name),
                             "completing a backup: the set is %s and held by nobody here", set_object_state(set));
  struct call_options options = {.access = CALL_OWNER,
                                 .owner = set->user,
                                 .to = set->job,
                                 .request = json_pack("{s:s, s:b}", "do", "complete", "flag", succeeded)};
  return calls_begin(service_of(m), m, &options, NULL, error);
}

static int method_cancel(sd_bus_message *m, void *found, sd_bus_error *error) {
  const struct set_object *set = found;
  struct service *s = service_of(m);
  char name[BUS_ERROR_BYTES];
  int r = check_user(s, set, m, error);
  if (r < 0)
    return r;
  struct call *maker = set->stage == SET_STAGE_CREATING ? service_find_call(s, set->job) : NULL;
  if (!maker)
    return sd_bus_error_setf(error, bus_error_name(UMBRA_REASON_BAD_STATE, name),
                             "the set is %s: nothing is left to cancel", set_object_state(set));
  calls_stop(maker);
  return sd_bus_reply_method_return(m, NULL);
}

static int method_wait(sd_bus_message *m, void *found, sd_bus_error *error) {
  const struct set_object *set = found;
  char name[BUS_ERROR_BYTES];
  if (set->stage == SET_STAGE_THERE)
    return sd_bus_reply_method_return(m, NULL);
  if (set->stage == SET_STAGE_FAILED)
    return sd_bus_error_setf(error, bus_error_name(set->reason, name), "%s", set->failure ? set->failure : "");
  struct call_options options = {.access = CALL_ANYBODY, .request = json_pack("{s:s}", "do", "wait")};
  struct call *c = NULL;
  int r = calls_begin(service_of(m), m, &options, &c, error);
  if (r >= 0)
    (void)snprintf(c->set_id, sizeof c->set_id, "%s", set->id);
  return r;
}

/* ---- properties ---- */

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *found, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)error;
  const struct set_object *set = found;
  static const char *const keys[][2] = {
      {"Label", "label"}, {"Created", "created"}, {"Consistency", "consistency"}, {"Instant", "instant"}};
  const char *text = strcmp(property, "Id") == 0        ? set->id
                     : strcmp(property, "State") == 0   ? set_object_state(set)
                     : strcmp(property, "Owner") == 0   ? (set->owner && set->job ? set->owner : "")
                     : strcmp(property, "Failure") == 0 ? (set->failure ? set->failure : "")
                                                        : NULL;
  for (size_t i = 0; !text && i < sizeof keys / sizeof keys[0]; i++)
    if (strcmp(property, keys[i][0]) == 0)
      text = json_get_string_or(set->document, keys[i][1], "");
  return sd_bus_message_append(reply, "s", text ? text : "");
}

static int get_flag(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *found, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)error;
  const struct set_object *set = found;
  const char *key = strcmp(property, "Persistent") == 0 ? "persistent" : "auto_release";
  return sd_bus_message_append(reply, "b", (int)json_get_boolean_or(set->document, key, false));
}

static int get_hold_ms(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *found, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)property;
  (void)error;
  const struct set_object *set = found;
  return sd_bus_message_append(reply, "d", json_number_value(json_object_get(set->document, "hold_ms")));
}

static int get_document(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *found, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)error;
  const struct set_object *set = found;
  const json_t *document = strcmp(property, "Document") == 0 ? set->document : set->result;
  CLEANUP_FREE char *text = document ? json_dumps(document, JSON_COMPACT) : strdup("");
  return text ? sd_bus_message_append(reply, "s", text) : -ENOMEM;
}

static int get_shadows(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *found, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)property;
  (void)error;
  const struct set_object *set = found;
  char shadow_path[SET_OBJECT_PATH_BYTES];
  size_t i;
  json_t *shadow;
  int r = sd_bus_message_open_container(reply, 'a', "o");
  json_array_foreach(shadows_of(set->document), i, shadow) {
    if (r >= 0 && shadow_object_path(json_get_string_or(shadow, "id", ""), shadow_path) >= 0)
      r = sd_bus_message_append(reply, "o", shadow_path);
  }
  return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int find(sd_bus *bus, const char *path, const char *interface, void *context, void **ret_found,
                sd_bus_error *error) {
  (void)bus;
  (void)interface;
  (void)error;
  *ret_found = sets_find_path(context, path);
  return *ret_found != NULL;
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
static const sd_bus_vtable set_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Id", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Label", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("State", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("Created", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("Consistency", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("Instant", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("HoldMs", "d", get_hold_ms, 0, CHANGES),
    SD_BUS_PROPERTY("Persistent", "b", get_flag, 0, CHANGES),
    SD_BUS_PROPERTY("AutoRelease", "b", get_flag, 0, CHANGES),
    SD_BUS_PROPERTY("Owner", "s", get_text, 0, 0),
    SD_BUS_PROPERTY("Failure", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("Document", "s", get_document, 0, CHANGES),
    SD_BUS_PROPERTY("Result", "s", get_document, 0, SD_BUS_VTABLE_PROPERTY_EXPLICIT),
    SD_BUS_PROPERTY("Shadows", "ao", get_shadows, 0, CHANGES),
    SD_BUS_METHOD_WITH_NAMES("Complete", "b", SD_BUS_PARAM(succeeded), NULL, , method_complete,
                             SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Delete", NULL, NULL, method_delete, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Cancel", NULL, NULL, method_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Wait", NULL, NULL, method_wait, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_NAMES("Progress", "sstt",
                             SD_BUS_PARAM(phase) SD_BUS_PARAM(volume) SD_BUS_PARAM(done) SD_BUS_PARAM(total), 0),
    SD_BUS_SIGNAL_WITH_NAMES("Warning", "s", SD_BUS_PARAM(message), 0),
    SD_BUS_SIGNAL_WITH_NAMES("Ready", "bs", SD_BUS_PARAM(succeeded) SD_BUS_PARAM(message), 0),
    SD_BUS_VTABLE_END,
};

int sets_export(struct service *s) {
  return sd_bus_add_fallback_vtable(s->bus, NULL, SET_PREFIX, SET_INTERFACE, set_vtable, find, s);
}
