/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer's program: who it is (`identify`), one set from its beginning to its end (`session`), one event of a
 * restore
 * (`pre-restore`, `post-restore`).  The other side is coordinator/writer-session.c.
 *
 * A session that is frozen waits for its thaw no longer than it was told that the freeze may last, and a second: the
 * process that would thaw it may be stopped.  No callback takes longer than its event may and that second: SIGALRM
 * ends the process then, and with it its connections.  At the end of its input what was begun is aborted.  When umbra
 * dies while a callback is under way, SIGHUP (the parent's death) leaves it as long as an abort has.
 */
#include "libumbra/writer-metadata.h"
#include "libumbra/writer-session.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <unistd.h>

enum {
  EXIT_RETRY = 75,   /* sysexits.h EX_TEMPFAIL */
  GRACE_MS = 1000,   /* after its limit a freeze, or a callback, is ended here */
  LAST_ABORT_S = 10, /* for what is under way, and for an abort, after umbra has gone */
  INPUT_STEP_BYTES = 65536,
};

typedef int (*callback)(struct umbra_writer_session *s);

static const struct {
  const char *name;
  size_t offset_bytes; /* of the callback in struct umbra_writer */
} events[] = {
    {"prepare-backup", offsetof(struct umbra_writer, prepare_backup)},
    {"prepare-snapshot", offsetof(struct umbra_writer, prepare_snapshot)},
    {"freeze", offsetof(struct umbra_writer, freeze)},
    {"thaw", offsetof(struct umbra_writer, thaw)},
    {"post-snapshot", offsetof(struct umbra_writer, post_snapshot)},
    {"backup-complete", offsetof(struct umbra_writer, backup_complete)},
    {"shutdown", offsetof(struct umbra_writer, shutdown)},
    {"abort", offsetof(struct umbra_writer, abort)},
    {"pre-restore", offsetof(struct umbra_writer, pre_restore)},
    {"post-restore", offsetof(struct umbra_writer, post_restore)},
};

/* ---- what callbacks ask and say ---- */

const char *umbra_writer_instance_name(const struct umbra_writer_session *s) { return s->instance; }
const char *umbra_writer_key(const struct umbra_writer_session *s) { return s->key; }
const char *umbra_writer_set_id(const struct umbra_writer_session *s) { return s->set_id; }
void umbra_writer_set_userdata(struct umbra_writer_session *s, void *userdata) { s->userdata = userdata; }
void *umbra_writer_userdata(const struct umbra_writer_session *s) { return s->userdata; }

const char *umbra_writer_document(const struct umbra_writer_session *s) {
  return s->document_text ? s->document_text : "null";
}

const json_t *session_own_entry(const struct umbra_writer_session *s, const json_t *list) {
  size_t i;
  const json_t *one;
  json_array_foreach(list, i, one) {
    if (strcmp(json_get_string_or(one, "name", ""), s->writer->name) == 0 &&
        strcmp(json_get_string_or(one, "instance", ""), s->instance) == 0)
      return one;
  }
  return NULL;
}

json_t *session_answer(struct umbra_writer_session *s) {
  if (!s->answer)
    s->answer = json_object();
  return s->answer;
}

int umbra_writer_set_is_whole(const struct umbra_writer_session *s) {
  const json_t *set = json_object_get(s->document, "set");
  return json_get_boolean_or(s->own, "whole", false) && strcmp(json_get_string_or(set, "instant", ""), "set") == 0;
}

/* The rest of path below directory, with its slash, or "" for itself; NULL: it is not below. */
static const char *rest_below(const char *path, const char *directory) {
  size_t length = strcmp(directory, "/") == 0 ? 0 : strlen(directory);
  return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == 0) ? path + length : NULL;
}

char *umbra_writer_shadow_path(const struct umbra_writer_session *s, const char *path) {
  char *best = NULL;
  size_t best_length = 0, i;
  const json_t *shadow;
  json_array_foreach(json_object_get(json_object_get(s->document, "set"), "shadows"), i, shadow) {
    CLEANUP_FREE char *volume = NULL, *mount = NULL;
    if (json_path_value(json_object_get(shadow, "volume"), &volume) < 0 ||
        json_path_value(json_object_get(shadow, "mount"), &mount) < 0)
      continue;
    const char *rest = rest_below(path, volume);
    if (!rest || (best && strlen(volume) < best_length))
      continue;
    char *found = NULL;
    if (asprintf(&found, "%s%s", mount, rest) < 0)
      continue;
    free(best);
    best = found;
    best_length = strlen(volume);
  }
  return best;
}

int umbra_writer_fail(struct umbra_writer_session *s, int code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  (void)vsnprintf(s->message, sizeof s->message, format, args);
  va_end(args);
  return code;
}

void umbra_writer_answer(struct umbra_writer_session *s, const char *key, const char *value) {
  (void)json_object_set_new(session_answer(s), key, json_path(value));
}

const char *umbra_writer_saved_answer(const struct umbra_writer_session *s, const char *event, const char *key) {
  const json_t *answers = json_object_get(session_own_entry(s, json_object_get(s->document, "writers")), "answers");
  return json_get_string_or(json_object_get(answers, event), key, NULL);
}

static const json_t *new_target(const struct umbra_writer_session *s) {
  return json_object_get(json_object_get(s->document, "restore"), "to");
}

int umbra_writer_restores_elsewhere(const struct umbra_writer_session *s) { return new_target(s) != NULL; }

char *umbra_writer_restore_path(const struct umbra_writer_session *s, const char *path) {
  CLEANUP_FREE char *root = NULL;
  char *there = NULL;
  if (json_path_value(new_target(s), &root) < 0)
    return strdup(path);
  return asprintf(&there, "%s%s", root, path) < 0 ? NULL : there;
}

int umbra_writer_become(uid_t user, gid_t group) {
  const struct passwd *entry = getpwuid(user);
  int death_signal = 0;
  (void)prctl(PR_GET_PDEATHSIG, &death_signal);
  if ((entry ? initgroups(entry->pw_name, group) : setgroups(0, NULL)) < 0 || setresgid(group, group, group) < 0 ||
      setresuid(user, user, user) < 0)
    return -errno;
  /* A change of user takes it away. */
  return prctl(PR_SET_PDEATHSIG, death_signal) < 0 ? -errno : 0;
}

/* ---- the program ---- */

static volatile sig_atomic_t orphaned;

static void on_orphaned(int number) {
  (void)number;
  orphaned = 1;
  (void)alarm(LAST_ABORT_S);
}

/* SIGALRM, which ends the process, after so long; 0: never, unless the end has come near already. */
static void limit_time(int64_t ms) {
  const struct itimerval in = {.it_value = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000}};
  if (!orphaned)
    (void)setitimer(ITIMER_REAL, &in, NULL);
}

static void watch_parent(pid_t parent) {
  const struct sigaction action = {.sa_handler = on_orphaned, .sa_flags = SA_RESTART};
  (void)sigaction(SIGHUP, &action, NULL);
  (void)prctl(PR_SET_PDEATHSIG, SIGHUP);
  if (getppid() != parent)
    on_orphaned(SIGHUP);
}

static callback find_callback(const struct umbra_writer *w, const char *event, bool *ret_known) {
  for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
    if (strcmp(events[i].name, event) == 0) {
      *ret_known = true;
      callback found;
      memcpy(&found, (const char *)w + events[i].offset_bytes, sizeof found);
      return found;
    }
  *ret_known = false;
  return NULL;
}

static int take_document(struct umbra_writer_session *s, json_t *document) {
  json_decref(s->document);
  free(s->document_text);
  s->document = json_is_object(document) ? json_incref(document) : NULL;
  s->document_text = s->document ? json_dumps(s->document, JSON_COMPACT) : NULL;
  return s->document && !s->document_text ? -ENOMEM : 0;
}

/* Calls what there is for the event, and keeps in mind what that means for an end without thaw or abort. */
static int perform(struct umbra_writer_session *s, const char *event, int64_t limit_ms) {
  bool known;
  callback call = find_callback(s->writer, event, &known);
  s->message[0] = 0;
  json_decref(s->answer);
  s->answer = NULL;
  if (!known)
    return umbra_writer_fail(s, -EINVAL, "'%s' is no event", event);
  bool ends = strcmp(event, "abort") == 0 || strcmp(event, "shutdown") == 0;
  /* What has aborted by itself has nothing left to abort. */
  if (strcmp(event, "abort") == 0 && !s->begun)
    return 0;
  s->begun = s->begun || !ends;
  if (strcmp(event, "freeze") == 0)
    s->thaw_by_ns = clock_monotonic_ns() + (limit_ms + GRACE_MS) * NS_PER_MS;
  else if (ends || strcmp(event, "thaw") == 0)
    s->thaw_by_ns = 0;
  limit_time(limit_ms > 0 ? limit_ms + GRACE_MS : 0);
  int r = call ? call(s) : 0;
  limit_time(0);
  s->begun = s->begun && !ends;
  return r;
}

static int say(FILE *out, const struct umbra_writer_session *s, const char *event, int code) {
  char message[sizeof s->message];
  (void)snprintf(message, sizeof message, "%s", s->message[0] ? s->message : strerror(-code));
  json_make_text(message);
  const char *result = code >= 0 ? "done" : code == -EAGAIN ? "retry" : "failed";
  json_t *line = json_pack("{s:s, s:s, s:o?, s:O?}", "event", event, "result", result, "message",
                           code < 0 ? json_string(message) : NULL, "answer", s->answer);
  int r =
      line && json_dumpf(line, out, JSON_COMPACT) == 0 && fputc('\n', out) != EOF && fflush(out) == 0 ? 0 : -EPIPE;
  json_decref(line);
  return r;
}

/* What was begun is undone: by the writer, or, if it cannot, by the end of the process. */
static void undo(struct umbra_writer_session *s) {
  bool frozen = s->thaw_by_ns != 0;
  callback call = s->writer->abort ? s->writer->abort : frozen ? s->writer->thaw : NULL;
  s->thaw_by_ns = 0;
  s->begun = false;
  limit_time((int64_t)LAST_ABORT_S * 1000);
  int r = call ? call(s) : frozen ? -ENOSYS : 0;
  limit_time(0);
  if (r < 0)
    _exit(EXIT_FAILURE);
}

/* Not thawed in time: nobody may stand still because somebody else is stopped. */
static void thaw_overdue(struct umbra_writer_session *s) {
  (void)fprintf(stderr, "%s: was not told thaw within its limit: aborting by itself\n", s->writer->name);
  undo(s);
}

static int fail_overdue(struct umbra_writer_session *s) {
  json_decref(s->answer);
  s->answer = NULL;
  return umbra_writer_fail(s, -ETIMEDOUT, "was frozen longer than its limit, and had gone on by itself");
}

/* Waits for more input. 1: there is some, 0: the end of it. */
static int read_more(struct umbra_writer_session *s) {
  for (;;) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    int64_t left_ms = -1;
    if (s->thaw_by_ns != 0) {
      left_ms = (s->thaw_by_ns - clock_monotonic_ns()) / NS_PER_MS + 1;
      left_ms = left_ms < 0 ? 0 : left_ms > INT32_MAX ? INT32_MAX : left_ms;
    }
    int n = poll(&input, 1, (int)left_ms);
    if (n == 0 && s->thaw_by_ns != 0 && clock_monotonic_ns() >= s->thaw_by_ns)
      thaw_overdue(s);
    if (n <= 0)
      continue;
    if (s->input_bytes + INPUT_STEP_BYTES > s->input_room_bytes) {
      size_t room_bytes = s->input_room_bytes * 2 + INPUT_STEP_BYTES;
      char *larger = room_bytes <= (size_t)JSON_DOCUMENT_BYTES_MAX * 2 ? realloc(s->input, room_bytes) : NULL;
      if (!larger)
        return 0;
      s->input = larger;
      s->input_room_bytes = room_bytes;
    }
    ssize_t got = read(STDIN_FILENO, s->input + s->input_bytes, INPUT_STEP_BYTES);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
      continue;
    if (got <= 0)
      return 0;
    s->input_bytes += (size_t)got;
    return 1;
  }
}

static int handle_line(struct umbra_writer_session *s, const char *line, size_t length_bytes, FILE *out) {
  CLEANUP_JSON json_t *told = NULL;
  struct umbra_error err = {0};
  int r = json_parse(line, length_bytes, "an event", &told, &err);
  if (r >= 0)
    r = take_document(s, json_object_get(told, "document"));
  if (r < 0) {
    (void)fprintf(stderr, "%s: %s\n", s->writer->name, err.message[0] ? err.message : "out of memory");
    return r;
  }
  const char *event = json_get_string_or(told, "event", "");
  json_decref(s->own);
  s->own = json_incref(json_object_get(told, "writer"));
  /* The environment has only a short one. */
  if (!s->saved_key && json_path_value(json_object_get(s->own, "key"), &s->saved_key) == 0)
    s->key = s->saved_key;
  /* Whoever has aborted by itself has nothing left to thaw. */
  r = strcmp(event, "thaw") == 0 && s->thaw_by_ns == 0 ? fail_overdue(s)
                                                       : perform(s, event, json_get_integer_or(told, "limit_ms", 0));
  return say(out, s, event, r);
}

static int session(struct umbra_writer_session *s, pid_t parent, FILE *out) {
  /* Instead of SIGKILL: it leaves time to undo. */
  watch_parent(parent);
  int r = 0;
  while (r >= 0 && read_more(s) > 0) {
    const char *end;
    while (r >= 0 && (end = memchr(s->input, '\n', s->input_bytes))) {
      size_t length_bytes = (size_t)(end - s->input);
      r = handle_line(s, s->input, length_bytes, out);
      s->input_bytes -= length_bytes + 1;
      memmove(s->input, end + 1, s->input_bytes);
    }
  }
  if (s->begun)
    undo(s);
  return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* What the backup has counts at its restore, not what is there at the moment. 0, or negative: no memory. */
static int take_saved_key(struct umbra_writer_session *s) {
  const json_t *metadata = json_object_get(session_own_entry(s, json_object_get(s->document, "writers")), "metadata");
  int r = json_path_value(json_object_get(metadata, "key"), &s->saved_key);
  if (s->saved_key)
    s->key = s->saved_key;
  return r == -ENOMEM ? r : 0;
}

/* One event of a restore: `PROGRAM EVENT`, with the document on standard input. */
static int single_event(struct umbra_writer_session *s, const char *event, FILE *out) {
  while (read_more(s) > 0)
    ;
  CLEANUP_JSON json_t *document = NULL;
  struct umbra_error err = {0};
  int r = s->input_bytes > 0 ? json_parse(s->input, s->input_bytes, "the document", &document, &err) : 0;
  if (r >= 0)
    r = take_document(s, document);
  if (r >= 0)
    r = take_saved_key(s);
  if (r < 0)
    (void)umbra_writer_fail(s, r, "%s", err.message[0] ? err.message : "out of memory");
  else
    r = perform(s, event, 0);
  s->thaw_by_ns = 0;
  if (r < 0)
    (void)fprintf(stderr, "%s\n", s->message[0] ? s->message : strerror(-r));
  else if (s->answer && (json_dumpf(s->answer, out, JSON_COMPACT) < 0 || fflush(out) != 0))
    r = -EIO;
  return r >= 0 ? EXIT_SUCCESS : r == -EAGAIN ? EXIT_RETRY : EXIT_FAILURE;
}

static int identify(const struct umbra_writer *writer, FILE *out) {
  struct umbra_writer_list list;
  int r = writer_list_init(&list, writer);
  if (r >= 0)
    r = writer->identify(&list);
  if (r >= 0 && list.failed)
    r = -ENOMEM;
  if (r >= 0 && (json_dumpf(list.documents, out, JSON_COMPACT) < 0 || fputc('\n', out) == EOF || fflush(out) != 0))
    r = -EIO;
  if (r < 0)
    (void)fprintf(stderr, "%s: who is there cannot be told: %s\n", writer->name, strerror(-r));
  writer_list_done(&list);
  return r >= 0 ? EXIT_SUCCESS : r == -EAGAIN ? EXIT_RETRY : EXIT_FAILURE;
}

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

int umbra_writer_main(const struct umbra_writer *writer, int argc, char **argv) {
  pid_t parent = getppid();
  if (argc != 2) {
    (void)fprintf(stderr, "usage: %s identify|session|EVENT (see umbra-writers(7))\n", argv[0]);
    return 2;
  }
  /* Nothing that a callback prints may be taken for an answer. */
  int answers_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  FILE *out = answers_fd >= 0 ? fdopen(answers_fd, "w") : NULL;
  if (!out || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    (void)fprintf(stderr, "%s: no way to answer: %s\n", writer->name, strerror(errno));
    return EXIT_FAILURE;
  }
  struct umbra_writer_session s = {.writer = writer,
                                   .instance = variable("UMBRA_INSTANCE"),
                                   .key = variable("UMBRA_KEY"),
                                   .set_id = variable("UMBRA_SET")};
  int status = strcmp(argv[1], "identify") == 0  ? identify(writer, out)
               : strcmp(argv[1], "session") == 0 ? session(&s, parent, out)
                                                 : single_event(&s, argv[1], out);
  json_decref(s.document);
  json_decref(s.own);
  json_decref(s.answer);
  free(s.document_text);
  free(s.saved_key);
  free(s.input);
  (void)fclose(out);
  return status;
}
