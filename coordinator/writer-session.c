/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Both directions are nonblocking: a writer that does not read its input fills a pipe, and then waits here, until its
 * deadline comes.  All that it prints is limited: one line of an answer, and what is kept of standard error.
 */
#include "coordinator/writer-session.h"

#include "coordinator/writer-call.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct writer_session {
  struct process process;
  int input_fd, output_fd, message_fd; /* its standard input, output and error: our ends */
  bool ended;                          /* the process has: nothing more can be told */
  char *line;                          /* being told */
  size_t line_bytes, line_written_bytes;
  char *answer; /* as far as it has come */
  size_t answer_bytes;
  char message[WRITER_MESSAGE_BYTES_MAX]; /* of standard error since the event was told */
  size_t message_bytes;
  enum writer_event event;
  writer_session_answered answered; /* NULL: nothing is asked */
  void *context;
  sd_event_source *on_input, *on_output, *on_message, *on_exit;
};

static void stop_watching(struct writer_session *s) {
  s->on_input = sd_event_source_disable_unref(s->on_input);
  s->on_output = sd_event_source_disable_unref(s->on_output);
  s->on_message = sd_event_source_disable_unref(s->on_message);
  s->on_exit = sd_event_source_disable_unref(s->on_exit);
}

bool writer_session_runs(const struct writer_session *s) { return s && !s->ended; }

void writer_session_end(struct writer_session *s) {
  if (s->process.pid > 0)
    (void)kill(-s->process.pid, SIGKILL);
  stop_watching(s);
  s->ended = true;
  s->answered = NULL;
}

void writer_session_free(struct writer_session *s) {
  if (!s)
    return;
  stop_watching(s);
  cleanup_close_fd(&s->input_fd);
  cleanup_close_fd(&s->output_fd);
  cleanup_close_fd(&s->message_fd);
  process_end(&s->process, true);
  free(s->line);
  free(s->answer);
  free(s);
}

static void finish(struct writer_session *s, enum writer_session_result result, const char *message, json_t *answer) {
  writer_session_answered answered = s->answered;
  s->answered = NULL;
  if (s->on_input)
    (void)sd_event_source_set_enabled(s->on_input, SD_EVENT_OFF);
  if (answered)
    answered(s->context, result, message, answer);
}

/* What it said is not the protocol: nothing more is believed. */
static void break_off(struct writer_session *s, const char *why) {
  writer_session_answered answered = s->answered;
  void *context = s->context;
  writer_session_end(s);
  if (answered)
    answered(context, WRITER_SESSION_GONE, why, NULL);
}

static void take_line(struct writer_session *s, const char *line, size_t length_bytes) {
  struct umbra_error err = {0};
  CLEANUP_JSON json_t *document = NULL;
  if (!s->answered || s->line_written_bytes < s->line_bytes) {
    break_off(s, "it spoke without having been asked");
    return;
  }
  if (json_parse(line, length_bytes, "its answer", &document, &err) < 0 || !json_is_object(document)) {
    break_off(s, "it answered with something that is no JSON object");
    return;
  }
  const char *result = json_get_string_or(document, "result", "");
  const char *event = json_get_string_or(document, "event", "");
  const char *message = json_get_string_or(document, "message", s->message);
  json_t *answer = json_object_get(document, "answer");
  if (strcmp(event, writer_event_name(s->event)) != 0)
    break_off(s, "it answered another event than it was told");
  else if (strcmp(result, "done") == 0)
    finish(s, WRITER_SESSION_DONE, message, json_is_object(answer) ? answer : NULL);
  else if (strcmp(result, "retry") == 0)
    finish(s, WRITER_SESSION_RETRY, message, NULL);
  else if (strcmp(result, "failed") == 0)
    finish(s, WRITER_SESSION_FAILED, message, NULL);
  else
    break_off(s, "its answer's 'result' is none of done, failed, retry");
}

/* Takes in what there is. 1: a line was taken or more may come, 0: end of file. */
static int drain_output(struct writer_session *s) {
  char chunk[16384];
  ssize_t n = read(s->output_fd, chunk, sizeof chunk);
  if (n < 0)
    return errno == EAGAIN || errno == EINTR ? 1 : 0;
  if (n == 0)
    return 0;
  char *larger =
      s->answer_bytes + (size_t)n <= WRITER_OUTPUT_BYTES_MAX ? realloc(s->answer, s->answer_bytes + (size_t)n) : NULL;
  if (!larger) {
    break_off(s, "its answer is longer than a writer may say");
    return 1;
  }
  s->answer = larger;
  memcpy(s->answer + s->answer_bytes, chunk, (size_t)n);
  s->answer_bytes += (size_t)n;
  const char *end = memchr(s->answer, '\n', s->answer_bytes);
  if (!end)
    return 1;
  size_t length_bytes = (size_t)(end - s->answer);
  bool more = length_bytes + 1 < s->answer_bytes;
  s->answer_bytes = 0; /* the buffer stays as it is until more is read */
  if (more)
    break_off(s, "it answered more than once");
  else
    take_line(s, s->answer, length_bytes);
  return 1;
}

static void drain_message(struct writer_session *s) {
  char chunk[16384];
  ssize_t n = read(s->message_fd, chunk, sizeof chunk);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
    s->on_message = sd_event_source_disable_unref(s->on_message);
  if (n <= 0)
    return;
  size_t room = sizeof s->message - 1 - s->message_bytes, keep = (size_t)n < room ? (size_t)n : room;
  memcpy(s->message + s->message_bytes, chunk, keep);
  s->message_bytes += keep;
  while (s->message_bytes > 0 && strchr("\n\r ", s->message[s->message_bytes - 1]))
    s->message_bytes--;
  s->message[s->message_bytes] = 0;
}

static int on_output(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)fd;
  (void)events;
  /* Its end will be told by the process's. */
  if (drain_output(context) == 0)
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
  return 0;
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)source;
  (void)fd;
  (void)events;
  drain_message(context);
  return 0;
}

static int on_input(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)fd;
  (void)events;
  struct writer_session *s = context;
  ssize_t n = send(s->input_fd, s->line + s->line_written_bytes, s->line_bytes - s->line_written_bytes, MSG_NOSIGNAL);
  if (n > 0)
    s->line_written_bytes += (size_t)n;
  /* A reader that is gone is told of by its end. */
  if (s->line_written_bytes == s->line_bytes || (n < 0 && errno != EAGAIN && errno != EINTR))
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
  return 0;
}

static int on_exit_(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)source;
  (void)fd;
  (void)events;
  struct writer_session *s = context;
  siginfo_t info = {0};
  /* WNOWAIT: it stays a zombie, so that its group's id stays its own. */
  if (waitid(P_PID, (id_t)s->process.pid, &info, WEXITED | WNOWAIT | WNOHANG) < 0 || info.si_pid == 0)
    return 0;
  (void)drain_output(s); /* an answer that it gave before */
  drain_message(s);
  if (s->ended)
    return 0;
  char why[WRITER_MESSAGE_BYTES_MAX + 64];
  (void)snprintf(why, sizeof why, "its session %s %d%s%s",
                 info.si_code == CLD_EXITED ? "ended with exit status" : "was killed by signal", info.si_status,
                 s->message_bytes > 0 ? ": " : "", s->message);
  break_off(s, why);
  return 0;
}

static int watch(struct writer_session *s, sd_event *loop) {
  int r = sd_event_add_io(loop, &s->on_output, s->output_fd, EPOLLIN, on_output, s);
  if (r >= 0)
    r = sd_event_add_io(loop, &s->on_message, s->message_fd, EPOLLIN, on_message, s);
  if (r >= 0)
    r = sd_event_add_io(loop, &s->on_input, s->input_fd, EPOLLOUT, on_input, s);
  if (r >= 0)
    r = sd_event_add_io(loop, &s->on_exit, s->process.pidfd, EPOLLIN, on_exit_, s);
  /* An answer comes before the end of the one who gave it. */
  if (r >= 0)
    r = sd_event_source_set_priority(s->on_exit, SD_EVENT_PRIORITY_NORMAL + 1);
  return r;
}

static int start(struct writer_session *s, const struct writer *w, const char *set_id, struct umbra_error *err) {
  int input[2] = {-1, -1}, output[2] = {-1, -1}, message[2] = {-1, -1};
  /* A socket: one that has died must not end this process by SIGPIPE. */
  int r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) < 0 || pipe2(output, O_CLOEXEC) < 0 ||
                  pipe2(message, O_CLOEXEC) < 0
              ? error_errno(err, "making a pipe")
              : 0;
  s->input_fd = input[1];
  s->output_fd = output[0];
  s->message_fd = message[0];
  CLEANUP_CLOSE int its_input = input[0], its_output = output[1], its_message = message[1];
  if (r >= 0 && (fd_set_nonblocking(s->input_fd, true) < 0 || fd_set_nonblocking(s->output_fd, true) < 0 ||
                 fd_set_nonblocking(s->message_fd, true) < 0))
    r = error_errno(err, "setting up a pipe");
  CLEANUP_STRV char **environment = NULL;
  if (r >= 0 && writer_environment(w, set_id, NULL, &environment) < 0)
    r = error_code(err, -ENOMEM, "starting '%s'", w->path);
  if (r < 0)
    return r;
  char *arguments[] = {w->path, (char *)"session", NULL};
  struct process_options options = {
      .path = w->path,
      .arguments = arguments,
      .environment = environment,
      .stdin_fd = its_input,
      .stdout_fd = its_output,
      .stderr_fd = its_message,
      .own_group = true,
  };
  return process_start(&options, &s->process, err);
}

static int open_session(struct writer *w, sd_event *loop, const char *set_id, struct umbra_error *err) {
  struct writer_session *s = calloc(1, sizeof *s);
  if (!s)
    return error_code(err, -ENOMEM, "starting '%s'", w->path);
  *s = (struct writer_session){.process = {.pidfd = -1}, .input_fd = -1, .output_fd = -1, .message_fd = -1};
  int r = start(s, w, set_id, err);
  if (r >= 0 && (r = watch(s, loop)) < 0)
    error_code(err, r, "watching writer '%s'", w->name);
  if (r < 0) {
    writer_session_free(s);
    return r;
  }
  w->session = s;
  return 0;
}

/* The document's own text, with its line breaks, which stand between words only, made blanks. */
static int append_document(FILE *out, int document_fd) {
  struct stat st;
  if (document_fd < 0)
    return fputs("null", out) < 0 ? -EIO : 0;
  if (fstat(document_fd, &st) < 0 || st.st_size > JSON_DOCUMENT_BYTES_MAX)
    return -EFBIG;
  char chunk[16384];
  for (off_t at = 0; at < st.st_size;) {
    ssize_t n = pread(document_fd, chunk, sizeof chunk, at);
    if (n <= 0)
      return n < 0 ? -errno : -EIO;
    for (ssize_t i = 0; i < n; i++)
      if (chunk[i] == '\n')
        chunk[i] = ' ';
    if (fwrite(chunk, 1, (size_t)n, out) != (size_t)n)
      return -ENOMEM;
    at += n;
  }
  return 0;
}

/* {"event", "limit_ms", "writer": what is known of it, "document": the set's} */
static int compose(struct writer_session *s, const struct writer *w, enum writer_event event, int document_fd,
                   int64_t limit_ms, struct umbra_error *err) {
  free(s->line);
  s->line = NULL;
  s->line_written_bytes = s->line_bytes = 0;
  CLEANUP_JSON json_t *own = writer_describe(w);
  if (json_object_get(w->metadata, "key"))
    (void)json_object_set(own, "key", json_object_get(w->metadata, "key"));
  FILE *out = open_memstream(&s->line, &s->line_bytes);
  if (!out)
    return error_errno(err, "telling a writer %s", writer_event_name(event));
  (void)fprintf(out, "{\"event\": \"%s\", \"limit_ms\": %lld, \"writer\": ", writer_event_name(event),
                (long long)limit_ms);
  int r = own && json_dumpf(own, out, JSON_COMPACT) == 0 ? 0 : -ENOMEM;
  (void)fputs(", \"document\": ", out);
  if (r >= 0)
    r = append_document(out, document_fd);
  (void)fputs("}\n", out);
  if (fclose(out) != 0 && r >= 0)
    r = -ENOMEM;
  return r < 0 ? error_code(err, r, "telling a writer %s", writer_event_name(event)) : 0;
}

int writer_session_tell(struct writer *w, enum writer_event event, sd_event *loop, const char *set_id,
                        int document_fd, int64_t limit_ms, writer_session_answered answered, void *context,
                        struct umbra_error *err) {
  int r = w->session ? 0 : open_session(w, loop, set_id, err);
  if (r < 0)
    return r;
  struct writer_session *s = w->session;
  if (s->ended)
    return error_set(err, -EPIPE, UMBRA_REASON_WRITER, "its session has ended%s%s", s->message_bytes > 0 ? ": " : "",
                     s->message);
  r = compose(s, w, event, document_fd, limit_ms, err);
  if (r < 0)
    return r;
  s->event = event;
  s->answered = answered;
  s->context = context;
  s->message_bytes = 0;
  s->message[0] = 0;
  (void)sd_event_source_set_enabled(s->on_input, SD_EVENT_ON);
  return 0;
}
