/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a writer's callbacks ask and say of components: the counterpart of IVssWriterComponents and IVssComponent.
 * docs/DOCUMENTS.md has the members. */
#include "libumbra/writer-session.h"

#include "common/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const json_t *set_of(const struct umbra_writer_session *s) { return json_object_get(s->document, "set"); }
static const json_t *restore_of(const struct umbra_writer_session *s) {
  return json_object_get(s->document, "restore");
}

const char *umbra_writer_backup_type(const struct umbra_writer_session *s) {
  return json_get_string_or(set_of(s), "backup_type", "copy");
}

int umbra_writer_component_is_selected(const struct umbra_writer_session *s, const char *component) {
  const json_t *selected = json_object_get(s->own, "selected");
  return !json_is_object(selected) || json_object_get(selected, component) != NULL;
}

int umbra_writer_component_succeeded(const struct umbra_writer_session *s, const char *component) {
  return json_get_boolean_or(json_object_get(s->own, "outcomes"), component,
                             json_get_boolean_or(set_of(s), "succeeded", false));
}

/* What it answers of a component: {"KEY": {"COMPONENT": value}} or, many, {"KEY": [value]}. Takes value over. */
static int answer_of_component(struct umbra_writer_session *s, const char *key, const char *component,
                               json_t *value) {
  json_t *answer = session_answer(s), *all = json_object_get(answer, key);
  if (answer && !all && json_object_set_new(answer, key, component ? json_object() : json_array()) == 0)
    all = json_object_get(answer, key);
  int r = !all ? -1 : component ? json_object_set(all, component, value) : json_array_append(all, value);
  json_decref(value);
  return r < 0 ? -ENOMEM : 0;
}

int umbra_writer_set_stamp(struct umbra_writer_session *s, const char *component, const char *stamp) {
  return answer_of_component(s, "stamps", component, json_path(stamp));
}

const char *umbra_writer_previous_stamp(const struct umbra_writer_session *s, const char *component) {
  json_t *answers = json_object_get(session_own_entry(s, json_object_get(s->document, "components")), "answers"),
         *answer;
  const char *event, *found = NULL;
  json_object_foreach(answers, event, answer) found =
      json_get_string_or(json_object_get(answer, "stamps"), component, found);
  return found;
}

int umbra_writer_partial_files_are_saved(const struct umbra_writer_session *s) {
  return json_get_boolean_or(set_of(s), "partial_files", false);
}

/* "OFFSET:LENGTH,…" as [[offset, length]…]. NULL: it is no such thing. */
static json_t *parse_ranges(const char *text) {
  json_t *ranges = json_array();
  while (ranges) {
    char *end;
    json_int_t number[2];
    bool good = true;
    for (int i = 0; i < 2 && good; i++) {
      errno = 0;
      number[i] = strtoll(text, &end, 0);
      good = errno == 0 && end != text && number[i] >= 0 && (i == 1 || *end == ':');
      text = good && i == 0 ? end + 1 : end;
    }
    if (!good || (*end != ',' && *end != 0) ||
        json_array_append_new(ranges, json_pack("[I, I]", number[0], number[1])) < 0)
      break;
    if (*end == 0)
      return ranges;
    text = end + 1;
  }
  json_decref(ranges);
  return NULL;
}

int umbra_writer_add_partial_file(struct umbra_writer_session *s, const char *component, const char *path,
                                  const char *ranges, const char *metadata) {
  json_t *parsed = parse_ranges(ranges);
  if (!parsed || path[0] != '/') {
    json_decref(parsed);
    return -EINVAL;
  }
  return answer_of_component(s, "partial_files", NULL,
                             json_pack("{s:s, s:o, s:o, s:s?}", "component", component, "path", json_path(path),
                                       "ranges", parsed, "metadata", metadata));
}

/* What the requester says of a component that comes back; NULL: nothing. */
static const json_t *restored_component(const struct umbra_writer_session *s, const char *component) {
  const json_t *one;
  size_t i;
  json_array_foreach(json_object_get(restore_of(s), "components"), i, one) {
    if (strcmp(json_get_string_or(one, "writer", ""), s->writer->name) == 0 &&
        strcmp(json_get_string_or(one, "instance", ""), s->instance) == 0 &&
        strcmp(json_get_string_or(one, "name", ""), component) == 0)
      return one;
  }
  return NULL;
}

int umbra_writer_restores_component(const struct umbra_writer_session *s, const char *component) {
  return !json_object_get(restore_of(s), "components") || restored_component(s, component);
}

int umbra_writer_restore_succeeded(const struct umbra_writer_session *s, const char *component) {
  bool all = json_get_boolean_or(restore_of(s), "succeeded", true);
  return component ? json_get_boolean_or(restored_component(s, component), "succeeded", all) : all;
}

int umbra_writer_more_restores(const struct umbra_writer_session *s) {
  return json_get_boolean_or(restore_of(s), "more", false);
}

const char *umbra_writer_restore_option(const struct umbra_writer_session *s, const char *name) {
  return json_get_string_or(json_object_get(restore_of(s), "options"), name, NULL);
}
