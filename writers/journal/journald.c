/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/journal/journald.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int socket_path(const char *namespace, char *ret, size_t room) {
  int n = snprintf(ret, room, "/run/systemd/journal%s%s/io.systemd.journal", namespace[0] ? "." : "", namespace);
  return n < 0 || (size_t)n >= room ? -ENAMETOOLONG : 0;
}

bool journald_is_there(const char *namespace) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  return socket_path(namespace, address.sun_path, sizeof address.sun_path) == 0 &&
         access(address.sun_path, F_OK) == 0;
}

static int open_socket(const char *namespace, struct umbra_error *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int r = socket_path(namespace, address.sun_path, sizeof address.sun_path);
  if (r < 0)
    return error_code(err, r, "asking journald");
  CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
    return error_errno(err, "asking journald at '%s'", address.sun_path);
  return take_fd(&fd);
}

/* One object of at most JOURNALD_REPLY_BYTES_MAX, without its NUL. */
static int read_reply(int fd, int64_t deadline_ns, char *reply, struct umbra_error *err) {
  size_t length = 0;
  for (;;) {
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int64_t left_ms = (deadline_ns - clock_monotonic_ns()) / NS_PER_MS;
    int n = left_ms > 0 ? poll(&readable, 1, (int)left_ms) : 0;
    if (n < 0 && errno == EINTR)
      continue;
    if (n == 0)
      return error_set(err, -ETIMEDOUT, UMBRA_REASON_WRITER_RETRY, "journald does not answer in time");
    ssize_t got = n < 0 ? -1 : recv(fd, reply + length, JOURNALD_REPLY_BYTES_MAX - length, 0);
    if (got < 0)
      return error_errno(err, "asking journald");
    if (got == 0)
      return error_set(err, -EBADMSG, UMBRA_REASON_WRITER, "journald's answer has no end");
    bool whole = memchr(reply + length, '\0', (size_t)got);
    length += (size_t)got;
    if (whole)
      return 0;
  }
}

static int judge(const char *reply, const char *method, struct umbra_error *err) {
  CLEANUP_JSON json_t *document = NULL;
  int r = json_parse(reply, strlen(reply), "journald's answer", &document, err);
  const char *error = r < 0 ? NULL : json_get_string_or(document, "error", NULL);
  if (!error)
    return r;
  bool unknown = strcmp(error, "io.systemd.Journal.NotSupportedByNamespaces") == 0 ||
                 strcmp(error, "org.varlink.service.MethodNotFound") == 0 ||
                 strcmp(error, "org.varlink.service.MethodNotImplemented") == 0;
  return error_set(err, unknown ? -EOPNOTSUPP : -EIO, UMBRA_REASON_WRITER, "journald answers '%s': %s", method,
                   error);
}

int journald_ask(const char *namespace, const char *method, int64_t deadline_ns, struct umbra_error *err) {
  char request[128];
  CLEANUP_FREE char *reply = malloc(JOURNALD_REPLY_BYTES_MAX);
  if (!reply)
    return error_code(err, -ENOMEM, "asking journald");
  CLEANUP_CLOSE int fd = open_socket(namespace, err);
  if (fd < 0)
    return fd;
  int length = snprintf(request, sizeof request, "{\"method\":\"io.systemd.Journal.%s\",\"parameters\":{}}", method);
  if (send(fd, request, (size_t)length + 1, MSG_NOSIGNAL) != length + 1)
    return error_errno(err, "asking journald");
  int r = read_reply(fd, deadline_ns, reply, err);
  return r < 0 ? r : judge(reply, method, err);
}
