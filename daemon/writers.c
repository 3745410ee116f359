/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writers as objects on the bus, /org/umbra/Umbra1/writer/NAME, with _2f and INSTANCE where there are several: as
 * they were listed last, for to list them is to ask each of them.
 */
#include "daemon/writers.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <string.h>

#define WRITER_INTERFACE SERVICE_NAME ".Writer"
#define WRITER_PREFIX SERVICE_PATH "/writer"

/* The path of a writer's object; the caller's. NULL: out of memory. */
static char *path_of(const json_t *writer) {
  CLEANUP_FREE char *name = NULL;
  const char *instance = json_get_string_or(writer, "instance", NULL);
  char *path = NULL;
  if (asprintf(&name, "%s%s%s", json_get_string_or(writer, "name", ""), instance && *instance ? "/" : "",
               instance ? instance : "") < 0) {
    name = NULL;
    return NULL;
  }
  return sd_bus_path_encode(WRITER_PREFIX, name, &path) < 0 ? NULL : path;
}

/* The writer of a list with this path; borrowed. */
static json_t *by_path(const json_t *list, const char *path) {
  size_t i;
  json_t *writer;
  json_array_foreach(list, i, writer) {
    CLEANUP_FREE char *own = path_of(writer);
    if (own && strcmp(own, path) == 0)
      return writer;
  }
  return NULL;
}

void writers_take_list(struct service *s, const json_t *list) {
  CLEANUP_JSON json_t *before = s->writers, *now = json_array();
  size_t i;
  json_t *writer;
  json_array_foreach(list, i, writer) {
    CLEANUP_FREE char *path = path_of(writer);
    /* Of two with one name the first counts. */
    if (path && i < WRITER_OBJECTS_MAX && !by_path(now, path))
      (void)json_array_append(now, writer);
  }
  s->writers = json_incref(now);
  json_array_foreach(before, i, writer) {
    CLEANUP_FREE char *path = path_of(writer);
    if (path && !by_path(now, path))
      (void)sd_bus_emit_interfaces_removed(s->bus, path, WRITER_INTERFACE, NULL);
  }
  json_array_foreach(now, i, writer) {
    CLEANUP_FREE char *path = path_of(writer);
    const json_t *old = path ? by_path(before, path) : NULL;
    if (path && !old)
      (void)sd_bus_emit_object_added(s->bus, path);
    else if (path && !json_equal(old, writer))
      (void)sd_bus_emit_properties_changed(s->bus, path, WRITER_INTERFACE, "State", "Failure", "Kind", "Level", NULL);
  }
}

int writers_append(const struct service *s, sd_bus_message *reply) {
  size_t i;
  json_t *writer;
  int r = sd_bus_message_open_container(reply, 'a', "(ssssss)");
  json_array_foreach(s->writers, i, writer) {
    if (r >= 0)
      r = sd_bus_message_append(reply, "(ssssss)", json_get_string_or(writer, "name", ""),
                                json_get_string_or(writer, "instance", ""), json_get_string_or(writer, "level", ""),
                                json_get_string_or(writer, "kind", ""), json_get_string_or(writer, "state", ""),
                                json_get_string_or(writer, "failure", ""));
  }
  return r < 0 ? r : sd_bus_message_close_container(reply);
}

int writers_append_paths(struct service *s, char ***paths) {
  size_t i;
  json_t *writer;
  int r = 0;
  json_array_foreach(s->writers, i, writer) {
    char *path = path_of(writer);
    if (r >= 0)
      r = path ? strv_append_take(paths, path) : -ENOMEM;
    else
      free(path);
  }
  return r;
}

static int find(sd_bus *bus, const char *path, const char *interface, void *context, void **ret_found,
                sd_bus_error *error) {
  (void)bus;
  (void)interface;
  (void)error;
  const struct service *s = context;
  *ret_found = by_path(s->writers, path);
  return *ret_found != NULL;
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *found, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)error;
  static const char *const keys[][2] = {{"Name", "name"}, {"Instance", "instance"}, {"Level", "level"},
                                        {"Kind", "kind"}, {"State", "state"},       {"Failure", "failure"}};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (strcmp(property, keys[i][0]) == 0)
      return sd_bus_message_append(reply, "s", json_get_string_or(found, keys[i][1], ""));
  return -ENOENT;
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
static const sd_bus_vtable writer_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Name", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Instance", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Level", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("Kind", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("State", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("Failure", "s", get_text, 0, CHANGES),
    SD_BUS_VTABLE_END,
};

int writers_export(struct service *s) {
  return sd_bus_add_fallback_vtable(s->bus, NULL, WRITER_PREFIX, WRITER_INTERFACE, writer_vtable, find, s);
}
