/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An instance is its document: the list's array owns it, and what callers hold of it is a borrowed pointer. */
#include "libumbra/writer-metadata.h"

#include "common/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const level_names[] = {
    [UMBRA_WRITER_FRONT_END] = "front-end", [UMBRA_WRITER_BACK_END] = "back-end", [UMBRA_WRITER_SYSTEM] = "system"};

int writer_list_init(struct umbra_writer_list *list, const struct umbra_writer *writer) {
  *list = (struct umbra_writer_list){.writer = writer, .documents = json_array()};
  return list->documents ? 0 : -ENOMEM;
}

void writer_list_done(struct umbra_writer_list *list) { json_decref(list->documents); }

static json_t *document_of(struct umbra_writer_instance *instance) { return (json_t *)instance; }

struct umbra_writer_instance *umbra_writer_list_add(struct umbra_writer_list *list, const char *instance,
                                                    enum umbra_writer_level level) {
  const struct umbra_writer *w = list->writer;
  json_t *document =
      json_pack("{s:s, s:s?, s:s, s:b, s:b, s:[]}", "name", w->name, "instance", instance, "level",
                level_names[level], "session", true, "new_target", w->post_restore != NULL, "components");
  if (document && json_array_append_new(list->documents, document) == 0)
    return (struct umbra_writer_instance *)document;
  list->failed = true;
  return NULL;
}

static json_t *component_of(json_t *document, const char *name) {
  json_t *components = json_object_get(document, "components"), *component;
  size_t i;
  json_array_foreach(components, i,
                     component) if (strcmp(json_get_string_or(component, "name", ""), name) == 0) return component;
  component = json_pack("{s:s, s:[], s:[]}", "name", name, "files", "excludes");
  return json_array_append_new(components, component) == 0 ? component : NULL;
}

void umbra_writer_instance_add_files(struct umbra_writer_instance *instance, const char *component, const char *path,
                                     const char *pattern, int recursive) {
  json_t *one = instance ? component_of(document_of(instance), component) : NULL;
  (void)json_array_append_new(json_object_get(one, "files"), json_pack("{s:o, s:s, s:b}", "path", json_path(path),
                                                                       "pattern", pattern, "recursive", recursive));
}

static void add_exclude(struct umbra_writer_instance *instance, const char *component, const char *path,
                        const char *pattern, bool recursive) {
  json_t *one = instance ? component_of(document_of(instance), component) : NULL;
  (void)json_array_append_new(
      json_object_get(one, "excludes"),
      json_pack("{s:o, s:s, s:b}", "path", json_path(path), "pattern", pattern, "recursive", recursive));
}

void umbra_writer_instance_add_exclude(struct umbra_writer_instance *instance, const char *component,
                                       const char *path, const char *pattern) {
  add_exclude(instance, component, path, pattern, true);
}

void umbra_writer_instance_add_direct_exclude(struct umbra_writer_instance *instance, const char *component,
                                              const char *path, const char *pattern) {
  add_exclude(instance, component, path, pattern, false);
}

void umbra_writer_instance_add_shadow_exclude(struct umbra_writer_instance *instance, const char *component,
                                              const char *path, const char *pattern, int recursive) {
  json_t *one = instance ? component_of(document_of(instance), component) : NULL;
  if (one && !json_object_get(one, "shadow_excludes"))
    (void)json_object_set_new(one, "shadow_excludes", json_array());
  (void)json_array_append_new(
      json_object_get(one, "shadow_excludes"),
      json_pack("{s:o, s:s, s:b}", "path", json_path(path), "pattern", pattern, "recursive", recursive));
}

void umbra_writer_instance_set_selectable(struct umbra_writer_instance *instance, const char *component,
                                          int for_backup, int for_restore) {
  json_t *one = instance ? component_of(document_of(instance), component) : NULL;
  (void)json_object_set_new(one, "selectable", json_boolean(for_backup));
  (void)json_object_set_new(one, "selectable_for_restore", json_boolean(for_restore));
}

void umbra_writer_instance_add_dependency(struct umbra_writer_instance *instance, const char *component,
                                          const char *writer, const char *on_instance, const char *on_component) {
  json_t *one = instance ? component_of(document_of(instance), component) : NULL;
  if (one && !json_object_get(one, "dependencies"))
    (void)json_object_set_new(one, "dependencies", json_array());
  (void)json_array_append_new(
      json_object_get(one, "dependencies"),
      json_pack("{s:s, s:s?, s:s}", "writer", writer, "instance", on_instance, "component", on_component));
}

void umbra_writer_instance_set_component_restore(struct umbra_writer_instance *instance, const char *component,
                                                 const char *method) {
  json_t *one = instance ? component_of(document_of(instance), component) : NULL;
  (void)json_object_set_new(one, "restore", json_pack("{s:s}", "method", method));
}

void umbra_writer_instance_set_restore(struct umbra_writer_instance *instance, const char *method,
                                       const char *service) {
  if (instance)
    (void)json_object_set_new(document_of(instance), "restore",
                              json_pack("{s:s, s:s?}", "method", method, "service", service));
}

void umbra_writer_instance_set_process(struct umbra_writer_instance *instance, pid_t pid, const char *unit) {
  if (instance && pid > 0)
    (void)json_object_set_new(document_of(instance), "pid", json_integer(pid));
  if (instance && unit)
    (void)json_object_set_new(document_of(instance), "unit", json_path(unit));
}

void umbra_writer_instance_set_repairs(struct umbra_writer_instance *instance) {
  if (instance)
    (void)json_object_set_new(document_of(instance), "repairs", json_true());
}

void umbra_writer_instance_set_key(struct umbra_writer_instance *instance, const char *key) {
  if (instance)
    (void)json_object_set_new(document_of(instance), "key", json_path(key));
}

void umbra_writer_instance_fail(struct umbra_writer_instance *instance, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (instance)
    (void)json_object_set_new(document_of(instance), "failure", json_path(text));
}
