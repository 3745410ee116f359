/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffers are made, and touched, when the process is started, so that waiting for it while volumes are held needs no
 * memory.  Output past the message limit of standard error is read and dropped: a chatty program is not blocked.
 */
#include "providers/exec/exec-call.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POLL_INTERVAL_MS = 100 };

struct exec_call {
  const char *path, *verb;
  struct process process;
  int stdin_fd, stdout_fd, stderr_fd; /* our ends; -1: closed */
  char *output;                       /* EXEC_OUTPUT_BYTES_MAX */
  size_t output_bytes;
  bool too_much;
  char message[EXEC_MESSAGE_BYTES_MAX];
  size_t message_bytes;
};

void exec_call_free(struct exec_call *call) {
  if (!call)
    return;
  process_end(&call->process, true);
  cleanup_close_fd(&call->stdin_fd);
  cleanup_close_fd(&call->stdout_fd);
  cleanup_close_fd(&call->stderr_fd);
  free(call->output);
  free(call);
}

/* A pipe whose reader is gone would end this process with SIGPIPE, so the signal waits while writing and is taken
 * back. */
static int write_quietly(int fd, const void *data, size_t length_bytes) {
  sigset_t broken_pipe, before;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  (void)pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
  int r = fd_write_all(fd, data, length_bytes);
  if (r == -EPIPE && !sigismember(&before, SIGPIPE))
    (void)sigtimedwait(&broken_pipe, NULL, &(struct timespec){0});
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return r;
}

/* A file in memory: however long the document is, nobody waits for it to be read. */
static int document_file(const char *text, size_t length_bytes) {
  CLEANUP_CLOSE int fd = memfd_create("umbra-document", MFD_CLOEXEC);
  if (fd < 0)
    return -errno;
  int r = fd_write_all(fd, text, length_bytes);
  if (r >= 0)
    r = fd_write_all(fd, "\n", 1);
  if (r >= 0 && lseek(fd, 0, SEEK_SET) < 0)
    r = -errno;
  return r < 0 ? r : take_fd(&fd);
}

/* A pipe with the document in it as one line. It has to fit: nobody is reading yet. */
static int document_pipe(const char *text, size_t length_bytes, int *ret_write_fd) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0)
    return -errno;
  CLEANUP_CLOSE int read_fd = ends[0], write_fd = ends[1];
  int capacity = fcntl(write_fd, F_SETPIPE_SZ, (int)(length_bytes + 1 + PIPE_BUF));
  if (capacity < 0 || (size_t)capacity < length_bytes + 1 + PIPE_BUF)
    return -EFBIG;
  int r = fd_write_all(write_fd, text, length_bytes);
  if (r >= 0)
    r = fd_write_all(write_fd, "\n", 1);
  if (r < 0)
    return r;
  *ret_write_fd = take_fd(&write_fd);
  return take_fd(&read_fd);
}

static int make_pipe(int *ret_read_fd, int *ret_write_fd) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0)
    return -errno;
  *ret_read_fd = ends[0];
  *ret_write_fd = ends[1];
  return fd_set_nonblocking(ends[0], true);
}

static int start_process(struct exec_call *call, int stdin_fd, struct umbra_error *err) {
  CLEANUP_CLOSE int out = -1, complaints = -1;
  int r = make_pipe(&call->stdout_fd, &out);
  if (r >= 0)
    r = make_pipe(&call->stderr_fd, &complaints);
  if (r < 0)
    return error_code(err, r, "provider '%s'", call->path);
  char *arguments[] = {(char *)(uintptr_t)call->path, (char *)(uintptr_t)call->verb, NULL};
  struct process_options options = {.path = call->path,
                                    .arguments = arguments,
                                    .stdin_fd = stdin_fd,
                                    .stdout_fd = out,
                                    .stderr_fd = complaints,
                                    .own_group = true};
  return process_start(&options, &call->process, err);
}

int exec_call_start(const char *path, const char *verb, const json_t *input, bool stay_open, struct exec_call **ret,
                    struct umbra_error *err) {
  CLEANUP(cleanup_exec_call) struct exec_call *call = calloc(1, sizeof *call);
  CLEANUP_FREE char *text = json_dumps(input, JSON_COMPACT);
  if (!call || !text) {
    free(call);
    call = NULL;
    return error_code(err, -ENOMEM, "provider '%s'", path);
  }
  call->path = path;
  call->verb = verb;
  call->stdin_fd = call->stdout_fd = call->stderr_fd = call->process.pidfd = -1;
  call->output = malloc(EXEC_OUTPUT_BYTES_MAX);
  if (!call->output)
    return error_code(err, -ENOMEM, "provider '%s'", path);
  memset(call->output, 0, EXEC_OUTPUT_BYTES_MAX);
  CLEANUP_CLOSE int stdin_fd =
      stay_open ? document_pipe(text, strlen(text), &call->stdin_fd) : document_file(text, strlen(text));
  if (stdin_fd < 0)
    return error_code(err, stdin_fd, "provider '%s': its document", path);
  int r = start_process(call, stdin_fd, err);
  if (r < 0)
    return r;
  *ret = take_pointer(call);
  return 0;
}

int exec_call_tell(struct exec_call *call, const char *line, struct umbra_error *err) {
  char text[PIPE_BUF];
  size_t length = strlen(line);
  if (length + 1 > sizeof text)
    return -E2BIG;
  memcpy(text, line, length);
  text[length] = '\n';
  int r = write_quietly(call->stdin_fd, text, length + 1);
  (void)close(take_fd(&call->stdin_fd));
  /* It has ended already: its exit status says more. */
  if (r < 0 && r != -EPIPE)
    return error_code(err, r, "provider '%s' %s", call->path, call->verb);
  return 0;
}

static void read_output(struct exec_call *call) {
  char beyond;
  for (;;) {
    size_t room = EXEC_OUTPUT_BYTES_MAX - call->output_bytes;
    ssize_t n = read(call->stdout_fd, room > 0 ? call->output + call->output_bytes : &beyond, room > 0 ? room : 1);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN)
      return;
    if (n <= 0) {
      (void)close(take_fd(&call->stdout_fd));
      return;
    }
    if (room == 0) {
      call->too_much = true;
      return;
    }
    call->output_bytes += (size_t)n;
  }
}

static void read_message(struct exec_call *call) {
  char text[512];
  for (int rounds = 0; rounds < 64; rounds++) {
    ssize_t n = read(call->stderr_fd, text, sizeof text);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN)
      return;
    if (n <= 0) {
      (void)close(take_fd(&call->stderr_fd));
      return;
    }
    for (ssize_t i = 0; i < n && call->message_bytes < EXEC_MESSAGE_BYTES_MAX - 1; i++) {
      unsigned char c = (unsigned char)text[i];
      call->message[call->message_bytes++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
    }
  }
}

static const char *message(struct exec_call *call) {
  while (call->message_bytes > 0 && call->message[call->message_bytes - 1] == ' ')
    call->message_bytes--;
  call->message[call->message_bytes] = 0;
  return call->message_bytes > 0 ? call->message : "it gave no reason on standard error";
}

static int explain_end(struct exec_call *call, int status, struct umbra_error *err) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return 0;
  if (WIFSIGNALED(status))
    return error_set(err, -EIO, UMBRA_REASON_PROVIDER, "provider '%s' %s: killed by signal %d: %s", call->path,
                     call->verb, WTERMSIG(status), message(call));
  if (WEXITSTATUS(status) == EXEC_EXIT_AGAIN)
    return error_set(err, -EAGAIN, UMBRA_REASON_BUSY, "provider '%s' %s: %s", call->path, call->verb, message(call));
  return error_set(err, -EIO, UMBRA_REASON_PROVIDER, "provider '%s' %s: exit status %d: %s", call->path, call->verb,
                   WEXITSTATUS(status), message(call));
}

static int give_up(struct exec_call *call, int code, const char *why, struct umbra_error *err) {
  process_end(&call->process, true);
  return error_set(err, code, code == -ECANCELED ? UMBRA_REASON_CANCELLED : UMBRA_REASON_PROVIDER,
                   "provider '%s' %s: %s, so it was killed", call->path, call->verb, why);
}

int exec_call_wait(struct exec_call *call, int timeout_ms, const atomic_bool *cancelled, struct umbra_error *err) {
  int64_t deadline_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
  for (bool ended = false;;) {
    /* Read once more after its end: what it wrote last. A child that it left behind may keep the pipes open for ever.
     */
    if (call->stdout_fd >= 0)
      read_output(call);
    if (call->stderr_fd >= 0)
      read_message(call);
    if (call->too_much)
      return give_up(call, -EFBIG, "it printed more than 1 MiB", err);
    if (ended)
      break;
    if (cancelled && atomic_load(cancelled))
      return give_up(call, -ECANCELED, "cancelled", err);
    int64_t left_ms = (deadline_ns - clock_monotonic_ns()) / NS_PER_MS;
    if (left_ms <= 0)
      return give_up(call, -ETIMEDOUT, "it missed its deadline", err);
    struct pollfd fds[] = {{.fd = call->process.pidfd, .events = POLLIN},
                           {.fd = call->stdout_fd, .events = POLLIN},
                           {.fd = call->stderr_fd, .events = POLLIN}};
    if (poll(fds, 3, left_ms < POLL_INTERVAL_MS ? (int)left_ms : POLL_INTERVAL_MS) < 0 && errno != EINTR)
      return error_errno(err, "waiting for provider '%s'", call->path);
    ended = fds[0].revents != 0;
  }
  /* Children that it left in its group are not wanted. Before it is reaped, while the group's number is surely its
   * own. */
  (void)kill(-call->process.pid, SIGKILL);
  int status = process_wait(&call->process, 0);
  return status < 0 ? error_code(err, status, "waiting for provider '%s'", call->path)
                    : explain_end(call, status, err);
}

int exec_call_output(const struct exec_call *call, json_t **ret, struct umbra_error *err) {
  size_t length = call->output_bytes;
  while (length > 0 && strchr(" \t\r\n", call->output[length - 1]))
    length--;
  CLEANUP_JSON json_t *output = NULL;
  if (length == 0)
    output = json_object();
  else {
    int r = json_parse(call->output, length, "standard output", &output, err);
    if (r < 0)
      return error_prefix(err, r, "provider '%s' %s", call->path, call->verb);
  }
  if (!json_is_object(output))
    return error_set(err, -EBADMSG, UMBRA_REASON_PROVIDER,
                     "provider '%s' %s: it printed something that is no JSON object", call->path, call->verb);
  *ret = take_pointer(output);
  return 0;
}
