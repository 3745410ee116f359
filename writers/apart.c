/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/apart.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static int64_t last_deadline_ns; /* of all questions; 0: none */

void apart_set_deadline(int64_t deadline_ns) { last_deadline_ns = deadline_ns; }

/* To its end, which has to come by then. */
static int read_answer(int fd, int64_t deadline_ns, char **ret, size_t *ret_length) {
  CLEANUP_FREE char *text = malloc(APART_BYTES_MAX + 1);
  size_t length = 0;
  if (!text)
    return -ENOMEM;
  for (;;) {
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int64_t left_ms = (deadline_ns - clock_monotonic_ns()) / NS_PER_MS;
    int ready = left_ms > 0 ? poll(&readable, 1, (int)left_ms) : 0;
    if (ready < 0 && errno == EINTR)
      continue;
    if (ready == 0)
      return -ETIMEDOUT;
    ssize_t n = ready < 0 ? -1 : read(fd, text + length, APART_BYTES_MAX + 1 - length);
    if (n < 0)
      return -errno;
    length += (size_t)n;
    if (length > APART_BYTES_MAX)
      return -EFBIG;
    if (n == 0)
      break;
  }
  text[length] = '\0';
  *ret = take_pointer(text);
  *ret_length = length;
  return 0;
}

int apart_ask(apart_question ask, const void *subject, int limit_s, json_t **ret, struct umbra_error *err) {
  int ends[2];
  int64_t deadline_ns = clock_monotonic_ns() + limit_s * NS_PER_S;
  if (last_deadline_ns != 0 && last_deadline_ns < deadline_ns)
    deadline_ns = last_deadline_ns;
  if (pipe2(ends, O_CLOEXEC) < 0)
    return error_errno(err, "asking the server");
  CLEANUP_CLOSE int from = ends[0], to = ends[1];
  pid_t pid = fork();
  if (pid < 0)
    return error_errno(err, "asking the server");
  if (pid == 0) {
    (void)alarm((unsigned)limit_s);
    json_t *answer = ask(subject);
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    _exit(text && fd_write_all(to, text, strlen(text)) == 0 ? 0 : 1);
  }
  (void)close(take_fd(&to));
  CLEANUP_FREE char *text = NULL;
  size_t length = 0;
  int r = read_answer(from, deadline_ns, &text, &length);
  /* One that says more than it may, or nothing, goes on otherwise. */
  if (r < 0)
    (void)kill(pid, SIGKILL);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
    ;
  if (r < 0 || length == 0)
    return error_set(err, -EIO, UMBRA_REASON_WRITER, "asking the server: it does not answer as it should");
  return json_parse(text, length, "what the server says", ret, err);
}
