/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/request.h"

#include "common/cleanup.h"
#include "common/id.h"
#include "common/json.h"

#include <errno.h>
#include <string.h>

enum needs { NEEDS_ID = 1, NEEDS_TEXT = 2, NEEDS_PATHS = 4, NEEDS_OPTIONS = 8, NEEDS_USER = 16, NEEDS_TO = 32 };

static const struct {
  const char *name;
  unsigned needs;
} verbs[REQUEST_VERB_MAX] = {
    [REQUEST_CREATE] = {"create", NEEDS_PATHS | NEEDS_OPTIONS},
    [REQUEST_DELETE] = {"delete", NEEDS_TEXT},
    [REQUEST_DELETE_OLDEST] = {"delete-oldest", NEEDS_TEXT},
    [REQUEST_LIST] = {"list", NEEDS_TEXT},
    [REQUEST_SHOW] = {"show", NEEDS_TEXT},
    [REQUEST_DOCTOR] = {"doctor", NEEDS_PATHS},
    [REQUEST_MOUNT] = {"mount", NEEDS_TEXT | NEEDS_USER},
    [REQUEST_UNMOUNT] = {"unmount", NEEDS_TEXT | NEEDS_USER},
    [REQUEST_OPEN] = {"open", NEEDS_ID | NEEDS_USER},
    [REQUEST_RECOVER] = {"recover", 0},
    [REQUEST_TEST] = {"test", NEEDS_TEXT},
    [REQUEST_ENABLE] = {"enable", NEEDS_TEXT},
    [REQUEST_COMPLETE] = {"complete", NEEDS_TO},
    [REQUEST_RELEASE] = {"release", NEEDS_TO},
    [REQUEST_CANCEL] = {"cancel", NEEDS_TO},
    [REQUEST_PING] = {"ping", 0},
};

const char *request_verb_name(enum request_verb verb) { return verbs[verb].name; }

static int wrong(struct umbra_error *err, const char *what) {
  return error_set(err, -EBADMSG, UMBRA_REASON_INVALID, "a request with %s", what);
}

/* Plain text: it goes on as a C string. */
static bool is_text(const json_t *value, size_t bytes_max) {
  const char *text = json_string_value(value);
  return text && json_string_length(value) <= bytes_max && strlen(text) == json_string_length(value);
}

static bool are_paths(const json_t *paths) {
  size_t i;
  json_t *path;
  if (!json_is_array(paths) || json_array_size(paths) > REQUEST_PATHS_MAX)
    return false;
  json_array_foreach(paths, i, path) {
    CLEANUP_FREE char *value = NULL;
    if (json_path_value(path, &value) < 0 || value[0] != '/' || strlen(value) >= PATH_MAX)
      return false;
  }
  return true;
}

static bool are_options(const json_t *options) {
  size_t i;
  json_t *pair;
  if (!json_is_array(options) || json_array_size(options) > REQUEST_OPTIONS_MAX)
    return false;
  json_array_foreach(options, i, pair) {
    if (json_array_size(pair) != 2 || !is_text(json_array_get(pair, 0), 64) ||
        !is_text(json_array_get(pair, 1), REQUEST_TEXT_BYTES_MAX))
      return false;
  }
  return true;
}

static int parse_operands(const json_t *line, struct request *q, struct umbra_error *err) {
  unsigned needs = verbs[q->verb].needs;
  const json_t *id = json_object_get(line, "id"), *text = json_object_get(line, "text");
  const json_t *user = json_object_get(line, "user");
  if ((needs & NEEDS_ID) != 0) {
    if (!is_text(id, ID_TEXT_BYTES) || !id_valid(json_string_value(id)))
      return wrong(err, "no id");
    q->id = json_string_value(id);
  }
  if ((needs & NEEDS_TEXT) != 0) {
    if (!is_text(text, PATH_MAX) || json_string_length(text) == 0)
      return wrong(err, "no text");
    q->text = json_string_value(text);
  }
  if ((needs & NEEDS_PATHS) != 0) {
    if (!are_paths(q->paths = json_object_get(line, "paths")))
      return wrong(err, "paths that are none");
  }
  if ((needs & NEEDS_OPTIONS) != 0) {
    if (!are_options(q->options = json_object_get(line, "options")))
      return wrong(err, "options that are none");
  }
  if ((needs & NEEDS_USER) != 0) {
    json_int_t uid = json_is_integer(user) ? json_integer_value(user) : -1;
    /* The last one means "no user" to the kernel. */
    if (uid < 0 || uid >= UINT32_MAX)
      return wrong(err, "no user");
    q->user = (uid_t)uid;
  }
  const json_t *place = q->verb == REQUEST_MOUNT ? json_object_get(line, "place") : NULL;
  if (place) {
    if (!is_text(place, PATH_MAX - 1) || json_string_value(place)[0] != '/' || q->user != 0)
      return wrong(err, "a place that is none");
    q->place = json_string_value(place);
  }
  return 0;
}

int request_parse(const json_t *line, struct request *ret, struct umbra_error *err) {
  struct request q = {.verb = REQUEST_VERB_MAX};
  const json_t *call = json_object_get(line, "call"), *to = json_object_get(line, "to");
  const char *name = json_get_string_or(line, "do", "");
  for (int verb = 0; verb < REQUEST_VERB_MAX; verb++)
    if (strcmp(verbs[verb].name, name) == 0)
      q.verb = (enum request_verb)verb;
  if (q.verb == REQUEST_VERB_MAX)
    return wrong(err, "a verb that is none");
  if (!json_is_integer(call) || json_integer_value(call) <= 0)
    return wrong(err, "no number");
  q.call = json_integer_value(call);
  if (to && (!json_is_integer(to) || json_integer_value(to) <= 0))
    return wrong(err, "a job that is none");
  q.to = to ? json_integer_value(to) : 0;
  if ((verbs[q.verb].needs & NEEDS_TO) != 0 ? q.to == 0 : q.to != 0 && q.verb != REQUEST_OPEN)
    return wrong(err, "a job where none belongs, or none where one does");
  int r = parse_operands(line, &q, err);
  if (r < 0)
    return r;
  q.flag = json_get_boolean_or(line, "flag", false);
  q.trusted = json_get_boolean_or(line, "trusted", false);
  q.suid = json_get_boolean_or(line, "suid", false);
  q.dev = json_get_boolean_or(line, "dev", false);
  *ret = q;
  return 0;
}
