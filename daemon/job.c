/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports (DESIGN.md): "new" once a set has its id, "progress", "warning", then "done" or "failed"; for a set that is
 * held more of the last two, each with the number of the call that it answers.
 */
#include "daemon/job.h"

#include "daemon/access.h"
#include "daemon/lines.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/json.h"
#include "umbra/umbra.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHANNEL_FD = 3, PROGRESS_INTERVAL_MS = 100 };

struct job {
  const struct directories *directories;
  struct request request;
  struct umbra_client *client;
  struct umbra_set *set; /* of REQUEST_CREATE */
  bool auto_release;
  char phase[64];
  int64_t told_ns;
};

/* Where the signal's handler finds the client; set before it is installed. */
static struct umbra_client *cancelled_client;

static void on_terminate(int number) {
  (void)number;
  umbra_client_cancel(cancelled_client);
}

static void report(int64_t call, json_t *more, int fd, bool droppable) {
  CLEANUP_JSON json_t *line = more;
  (void)json_object_set_new(line, "call", json_integer(call));
  (void)lines_write(CHANNEL_FD, line, fd, droppable);
}

static void done(int64_t call, json_t *result) {
  report(call, json_pack("{s:s, s:o?}", "event", "done", "result", result), -1, false);
}

static void failed(int64_t call, int code, enum umbra_reason reason, const char *message) {
  char text[ERROR_MESSAGE_BYTES_MAX];
  (void)snprintf(text, sizeof text, "%s", message);
  json_make_text(text);
  report(call,
         json_pack("{s:s, s:i, s:i, s:s}", "event", "failed", "errno", -code, "reason", (int)reason, "message", text),
         -1, false);
}

static void failed_client(const struct job *j, int64_t call, int code) {
  failed(call, code, (enum umbra_reason)umbra_client_reason(j->client), umbra_client_message(j->client));
}

static void answer(const struct job *j, int64_t call, int r, json_t *result) {
  if (r < 0) {
    json_decref(result);
    failed_client(j, call, r);
  } else
    done(call, result);
}

static json_t *parse_and_free(char *text) {
  json_t *document = NULL;
  if (text)
    (void)json_parse(text, strlen(text), "document", &document, NULL);
  free(text);
  return document;
}

/* May be called while volumes are held: it never waits. */
static void on_progress(void *userdata, const char *phase, const char *volume, uint64_t done_bytes,
                        uint64_t total_bytes) {
  struct job *j = userdata;
  int64_t now_ns = clock_monotonic_ns();
  if (strcmp(j->phase, phase) == 0 && now_ns - j->told_ns < PROGRESS_INTERVAL_MS * NS_PER_MS)
    return;
  (void)snprintf(j->phase, sizeof j->phase, "%s", phase);
  j->told_ns = now_ns;
  report(j->request.call,
         json_pack("{s:s, s:s, s:o, s:I, s:I}", "event", "progress", "phase", phase, "volume",
                   json_path(volume ? volume : ""), "done", (json_int_t)done_bytes, "total", (json_int_t)total_bytes),
         -1, true);
}

static void on_warning(void *userdata, const char *message) {
  const struct job *j = userdata;
  report(j->request.call, json_pack("{s:s, s:o}", "event", "warning", "message", json_path(message)), -1, true);
}

/* ---- a set ---- */

static int set_up(struct job *j) {
  size_t i;
  json_t *item;
  int r = umbra_set_new(j->client, &j->set);
  json_array_foreach(j->request.options, i, item) {
    const char *name = json_string_value(json_array_get(item, 0)),
               *value = json_string_value(json_array_get(item, 1));
    if (r >= 0)
      r = umbra_set_option(j->set, name, value);
    j->auto_release = strcmp(name, "auto-release") == 0 ? strcmp(value, "yes") == 0 : j->auto_release;
  }
  json_array_foreach(j->request.paths, i, item) {
    CLEANUP_FREE char *path = NULL;
    if (r >= 0 && (r = json_path_value(item, &path)) >= 0)
      r = umbra_set_add_path(j->set, path);
  }
  return r;
}

static json_t *made(const struct job *j) {
  json_t *document = parse_and_free(strdup(umbra_set_document(j->set)));
  (void)json_object_set_new(document, "degraded", json_boolean(umbra_set_degraded(j->set)));
  return document;
}

static void open_of_set(const struct job *j, const struct request *q) {
  CLEANUP_JSON json_t *document = made(j);
  const json_t *shadows = json_object_get(json_object_get(document, "set"), "shadows");
  for (size_t i = 0; i < json_array_size(shadows); i++) {
    if (strcmp(json_get_string_or(json_array_get(shadows, i), "id", ""), q->id) != 0)
      continue;
    CLEANUP_CLOSE int fd = umbra_set_open_shadow(j->set, i);
    if (fd < 0)
      failed_client(j, q->call, fd);
    else
      report(q->call, json_pack("{s:s, s:b}", "event", "done", "descriptor", 1), fd, false);
    return;
  }
  failed(q->call, -ENOENT, UMBRA_REASON_NOT_FOUND, "the set has no such shadow copy");
}

struct holding {
  struct job *job;
  bool released;
};

/* What is told to the job of a set that is held. */
static int on_told(void *context, json_t *line) {
  struct holding *h = context;
  struct request q;
  struct umbra_error err = {0};
  if (request_parse(line, &q, &err) < 0)
    return -EBADMSG;
  if (q.verb == REQUEST_COMPLETE)
    answer(h->job, q.call, umbra_set_complete(h->job->set, q.flag), NULL);
  else if (q.verb == REQUEST_OPEN)
    open_of_set(h->job, &q);
  else if (q.verb == REQUEST_RELEASE) {
    h->released = true;
    umbra_set_free(h->job->set);
    h->job->set = NULL;
    done(q.call, NULL);
    return -ESHUTDOWN; /* what came after it has no set any more */
  }
  return 0;
}

/* Until it is released, or the other side of the channel has gone. */
static void hold(struct job *j) {
  struct holding h = {.job = j};
  struct lines_buffer buffer = {0};
  const char *why;
  char chunk[4096];
  while (!h.released) {
    ssize_t n = read(CHANNEL_FD, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0 || lines_feed(&buffer, chunk, (size_t)n, LINES_REQUEST_BYTES_MAX, on_told, &h, &why) < 0)
      break;
  }
  free(buffer.bytes);
}

static void do_create(struct job *j) {
  int r = set_up(j);
  if (r >= 0) {
    report(j->request.call,
           json_pack("{s:s, s:s, s:b}", "event", "new", "id", umbra_set_id(j->set), "auto_release", j->auto_release),
           -1, false);
    r = umbra_set_create(j->set);
  }
  if (r < 0)
    failed_client(j, j->request.call, r);
  else {
    done(j->request.call, made(j));
    if (j->auto_release)
      hold(j);
  }
  umbra_set_free(j->set);
}

/* ---- the others ---- */

static void do_delete(struct job *j) {
  answer(j, j->request.call, umbra_delete(j->client, j->request.text), NULL);
  access_tidy(j->directories);
}

static void do_delete_oldest(struct job *j) {
  CLEANUP_FREE char *id = NULL;
  int r = umbra_delete_oldest(j->client, j->request.text, &id);
  answer(j, j->request.call, r, r < 0 ? NULL : json_pack("{s:s}", "text", id));
  access_tidy(j->directories);
}

static void do_list(struct job *j) {
  static const char *const both[] = {"sets", "storage"};
  bool inventory = strcmp(j->request.text, "inventory") == 0;
  CLEANUP_JSON json_t *result = json_object();
  int r = 0;
  for (size_t i = 0; i < (inventory ? 2 : 1) && r >= 0; i++) {
    char *text = NULL;
    r = umbra_list(j->client, inventory ? both[i] : j->request.text, &text);
    CLEANUP_JSON json_t *part = parse_and_free(text);
    (void)json_object_update(result, part);
  }
  answer(j, j->request.call, r, json_incref(result));
}

static void do_show(struct job *j) {
  char *text = NULL;
  int r = umbra_show(j->client, j->request.text, &text);
  answer(j, j->request.call, r, parse_and_free(text));
}

static void do_doctor(struct job *j) {
  size_t count = json_array_size(j->request.paths), i;
  char **paths = calloc(count + 1, sizeof *paths), *text = NULL;
  json_t *path;
  int r = paths ? 0 : -ENOMEM;
  json_array_foreach(j->request.paths, i, path) {
    if (r >= 0)
      r = json_path_value(path, &paths[i]);
  }
  if (r >= 0)
    r = umbra_doctor(j->client, (const char *const *)paths, count, &text);
  answer(j, j->request.call, r, parse_and_free(text));
}

/* May this user? Answers when not. */
static bool may_see(const struct job *j, const char *shadow_id, bool whole) {
  struct umbra_error err = {0};
  int r = j->request.trusted ? 0 : access_may_see(j->directories, shadow_id, j->request.user, whole, &err);
  if (r < 0)
    failed(j->request.call, r, err.reason, err.message);
  return r >= 0;
}

/* The one shadow copy that a text means: its id, the caller's; NULL: none, or one of several. */
static char *whole_id(const struct job *j, const char *text) {
  char *shown = NULL;
  if (umbra_show(j->client, text, &shown) < 0)
    return NULL;
  CLEANUP_JSON json_t *document = parse_and_free(shown);
  const json_t *shadows = json_object_get(json_object_get(document, "set"), "shadows");
  const json_t *shadow =
      json_array_size(shadows) == 1 ? json_array_get(shadows, 0) : json_object_get(document, "shadow");
  const char *id = json_get_string_or(shadow, "id", NULL);
  return id ? strdup(id) : NULL;
}

/* For a user who is not root: where only he gets to. */
static void mount_for_user(struct job *j, unsigned flags) {
  const struct request *q = &j->request;
  CLEANUP_FREE char *id = whole_id(j, q->text), *wanted = NULL, *directory = NULL;
  CLEANUP_CLOSE int lock = -1;
  struct umbra_error err = {0};
  /* Who means none is told so in libumbra's words, for which it mounts nothing. */
  if (!id) {
    failed_client(j, q->call, umbra_mount(j->client, q->text, NULL, 0, &directory));
    return;
  }
  if (!may_see(j, id, true))
    return;
  int r = access_user_directory(j->directories, id, q->user, &wanted, &lock, &err);
  if (r < 0) {
    failed(q->call, r, err.reason, err.message);
    return;
  }
  r = umbra_mount(j->client, id, wanted, flags, &directory);
  cleanup_close_fd(&lock);
  lock = -1;
  answer(j, q->call, r, r < 0 ? NULL : json_pack("{s:o}", "directory", json_path(directory)));
  if (r < 0)
    access_tidy(j->directories);
}

static void do_mount(struct job *j) {
  const struct request *q = &j->request;
  unsigned flags = q->trusted ? (q->suid ? UMBRA_MOUNT_SUID : 0) | (q->dev ? UMBRA_MOUNT_DEV : 0) : 0;
  if (q->user != 0) {
    mount_for_user(j, flags);
    return;
  }
  CLEANUP_FREE char *directory = NULL;
  int r = umbra_mount(j->client, q->text, q->place, flags, &directory);
  answer(j, q->call, r, r < 0 ? NULL : json_pack("{s:o}", "directory", json_path(directory)));
}

/* Where access.c mounts for this user what the text means: the caller's; NULL: that cannot be said. A text that is a
 * directory of his says it itself: what is below it is root's and has no links. */
static char *users_place(const struct job *j, const char *text) {
  CLEANUP_FREE char *id = NULL, *own = NULL;
  char *place = NULL;
  if (asprintf(&own, "%s/users/%u/", j->directories->runtime_dir, (unsigned)j->request.user) < 0) {
    own = NULL;
    return NULL;
  }
  size_t length = strlen(own);
  if (strncmp(text, own, length) == 0)
    return id_valid(text + length) ? strdup(text) : NULL;
  id = whole_id(j, text);
  return id && asprintf(&place, "%s%s", own, id) >= 0 ? place : NULL;
}

/* The bus process has allowed it by what was listed last: what an ordinary user's text means now is found out here.
 */
static void do_unmount(struct job *j) {
  const struct request *q = &j->request;
  CLEANUP_FREE char *place = q->trusted ? NULL : users_place(j, q->text);
  if (!q->trusted && (!place || access(place, F_OK) < 0)) {
    failed(q->call, -EACCES, UMBRA_REASON_ACCESS, "no mount of this user's own (see: umbra list shadows)");
    return;
  }
  answer(j, q->call, umbra_unmount(j->client, place ? place : q->text), NULL);
  access_tidy(j->directories);
}

static void do_open(struct job *j) {
  if (!may_see(j, j->request.id, false))
    return;
  CLEANUP_CLOSE int fd = umbra_open_shadow(j->client, j->request.id);
  if (fd < 0)
    failed_client(j, j->request.call, fd);
  else
    report(j->request.call, json_pack("{s:s, s:b}", "event", "done", "descriptor", 1), fd, false);
}

static void do_recover(struct job *j) {
  size_t count = 0;
  int r = umbra_recover(j->client, &count);
  answer(j, j->request.call, r, json_pack("{s:I}", "recovered", (json_int_t)count));
}

static void do_test(struct job *j) {
  char *text = NULL;
  int r = umbra_writer_test(j->client, j->request.text, &text);
  json_t *result = parse_and_free(text);
  (void)json_object_set_new(result, "degraded", json_boolean(r > 0));
  answer(j, j->request.call, r, result);
}

static void do_enable(struct job *j) {
  answer(j, j->request.call, umbra_writer_enable(j->client, j->request.text, j->request.flag), NULL);
}

static void (*const acts[REQUEST_VERB_MAX])(struct job *j) = {
    [REQUEST_CREATE] = do_create,   [REQUEST_DELETE] = do_delete,   [REQUEST_DELETE_OLDEST] = do_delete_oldest,
    [REQUEST_LIST] = do_list,       [REQUEST_SHOW] = do_show,       [REQUEST_DOCTOR] = do_doctor,
    [REQUEST_MOUNT] = do_mount,     [REQUEST_UNMOUNT] = do_unmount, [REQUEST_OPEN] = do_open,
    [REQUEST_RECOVER] = do_recover, [REQUEST_TEST] = do_test,       [REQUEST_ENABLE] = do_enable,
};

static int make_client(struct umbra_client **ret, const struct directories *directories) {
  int r = umbra_client_new(ret);
  if (r >= 0)
    r = umbra_client_set_directory(*ret, "state-dir", directories->state_dir);
  if (r >= 0)
    r = umbra_client_set_directory(*ret, "runtime-dir", directories->runtime_dir);
  return r < 0 ? r : umbra_client_set_directory(*ret, "config-dir", directories->config_dir);
}

/* The host's own descriptors and signal handlers stay behind. Signals stay blocked. */
static void leave_host(int channel_fd) {
  (void)prctl(PR_SET_NAME, "umbrad-job");
  if (channel_fd != CHANNEL_FD && dup3(channel_fd, CHANNEL_FD, O_CLOEXEC) < 0)
    _exit(EXIT_FAILURE);
  (void)close_range(CHANNEL_FD + 1, ~0U, 0);
  (void)fd_set_nonblocking(CHANNEL_FD, false);
  for (int number = 1; number < NSIG; number++)
    (void)sigaction(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
}

/* A host that is killed ends what it began as one that stops does: in order. */
static void take_signals(pid_t host) {
  sigset_t none;
  struct sigaction cancel = {.sa_handler = on_terminate};
  (void)sigaction(SIGTERM, &cancel, NULL);
  (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
  if (getppid() != host)
    umbra_client_cancel(cancelled_client);
}

void job_run(const struct directories *directories, const struct request *request, int channel_fd, pid_t host) {
  struct job j = {.directories = directories, .request = *request};
  leave_host(channel_fd);
  if (make_client(&j.client, directories) < 0)
    _exit(EXIT_FAILURE);
  cancelled_client = j.client;
  take_signals(host);
  umbra_client_on_progress(j.client, on_progress, &j);
  umbra_client_on_warning(j.client, on_warning, &j);
  acts[request->verb](&j);
  umbra_client_free(j.client);
  _exit(EXIT_SUCCESS);
}

int job_recover_first(const struct directories *directories, struct umbra_error *err) {
  pid_t pid = fork();
  if (pid == 0) {
    struct umbra_client *client = NULL;
    int r = make_client(&client, directories);
    if (r >= 0)
      r = umbra_recover(client, NULL);
    if (r < 0 && client)
      dprintf(STDERR_FILENO, "umbra: cleaning up: %s\n", umbra_client_message(client));
    _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
  }
  int status = 0;
  if (pid < 0)
    return error_errno(err, "starting a process");
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
    ;
  return status == 0 ? 0 : error_set(err, -EIO, UMBRA_REASON_INTERNAL, "cleaning up after earlier sets failed");
}
