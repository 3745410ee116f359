/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer by script, the counterpart of the VSS Test Writer: its metadata, and what it does at each event, come from
 * CONFIG/writers/NAME.json, NAME being what the program is called by.  umbra-writer-scripted(8) has the script's
 * keys.
 */
#include "umbra/writer.h"

#include "common/clock.h"
#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static json_t *script; /* for the life of the process */

static void add_relations(struct umbra_writer_instance *instance, const char *name, const json_t *component) {
  size_t i;
  const json_t *one;
  const char *method = json_get_string_or(component, "restore_method", NULL);
  /* In any case: one without files is there, too. */
  umbra_writer_instance_set_selectable(instance, name, json_get_boolean_or(component, "selectable", true),
                                       json_get_boolean_or(component, "selectable_for_restore", false));
  json_array_foreach(json_object_get(component, "dependencies"), i, one) {
    umbra_writer_instance_add_dependency(instance, name, json_get_string_or(one, "writer", ""),
                                         json_get_string_or(one, "instance", NULL),
                                         json_get_string_or(one, "component", ""));
  }
  json_array_foreach(json_object_get(component, "shadow_excludes"), i, one) {
    CLEANUP_FREE char *path = NULL;
    if (json_path_value(json_object_get(one, "path"), &path) >= 0)
      umbra_writer_instance_add_shadow_exclude(instance, name, path, json_get_string_or(one, "pattern", "*"),
                                               json_get_boolean_or(one, "recursive", true));
  }
  if (method)
    umbra_writer_instance_set_component_restore(instance, name, method);
}

static void add_component(struct umbra_writer_instance *instance, const json_t *component) {
  static const struct {
    const char *key;
    bool files;
  } lists[] = {{"files", true}, {"excludes", false}};
  const char *name = json_get_string_or(component, "name", "component");
  add_relations(instance, name, component);
  for (size_t k = 0; k < sizeof lists / sizeof lists[0]; k++) {
    size_t i;
    const json_t *set;
    json_array_foreach(json_object_get(component, lists[k].key), i, set) {
      CLEANUP_FREE char *path = NULL;
      const char *pattern = json_get_string_or(set, "pattern", "*");
      if (json_path_value(json_object_get(set, "path"), &path) < 0)
        continue;
      if (lists[k].files)
        umbra_writer_instance_add_files(instance, name, path, pattern, json_get_boolean_or(set, "recursive", true));
      else
        umbra_writer_instance_add_exclude(instance, name, path, pattern);
    }
  }
}

static int identify(struct umbra_writer_list *list) {
  static const char *const levels[] = {
      [UMBRA_WRITER_FRONT_END] = "front-end", [UMBRA_WRITER_BACK_END] = "back-end", [UMBRA_WRITER_SYSTEM] = "system"};
  size_t i, j;
  const json_t *one, *component;
  json_array_foreach(json_object_get(script, "instances"), i, one) {
    unsigned level = UMBRA_WRITER_FRONT_END;
    for (unsigned k = 0; k < sizeof levels / sizeof levels[0]; k++)
      if (strcmp(json_get_string_or(one, "level", ""), levels[k]) == 0)
        level = k;
    struct umbra_writer_instance *instance =
        umbra_writer_list_add(list, json_get_string_or(one, "instance", NULL), (enum umbra_writer_level)level);
    json_array_foreach(json_object_get(one, "components"), j, component) add_component(instance, component);
    const char *failure = json_get_string_or(one, "failure", NULL), *key = json_get_string_or(one, "key", NULL);
    if (failure)
      umbra_writer_instance_fail(instance, "%s", failure);
    if (key)
      umbra_writer_instance_set_key(instance, key);
    if (json_get_boolean_or(one, "repairs", false))
      umbra_writer_instance_set_repairs(instance);
  }
  return 0;
}

/* One line an event: "freeze main KEY PID". */
static void note(const struct umbra_writer_session *s, const char *event) {
  const char *path = json_get_string_or(script, "log", NULL);
  CLEANUP_CLOSE int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
  if (fd >= 0)
    (void)dprintf(fd, "%s %s %s %d\n", event, umbra_writer_instance_name(s), umbra_writer_key(s), (int)getpid());
}

/* What the library tells of each component, in the log. */
static void note_components(const struct umbra_writer_session *s, const json_t *told) {
  const char *path = json_get_string_or(script, "log", NULL);
  CLEANUP_CLOSE int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
  size_t i;
  const json_t *name;
  json_array_foreach(json_object_get(told, "ask"), i, name) {
    const char *component = json_string_value(name), *stamp = umbra_writer_previous_stamp(s, component),
               *option = umbra_writer_restore_option(s, "option");
    (void)dprintf(fd,
                  "asked %s %s type=%s selected=%d stamp=%s partial=%d succeeded=%d restores=%d restored=%d more=%d "
                  "option=%s\n",
                  umbra_writer_instance_name(s), component, umbra_writer_backup_type(s),
                  umbra_writer_component_is_selected(s, component), stamp ? stamp : "-",
                  umbra_writer_partial_files_are_saved(s), umbra_writer_component_succeeded(s, component),
                  umbra_writer_restores_component(s, component), umbra_writer_restore_succeeded(s, component),
                  umbra_writer_more_restores(s), option ? option : "-");
  }
}

/* Stamps and partial files of the script, as answers of the event. */
static int answer_components(struct umbra_writer_session *s, const json_t *told) {
  size_t i;
  const char *component;
  const json_t *one;
  json_t *stamp;
  int r = 0;
  json_object_foreach(json_object_get(told, "stamps"), component, stamp) {
    if (r >= 0)
      r = umbra_writer_set_stamp(s, component, json_string_value(stamp));
  }
  json_array_foreach(json_object_get(told, "partial_files"), i, one) {
    if (r >= 0)
      r = umbra_writer_add_partial_file(s, json_get_string_or(one, "component", ""),
                                        json_get_string_or(one, "path", ""), json_get_string_or(one, "ranges", ""),
                                        json_get_string_or(one, "metadata", NULL));
  }
  return r;
}

/* As a database does: a log is cut off when what is in it has been saved, by a backup that others go on from. */
static bool may_cut_log(const struct umbra_writer_session *s, const char *component) {
  const char *type = umbra_writer_backup_type(s);
  return strcmp(type, "copy") != 0 && strcmp(type, "differential") != 0 &&
         umbra_writer_component_succeeded(s, component);
}

/* What the script does to files; of one that is not there nothing is said. */
static void change_files(const struct umbra_writer_session *s, const json_t *told) {
  size_t i;
  const json_t *path;
  const char *log = json_get_string_or(told, "cut_log", NULL);
  json_array_foreach(json_object_get(told, "delete"), i, path) { (void)unlink(json_string_value(path)); }
  if (log && may_cut_log(s, json_get_string_or(told, "component", "")))
    (void)truncate(log, 0);
}

static void wait_ms(json_int_t ms) {
  struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};
  while (nanosleep(&left, &left) < 0 && errno == EINTR)
    ;
}

/* What the script says of the instance's event, else of every instance's. */
static const json_t *scripted(const struct umbra_writer_session *s, const char *event) {
  char own[160];
  (void)snprintf(own, sizeof own, "%s@%s", event, umbra_writer_instance_name(s));
  const json_t *events = json_object_get(script, "events"), *found = json_object_get(events, own);
  return found ? found : json_object_get(events, event);
}

static int act(struct umbra_writer_session *s, const char *event) {
  const json_t *told = scripted(s, event);
  note(s, event);
  note_components(s, told);
  change_files(s, told);
  int r = answer_components(s, told);
  if (r < 0)
    return umbra_writer_fail(s, r, "the script's stamps or partial files are wrong: %s", strerror(-r));
  const char *answer = json_get_string_or(told, "answer", NULL), *raw = json_get_string_or(told, "raw", NULL);
  if (answer)
    umbra_writer_answer(s, "said", answer);
  json_int_t answer_bytes = json_get_integer_or(told, "answer_bytes", 0);
  CLEANUP_FREE char *long_answer = answer_bytes > 0 ? calloc(1, (size_t)answer_bytes + 1) : NULL;
  if (long_answer)
    umbra_writer_answer(s, "said", memset(long_answer, 'x', (size_t)answer_bytes));
  /* Past the library, on the descriptor that it answers on. */
  for (int fd = 3; raw && fd < 16; fd++)
    if (write(fd, raw, strlen(raw)) == (ssize_t)strlen(raw))
      break;
  while (raw && !json_get_boolean_or(told, "and_answer", false))
    (void)pause();
  for (json_int_t i = json_get_integer_or(told, "flood_lines", 0); i > 0; i--)
    (void)fprintf(stderr, "a line that nobody wants to read, %lld more\n", (long long)i);
  wait_ms(json_get_integer_or(told, "delay_ms", 0));
  while (json_get_boolean_or(told, "hang", false))
    (void)pause();
  if (json_get_integer_or(told, "signal", 0) > 0)
    (void)raise((int)json_get_integer_or(told, "signal", 0));
  if (json_object_get(told, "exit"))
    _exit((int)json_get_integer_or(told, "exit", 0));
  json_int_t later_ms = json_get_integer_or(told, "killed_after_ms", 0);
  pid_t self = getpid();
  if (later_ms > 0 && fork() == 0) {
    wait_ms(later_ms);
    (void)kill(self, SIGKILL);
    _exit(0);
  }
  const char *failure = json_get_string_or(told, "fail", NULL), *retry = json_get_string_or(told, "retry", NULL);
  if (failure)
    return umbra_writer_fail(s, -EIO, "%s", failure);
  return retry ? umbra_writer_fail(s, -EAGAIN, "%s", retry) : 0;
}

static int prepare_backup(struct umbra_writer_session *s) { return act(s, "prepare-backup"); }
static int prepare_snapshot(struct umbra_writer_session *s) { return act(s, "prepare-snapshot"); }
static int freeze(struct umbra_writer_session *s) { return act(s, "freeze"); }
static int thaw(struct umbra_writer_session *s) { return act(s, "thaw"); }
static int post_snapshot(struct umbra_writer_session *s) { return act(s, "post-snapshot"); }
static int backup_complete(struct umbra_writer_session *s) { return act(s, "backup-complete"); }
static int shut_down(struct umbra_writer_session *s) { return act(s, "shutdown"); }
static int abort_set(struct umbra_writer_session *s) { return act(s, "abort"); }
static int pre_restore(struct umbra_writer_session *s) { return act(s, "pre-restore"); }
static int post_restore(struct umbra_writer_session *s) { return act(s, "post-restore"); }

int main(int argc, char **argv) {
  const char *name = basename(argv[0]), *config_dir = getenv("UMBRA_CONFIG_DIR");
  CLEANUP_FREE char *path = NULL;
  struct umbra_error err = {0};
  if (asprintf(&path, "%s/writers/%s.json", config_dir ? config_dir : "/etc/umbra", name) < 0)
    return EXIT_FAILURE;
  if (json_read_file(AT_FDCWD, path, &script, &err) < 0) {
    (void)fprintf(stderr, "%s: %s\n", name, err.message);
    return EXIT_FAILURE;
  }
  const struct umbra_writer writer = {
      .name = name,
      .identify = identify,
      .prepare_backup = prepare_backup,
      .prepare_snapshot = prepare_snapshot,
      .freeze = freeze,
      .thaw = thaw,
      .post_snapshot = post_snapshot,
      .backup_complete = backup_complete,
      .shutdown = shut_down,
      .abort = abort_set,
      .pre_restore = pre_restore,
      .post_restore = post_restore,
  };
  int status = umbra_writer_main(&writer, argc, argv);
  json_decref(script);
  return status;
}
