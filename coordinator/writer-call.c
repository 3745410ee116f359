/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/writer-call.h"

#include "coordinator/writer-session.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* sysexits.h EX_TEMPFAIL: the contract's "failed, worth a retry". */
enum { EXIT_RETRY = 75 };

struct writer_call {
  struct writer *writer;
  enum writer_event event;
  writer_called done;
  void *context;
  struct process process;
  int stdout_fd, stderr_fd;
  char *output; /* of identify and of answers */
  size_t output_bytes;
  char message[WRITER_MESSAGE_BYTES_MAX];
  size_t message_bytes;
  int64_t limit_ms, began_ns;
  sd_event_source *on_exit, *on_stdout, *on_stderr, *on_deadline;
};

/* What a kind of writer is told for an event; NULL: nothing, the event has ended. */
static const char *spoken_event(enum writer_kind kind, enum writer_event event) {
  if (kind != WRITER_HOOK)
    return writer_event_name(event);
  if (event == WRITER_FREEZE)
    return "freeze";
  return event == WRITER_THAW || event == WRITER_ABORT ? "thaw" : NULL;
}

static void call_free(struct writer_call *c) {
  sd_event_source_disable_unref(c->on_exit);
  sd_event_source_disable_unref(c->on_stdout);
  sd_event_source_disable_unref(c->on_stderr);
  sd_event_source_disable_unref(c->on_deadline);
  if (c->stdout_fd >= 0)
    (void)close(c->stdout_fd);
  if (c->stderr_fd >= 0)
    (void)close(c->stderr_fd);
  struct writer *w = c->writer;
  if (c->process.pid > 0 && w->past_count < sizeof w->past / sizeof w->past[0])
    w->past[w->past_count++] = c->process;
  else
    process_end(&c->process, true);
  free(c->output);
  free(c);
}

static void finish(struct writer_call *c) {
  writer_called done = c->done;
  struct writer *w = c->writer;
  enum writer_event event = c->event;
  void *context = c->context;
  w->event_ns[event] = clock_monotonic_ns() - c->began_ns;
  call_free(c);
  done(w, event, context);
}

static void fail(struct writer_call *c, enum umbra_reason reason, const char *why) {
  /* Its first words on standard error are its own account; why is ours. */
  writer_fail(c->writer, c->event, reason, "%s%s%s", why, c->message_bytes > 0 ? ": " : "", c->message);
}

/* Events of a set go to a session; identify and the restore's come without a set. */
static bool is_session_event(const struct writer *w, enum writer_event event) {
  return w->kind == WRITER_SESSION && event != WRITER_IDENTIFY && event != WRITER_PRE_RESTORE &&
         event != WRITER_POST_RESTORE;
}

static void kill_group(struct writer_call *c) {
  if (is_session_event(c->writer, c->event) && c->writer->session)
    writer_session_end(c->writer->session);
  if (c->process.pid > 0)
    (void)kill(-c->process.pid, SIGKILL);
}

enum writer_event writer_call_event(const struct writer_call *c) { return c->event; }

void writer_call_cancel(struct writer_call *c, enum umbra_reason reason, const char *why) {
  kill_group(c);
  fail(c, reason, why);
  finish(c);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *context) {
  (void)source;
  (void)usec;
  struct writer_call *c = context;
  char why[128];
  (void)snprintf(why, sizeof why, "%s took longer than %lld ms", writer_event_name(c->event), (long long)c->limit_ms);
  writer_call_cancel(c, UMBRA_REASON_WRITER_TIMEOUT, why);
  return 0;
}

/* Takes in what there is. 1: more may come, 0: end of file, negative: over the limit. */
static int drain_stdout(struct writer_call *c) {
  char chunk[4096];
  for (;;) {
    ssize_t n = read(c->stdout_fd, chunk, sizeof chunk);
    if (n < 0)
      return errno == EAGAIN || errno == EINTR ? 1 : 0;
    if (n == 0)
      return 0;
    if (c->output_bytes + (size_t)n > WRITER_OUTPUT_BYTES_MAX)
      return -EFBIG;
    char *larger = realloc(c->output, c->output_bytes + (size_t)n);
    if (!larger)
      return -ENOMEM;
    c->output = larger;
    memcpy(c->output + c->output_bytes, chunk, (size_t)n);
    c->output_bytes += (size_t)n;
  }
}

/* At most a pipe's worth a call, so that a flood does not keep the loop from the deadline. */
static int drain_stderr(struct writer_call *c) {
  char chunk[16384];
  ssize_t n = read(c->stderr_fd, chunk, sizeof chunk);
  if (n < 0)
    return errno == EAGAIN || errno == EINTR ? 1 : 0;
  size_t room = sizeof c->message - 1 - c->message_bytes;
  size_t keep = (size_t)n < room ? (size_t)n : room;
  memcpy(c->message + c->message_bytes, chunk, keep);
  c->message_bytes += keep;
  while (c->message_bytes > 0 && strchr("\n\r ", c->message[c->message_bytes - 1]))
    c->message_bytes--;
  c->message[c->message_bytes] = 0;
  return n > 0;
}

static int on_stdout(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)fd;
  (void)events;
  struct writer_call *c = context;
  int r = drain_stdout(c);
  if (r == 0)
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
  if (r < 0) {
    char why[128];
    (void)snprintf(why, sizeof why, "%s printed more than %d bytes", writer_event_name(c->event),
                   (int)WRITER_OUTPUT_BYTES_MAX);
    writer_call_cancel(c, UMBRA_REASON_WRITER, why);
  }
  return 0;
}

static int on_stderr(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)fd;
  (void)events;
  if (drain_stderr(context) == 0)
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
  return 0;
}

static void take_answer(struct writer_call *c) {
  c->writer->said_bytes = c->output_bytes;
  if (c->event == WRITER_IDENTIFY) {
    writer_identified(c->writer, c->output ? c->output : "", c->output_bytes);
    return;
  }
  json_t *answer = NULL;
  if (c->output_bytes > 0 && json_parse(c->output, c->output_bytes, c->writer->path, &answer, NULL) >= 0) {
    if (json_is_object(answer))
      (void)json_object_set(c->writer->answers, writer_event_name(c->event), answer);
    json_decref(answer);
  }
}

static int on_exit_(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)source;
  (void)fd;
  (void)events;
  struct writer_call *c = context;
  siginfo_t info = {0};
  /* WNOWAIT: it stays a zombie, see struct writer. */
  if (waitid(P_PID, (id_t)c->process.pid, &info, WEXITED | WNOWAIT | WNOHANG) < 0 || info.si_pid == 0)
    return 0;
  /* Only what is there already: somebody it left behind may keep the pipes open for ever. */
  int r = drain_stdout(c);
  (void)drain_stderr(c);
  char why[128];
  const char *event = writer_event_name(c->event);
  if (r < 0)
    fail(c, UMBRA_REASON_WRITER, "printed too much");
  else if (info.si_code == CLD_EXITED && info.si_status == 0)
    take_answer(c);
  else if (info.si_code == CLD_EXITED) {
    bool retry = info.si_status == EXIT_RETRY;
    (void)snprintf(why, sizeof why, "%s failed with exit status %d%s", event, info.si_status,
                   retry ? " (worth a retry)" : "");
    fail(c, retry ? UMBRA_REASON_WRITER_RETRY : UMBRA_REASON_WRITER, why);
  } else {
    (void)snprintf(why, sizeof why, "%s was killed by signal %d", event, info.si_status);
    fail(c, UMBRA_REASON_WRITER, why);
  }
  finish(c);
  return 0;
}

static int on_nothing_to_do(sd_event_source *source, void *context) {
  (void)source;
  finish(context);
  return 0;
}

static int append_variable(char ***environment, const char *name, const char *value) {
  CLEANUP_FREE char *text = NULL;
  if (asprintf(&text, "%s=%s", name, value) < 0) {
    text = NULL;
    return -ENOMEM;
  }
  return strv_append(environment, text);
}

int writer_environment(const struct writer *w, const char *set_id, const char *event, char ***environment) {
  static const char *const ours[] = {"UMBRA_SET=", "UMBRA_EVENT=", "UMBRA_INSTANCE=", "UMBRA_KEY="};
  for (char **at = environ; at && *at; at++) {
    bool own = false;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
      own = own || strncmp(*at, ours[i], strlen(ours[i])) == 0;
    if (!own && strv_append(environment, *at) < 0)
      return -ENOMEM;
  }
  CLEANUP_FREE char *key = NULL;
  (void)json_path_value(json_object_get(w->metadata, "key"), &key);
  int r = append_variable(environment, "UMBRA_SET", set_id);
  if (r >= 0 && event)
    r = append_variable(environment, "UMBRA_EVENT", event);
  if (r >= 0 && w->instance)
    r = append_variable(environment, "UMBRA_INSTANCE", w->instance);
  /* One variable has room for 128 KiB, all together for a few MiB; a session is told the whole key in its line. */
  bool fits = key && strlen(key) <= WRITER_KEY_BYTES_MAX;
  return r >= 0 && fits ? append_variable(environment, "UMBRA_KEY", key) : r;
}

/* A descriptor of its own on the document, so that calls side by side do not share an offset. */
static int open_document(int document_fd) {
  char path[FD_PROC_PATH_BYTES];
  return document_fd < 0 ? -1 : open(fd_proc_path(document_fd, path), O_RDONLY | O_CLOEXEC);
}

static int start(struct process *ret, const struct writer *w, const char *spoken, const char *set_id,
                 const char *event, int document_fd, int stdout_fd, int stderr_fd, struct umbra_error *err) {
  CLEANUP_CLOSE int input = open_document(document_fd);
  CLEANUP_STRV char **environment = NULL;
  if (writer_environment(w, set_id, event, &environment) < 0)
    return error_code(err, -ENOMEM, "starting '%s'", w->path);
  char *arguments[] = {w->path, (char *)spoken, NULL};
  struct process_options options = {
      .path = w->path,
      .arguments = arguments,
      .environment = environment,
      .stdin_fd = input,
      .stdout_fd = stdout_fd,
      .stderr_fd = stderr_fd,
      .own_group = true,
  };
  return process_start(&options, ret, err);
}

static int watch_deadline(struct writer_call *c, sd_event *loop, struct umbra_error *err) {
  int r = sd_event_add_time_relative(loop, &c->on_deadline, CLOCK_MONOTONIC, (uint64_t)c->limit_ms * 1000, 1000,
                                     on_deadline, c);
  /* It must get its turn however much a writer prints. */
  if (r >= 0)
    r = sd_event_source_set_priority(c->on_deadline, SD_EVENT_PRIORITY_IMPORTANT);
  return r < 0 ? error_code(err, r, "watching writer '%s'", c->writer->name) : 0;
}

static int watch(struct writer_call *c, sd_event *loop, struct umbra_error *err) {
  int r = sd_event_add_io(loop, &c->on_stdout, c->stdout_fd, EPOLLIN, on_stdout, c);
  if (r >= 0)
    r = sd_event_add_io(loop, &c->on_stderr, c->stderr_fd, EPOLLIN, on_stderr, c);
  if (r >= 0)
    r = sd_event_add_io(loop, &c->on_exit, c->process.pidfd, EPOLLIN, on_exit_, c);
  if (r >= 0)
    r = watch_deadline(c, loop, err);
  return r < 0 ? error_code(err, r, "watching writer '%s'", c->writer->name) : 0;
}

static int start_process(struct writer_call *c, const char *spoken, sd_event *loop, const char *set_id,
                         int document_fd, struct umbra_error *problem) {
  int r = 0, out[2] = {-1, -1}, messages[2] = {-1, -1};
  if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(messages, O_CLOEXEC | O_NONBLOCK) < 0)
    r = error_errno(problem, "making a pipe");
  c->stdout_fd = out[0];
  c->stderr_fd = messages[0];
  CLEANUP_CLOSE int its_output = out[1], its_messages = messages[1];
  /* The writer's own ends block, as programs expect. */
  if (r >= 0)
    r = fd_set_nonblocking(its_output, false) < 0 || fd_set_nonblocking(its_messages, false) < 0
            ? error_errno(problem, "setting up a pipe")
            : start(&c->process, c->writer, spoken, set_id, writer_event_name(c->event), document_fd, its_output,
                    its_messages, problem);
  return r < 0 ? r : watch(c, loop, problem);
}

static void on_answered(void *context, enum writer_session_result result, const char *message, json_t *answer) {
  struct writer_call *c = context;
  const char *event = writer_event_name(c->event), *colon = *message ? ": " : "";
  if (result == WRITER_SESSION_RETRY)
    writer_fail(c->writer, c->event, UMBRA_REASON_WRITER_RETRY, "%s failed (worth a retry)%s%s", event, colon,
                message);
  else if (result != WRITER_SESSION_DONE)
    writer_fail(c->writer, c->event, UMBRA_REASON_WRITER, "%s failed%s%s", event, colon, message);
  else if (answer) {
    c->writer->said_bytes = json_dumpb(answer, NULL, 0, JSON_COMPACT);
    (void)json_object_set(c->writer->answers, event, answer);
  }
  finish(c);
}

/* What is owed to a session that is not there is done: its end undid all. */
static int tell_session(struct writer_call *c, sd_event *loop, const char *set_id, int document_fd, bool *ret_nothing,
                        struct umbra_error *problem) {
  bool owed = c->event == WRITER_ABORT || c->event == WRITER_SHUTDOWN;
  if (owed && !writer_session_runs(c->writer->session)) {
    *ret_nothing = true;
    return 0;
  }
  int r = writer_session_tell(c->writer, c->event, loop, set_id, document_fd, c->limit_ms, on_answered, c, problem);
  return r < 0 ? r : watch_deadline(c, loop, problem);
}

int writer_call(struct writer *w, enum writer_event event, sd_event *loop, const char *set_id, int document_fd,
                int64_t limit_ms, writer_called done, void *context, struct writer_call **ret,
                struct umbra_error *err) {
  struct writer_call *c = calloc(1, sizeof *c);
  if (!c)
    return error_code(err, -ENOMEM, "telling writer '%s'", w->name);
  *c = (struct writer_call){.writer = w,
                            .event = event,
                            .done = done,
                            .context = context,
                            .limit_ms = limit_ms,
                            .began_ns = clock_monotonic_ns(),
                            .process = {.pidfd = -1},
                            .stdout_fd = -1,
                            .stderr_fd = -1};
  const char *spoken = spoken_event(w->kind, event);
  struct umbra_error problem = {0};
  bool nothing = !spoken;
  int r = 0;
  if (spoken && is_session_event(w, event))
    r = tell_session(c, loop, set_id, document_fd, &nothing, &problem);
  else if (spoken)
    r = start_process(c, spoken, loop, set_id, document_fd, &problem);
  if (r < 0) {
    kill_group(c);
    writer_fail(w, event, UMBRA_REASON_WRITER, "%s", problem.message);
  }
  if (nothing || r < 0) {
    r = sd_event_add_defer(loop, &c->on_exit, on_nothing_to_do, c);
    if (r < 0) {
      call_free(c);
      return error_code(err, r, "telling writer '%s'", w->name);
    }
  }
  if (ret)
    *ret = c;
  return 0;
}

int writer_call_now(const struct writer *w, enum writer_event event, const char *set_id, int document_fd,
                    int limit_ms) {
  const char *spoken = spoken_event(w->kind, event);
  if (!spoken || is_session_event(w, event))
    return 0;
  struct process p = {.pidfd = -1};
  int r = start(&p, w, spoken, set_id, writer_event_name(event), document_fd, -1, -1, NULL);
  if (r < 0)
    return r;
  int status = process_wait(&p, limit_ms);
  process_end(&p, true);
  return status == 0 ? 0 : -EIO;
}
