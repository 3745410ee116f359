/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer is on record before it is told: here each writer kills the coordinator the moment it hears its first
 * event, and what is on record by then has to be enough for the guardian to tell it the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "coordinator/set.h"

#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SET "aaaa1111-0000-4000-8000-000000000001"

static char directory[] = "/tmp/umbra-told.XXXXXX";

static const char *path_of(const char *name) {
  static char path[192];
  (void)snprintf(path, sizeof path, "%s/%s", directory, name);
  return path;
}

static int remove_directory(void **state) {
  char command[96];
  (void)state;
  (void)snprintf(command, sizeof command, "rm -rf '%s'", directory);
  return system(command);
}

static int make_directory(void **state) {
  static const char *const folders[] = {"writers.d", "fsfreeze-hook.d", "state", "run", "run/sets"};
  (void)state;
  (void)strcpy(strstr(directory, "told.") + strlen("told."), "XXXXXX");
  if (!mkdtemp(directory))
    return -1;
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
    if (mkdir(path_of(folders[i]), 0700) < 0)
      return -1;
  return 0;
}

/* A writer that notes each event, and at one of them keeps a copy of the journal and then does `then`. */
static void put_writer(const char *name, const char *event, const char *then) {
  FILE *file = fopen(path_of(name), "we");
  assert_non_null(file);
  assert_true(fprintf(file,
                      "#!/bin/sh\n"
                      "echo $1 >> '%s/told'\n"
                      "[ $1 = %s ] || exit 0\n"
                      "cp '%s/run/sets/" SET ".json' '%s/seen'\n"
                      "%s\n",
                      directory, event, directory, directory, then) > 0);
  assert_int_equal(fchmod(fileno(file), 0700), 0);
  assert_int_equal(fclose(file), 0);
}

static void assert_told(const char *expected) {
  char told[256] = "";
  FILE *file = fopen(path_of("told"), "re");
  if (file) {
    told[fread(told, 1, sizeof told - 1, file)] = '\0';
    assert_int_equal(fclose(file), 0);
  }
  assert_string_equal(told, expected);
}

/* A set with the writers that there are, all of them involved, as it is before they are told anything. */
static struct set *begin(struct coordinator **ret) {
  struct set *s = NULL;
  (void)setenv("UMBRA_CONFIG_DIR", directory, 1);
  (void)setenv("UMBRA_STATE_DIR", path_of("state"), 1);
  (void)setenv("UMBRA_RUNTIME_DIR", path_of("run"), 1);
  assert_int_equal(coordinator_new(ret, NULL), 0);
  assert_int_equal(limits_load(directory, &(*ret)->limits, NULL), 0);
  assert_int_equal(set_new(*ret, &s, NULL), 0);
  (void)strcpy(s->id, SET);
  assert_int_equal(journal_open(&s->journal, path_of("run"), SET, NULL), 0);
  s->journal_open = true;
  assert_int_equal(writers_find("/nonexistent", directory, &s->writers, &s->writer_count, NULL), 0);
  assert_int_equal(s->writer_count, 1);
  s->writers[0]->involved = true;
  s->calls = calloc(s->writer_count, sizeof *s->calls);
  assert_non_null(s->calls);
  s->handling = true; /* what ends does not move it: one step is looked at */
  return s;
}

static void end(struct coordinator *c, struct set *s) {
  set_free(s);
  coordinator_free(c);
}

/* The coordinator's part of a set's life until its writer kills it. */
static void live_until_killed(enum set_event (*step)(struct set *)) {
  struct coordinator *c;
  struct set *s = begin(&c);
  if (hold_start(&s->hold, NULL, 0, c->cancel_event, set_guardian_abort_writers, set_guardian_clean_up, s, NULL) <
          0 ||
      step(s) != SET_EVENT_NONE)
    _exit(1);
  while (s->pending_calls > 0)
    (void)sd_event_run(c->loop, UINT64_MAX);
  _exit(2);
}

static int found(void *context, const char *id, const json_t *document, bool alive) {
  (void)context;
  (void)document;
  print_error("set %s is still on record\n", id);
  return alive ? 0 : 1;
}

static void run_until_killed(enum set_event (*step)(struct set *)) {
  int status = 0;
  pid_t pid = fork();
  if (pid == 0)
    live_until_killed(step);
  assert_true(pid > 0);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGKILL);
  /* The guardian has the entry's lock until it has told the writer; a scan waits for that. */
  assert_int_equal(journal_scan(path_of("run"), found, NULL, NULL), 0);
}

/* The one writer that the journal named when it was told. */
static void assert_was_on_record(const char *name) {
  json_t *document = NULL;
  char *path = NULL;
  assert_int_equal(json_read_file(AT_FDCWD, path_of("seen"), &document, NULL), 0);
  const json_t *writers = json_object_get(document, "writers");
  assert_int_equal(json_array_size(writers), 1);
  assert_true(json_path_value(json_object_get(json_array_get(writers, 0), "path"), &path) >= 0);
  assert_string_equal(path, path_of(name));
  free(path);
  json_decref(document);
}

static void test_prepare_backup(void **state) {
  (void)state;
  put_writer("writers.d/w", "prepare-backup", "kill -KILL $PPID");
  run_until_killed(set_prepare_backup);
  assert_was_on_record("writers.d/w");
  assert_told("prepare-backup\nabort\n");
}

/* A hook knows only freeze and thaw: freeze is the first that it hears, and thaw what it is owed. */
static void test_freeze_of_a_hook(void **state) {
  (void)state;
  put_writer("fsfreeze-hook.d/w", "freeze", "kill -KILL $PPID");
  run_until_killed(set_freeze);
  assert_was_on_record("fsfreeze-hook.d/w");
  assert_told("freeze\nthaw\n");
}

/* What cannot be recorded is not begun. */
static void test_no_record_no_event(void **state) {
  (void)state;
  struct coordinator *c;
  put_writer("writers.d/w", "prepare-backup", "exit 0");
  struct set *s = begin(&c);
  char command[160];
  (void)snprintf(command, sizeof command, "rm -r '%s/run/sets'", directory);
  assert_int_equal(system(command), 0);
  assert_int_equal(set_prepare_backup(s), SET_EVENT_FAILED);
  assert_int_equal(s->pending_calls, 0);
  assert_non_null(strstr(s->error.message, "journal of set " SET));
  assert_told("");
  end(c, s);
}

/* One that has heard the end is off the record: it must not hear it twice. */
static void test_off_the_record_after_abort(void **state) {
  (void)state;
  struct coordinator *c;
  put_writer("writers.d/w", "abort", "exit 0");
  struct set *s = begin(&c);
  assert_int_equal(set_prepare_backup(s), SET_EVENT_NONE);
  while (s->pending_calls > 0)
    assert_true(sd_event_run(c->loop, UINT64_MAX) >= 0);
  assert_true(s->writers[0]->told);
  assert_int_equal(set_abort(s), SET_EVENT_NONE);
  while (s->pending_calls > 0)
    assert_true(sd_event_run(c->loop, UINT64_MAX) >= 0);
  assert_was_on_record("writers.d/w"); /* while it was told: this process might have died then, too */
  assert_int_equal(set_journal(s, NULL), 0);
  set_guardian_abort_writers(s);
  assert_told("prepare-backup\nabort\n");
  end(c, s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_prepare_backup, make_directory, remove_directory),
      cmocka_unit_test_setup_teardown(test_freeze_of_a_hook, make_directory, remove_directory),
      cmocka_unit_test_setup_teardown(test_no_record_no_event, make_directory, remove_directory),
      cmocka_unit_test_setup_teardown(test_off_the_record_after_abort, make_directory, remove_directory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
