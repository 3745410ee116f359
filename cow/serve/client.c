/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/serve/client.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"
#include "volume/session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

enum { STATUS_TIMEOUT_MS = 3000 };

int cow_attached_directory(dev_t device, char **ret, struct umbra_error *err) {
  static const char path[] = "/proc/self/mountinfo";
  struct mounts mounts = {0};
  FILE *file = fopen(path, "re");
  int r = file ? mounts_parse(file, path, &mounts, err) : error_errno(err, "opening '%s'", path);
  if (file)
    (void)fclose(file);
  *ret = NULL;
  if (r >= 0 && !volume_session_of_block(&mounts, device, ret))
    r = error_set(err, -ENODEV, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                  "the volume is not attached to umbra (see umbra-attach(8))");
  else if (r >= 0 && !*ret)
    r = error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "looking for the volume's session");
  mounts_done(&mounts);
  return r;
}

int cow_client_connect(const char *directory, int *ret_fd, struct umbra_error *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int n = snprintf(address.sun_path, sizeof address.sun_path, "%s/control", directory);
  if (n < 0 || (size_t)n >= sizeof address.sun_path)
    return error_set(err, -ENAMETOOLONG, UMBRA_REASON_INVALID, "the path '%s/control' is too long for a socket",
                     directory);
  CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return error_errno(err, "making a socket");
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    if (errno == ENOENT || errno == ECONNREFUSED)
      return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "no volume is attached at '%s'", directory);
    return error_errno(err, "connecting to the server of the attached volume at '%s'", directory);
  }
  *ret_fd = take_fd(&fd);
  return 0;
}

static int receive(int fd, char *buffer, size_t bytes, int timeout_ms) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  int n = poll(&p, 1, timeout_ms);
  if (n == 0)
    return -ETIMEDOUT;
  ssize_t got = n < 0 ? -1 : recv(fd, buffer, bytes, 0);
  /* It closed without having read what was sent: the kernel says that first, and then what it had sent before. */
  if (got < 0 && errno == ECONNRESET)
    got = recv(fd, buffer, bytes, MSG_DONTWAIT);
  if (got < 0)
    return -errno;
  return got == 0 ? -EPIPE : (int)got;
}

static int error_of(const json_t *reply, struct umbra_error *err) {
  const json_t *e = json_object_get(reply, "error");
  if (!e)
    return json_is_true(json_object_get(reply, "ok"))
               ? 0
               : error_set(err, -EPROTO, UMBRA_REASON_INTERNAL, "an answer without sense");
  json_int_t code = json_integer_value(json_object_get(e, "code")),
             reason = json_integer_value(json_object_get(e, "reason"));
  const char *message = json_string_value(json_object_get(e, "message"));
  if (code >= 0 || code < -4095)
    code = -EPROTO;
  return error_set(err, (int)code, (enum umbra_reason)reason, "%s", message ? message : "no reason was given");
}

int cow_client_call(int fd, json_t *request, int timeout_ms, json_t **ret, struct umbra_error *err) {
  char buffer[COW_MESSAGE_BYTES_MAX];
  size_t bytes = request ? json_dumpb(request, buffer, sizeof buffer, JSON_COMPACT) : 0;
  json_decref(request);
  if (bytes == 0 || bytes > sizeof buffer)
    return error_set(err, -EINVAL, UMBRA_REASON_INTERNAL, "a request that is no message");
  /* Who was turned away has the reason in his socket. */
  if (send(fd, buffer, bytes, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
    return error_errno(err, "asking the volume's server");
  int n = receive(fd, buffer, sizeof buffer, timeout_ms);
  if (n == -ETIMEDOUT)
    return error_set(err, n, UMBRA_REASON_BUSY, "the volume's server did not answer within %d s", timeout_ms / 1000);
  if (n < 0)
    return error_code(err, n, "waiting for the volume's server");
  json_t *reply = json_loadb(buffer, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
  int r = error_of(reply, err);
  if (r >= 0 && ret)
    *ret = reply;
  else
    json_decref(reply);
  return r;
}

void cow_client_hang_up(int fd, int timeout_ms) {
  char buffer[COW_MESSAGE_BYTES_MAX];
  int64_t until_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS, left_ns = timeout_ms * NS_PER_MS;
  (void)shutdown(fd, SHUT_WR);
  for (int r = 1; (r > 0 || r == -EINTR) && left_ns > 0; left_ns = until_ns - clock_monotonic_ns())
    r = receive(fd, buffer, sizeof buffer, (int)(left_ns / NS_PER_MS) + 1);
}

int cow_client_commit(int fd, const char *id, bool held, int timeout_ms) {
  char buffer[256];
  int n =
      snprintf(buffer, sizeof buffer, "{\"do\":\"commit\",\"id\":\"%s\",\"held\":%s}", id, held ? "true" : "false");
  if (n < 0 || (size_t)n >= sizeof buffer)
    return -EINVAL;
  if (send(fd, buffer, (size_t)n, MSG_NOSIGNAL) < 0)
    return -errno;
  n = receive(fd, buffer, sizeof buffer, timeout_ms);
  if (n < 0)
    return n;
  return n == 11 && memcmp(buffer, "{\"ok\":true}", 11) == 0 ? 0 : -EIO;
}

int cow_client_list(const char *directory, json_t **ret, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = -1;
  CLEANUP_JSON json_t *found = json_object();
  int r = found ? cow_client_connect(directory, &fd, err)
                : error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "listing shadow copies");
  bool more = true;
  for (json_int_t after = 0; r >= 0 && more;) {
    CLEANUP_JSON json_t *reply = NULL;
    json_t *shadow;
    size_t i;
    r = cow_client_call(fd, json_pack("{s:s, s:I}", "do", "list", "after", after), STATUS_TIMEOUT_MS, &reply, err);
    json_int_t before = after;
    json_array_foreach(json_object_get(reply, "shadows"), i, shadow) {
      after = json_get_integer_or(shadow, "number", after);
      if (json_object_set(found, json_get_string_or(shadow, "id", ""), shadow) < 0)
        r = error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "listing shadow copies");
    }
    /* A server that does not go on must not keep us here. */
    more = json_get_boolean_or(reply, "more", false) && after > before;
  }
  if (r >= 0)
    *ret = take_pointer(found);
  return r;
}

json_t *cow_client_describe(dev_t device) {
  static const char *const told[] = {"origin",      "storage",    "shadows",     "dropped",
                                     "shadows_max", "used_bytes", "limit_bytes", "over_warning",
                                     "front",       "front_why",  "way",         "replaceable"};
  CLEANUP_FREE char *directory = NULL;
  CLEANUP_CLOSE int fd = -1;
  CLEANUP_JSON json_t *status = NULL;
  struct umbra_error why = {0};
  if (cow_attached_directory(device, &directory, NULL) < 0)
    return NULL;
  int r = cow_client_connect(directory, &fd, &why);
  if (r >= 0)
    r = cow_client_call(fd, json_pack("{s:s}", "do", "status"), STATUS_TIMEOUT_MS, &status, &why);
  json_t *volume =
      json_pack("{s:o, s:s?}", "name", json_path(strrchr(directory, '/') + 1), "why", r < 0 ? why.message : NULL);
  for (size_t i = 0; volume && status && i < sizeof told / sizeof told[0]; i++)
    (void)json_object_set(volume, told[i], json_object_get(status, told[i]));
  return volume;
}

int cow_client_visit(const char *runtime_dir,
                     int (*visit)(const char *directory, const json_t *status, void *context), void *context,
                     struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "%s/attached", runtime_dir) < 0) {
    path = NULL;
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "listing attached volumes");
  }
  CLEANUP_CLOSEDIR DIR *directory = opendir(path);
  if (!directory)
    return errno == ENOENT ? 0 : error_errno(err, "listing '%s'", path);
  int r = 0;
  for (struct dirent *entry; r == 0 && (entry = readdir(directory));) {
    CLEANUP_CLOSE int fd = -1;
    CLEANUP_FREE char *one = NULL;
    json_t *status = NULL;
    if (entry->d_name[0] == '.' || asprintf(&one, "%s/%s", path, entry->d_name) < 0 || !volume_session_trusts(one) ||
        cow_client_connect(one, &fd, NULL) < 0 ||
        cow_client_call(fd, json_pack("{s:s}", "do", "status"), STATUS_TIMEOUT_MS, &status, NULL) < 0)
      continue;
    r = visit(one, status, context);
    json_decref(status);
  }
  return r;
}
