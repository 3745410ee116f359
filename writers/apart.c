/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/apart.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

int apart_ask(apart_question ask, const void *subject, json_t **ret, struct umbra_error *err) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0)
    return error_errno(err, "asking the server");
  CLEANUP_CLOSE int from = ends[0], to = ends[1];
  pid_t pid = fork();
  if (pid < 0)
    return error_errno(err, "asking the server");
  if (pid == 0) {
    (void)alarm(APART_S);
    json_t *answer = ask(subject);
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    _exit(text && fd_write_all(to, text, strlen(text)) == 0 ? 0 : 1);
  }
  (void)close(take_fd(&to));
  CLEANUP_FREE char *text = NULL;
  size_t length = 0;
  int r = fd_read_to_end(from, APART_BYTES_MAX, &text, &length);
  /* One that says more than it may is stuck in its pipe. */
  (void)close(take_fd(&from));
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
    ;
  if (r < 0 || length == 0)
    return error_set(err, -EIO, UMBRA_REASON_WRITER, "asking the server: it does not answer as it should");
  return json_parse(text, length, "what the server says", ret, err);
}
