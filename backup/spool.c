/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists in nameless files. See spool.h. */
#include "backup/spool.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

int spool_open_file(int dir_fd, struct umbra_error *err) {
  static const char *const places[] = {"/var/tmp", "/tmp"};
  if (dir_fd >= 0) {
    int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
      return fd;
  }
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    int fd = open(places[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
      return fd;
  }
  char name[] = "/tmp/umbra-spool-XXXXXX";
  int fd = mkostemp(name, O_CLOEXEC);
  if (fd < 0)
    return error_errno(err, "making a temporary file in /tmp");
  (void)unlink(name);
  return fd;
}

int spool_init(struct spool *s, int dir_fd, struct umbra_error *err) {
  *s = (struct spool){.fd = spool_open_file(dir_fd, err)};
  if (s->fd < 0)
    return s->fd;
  s->buffer = malloc(SPOOL_BUFFER_BYTES);
  if (s->buffer)
    return 0;
  (void)close(s->fd);
  s->fd = -1;
  return error_code(err, -ENOMEM, "making a temporary list");
}

void spool_done(struct spool *s) {
  /* Without a buffer it was never made: then 0 is no descriptor of its. */
  if (s->buffer && s->fd >= 0)
    (void)close(s->fd);
  free(s->buffer);
  *s = (struct spool){.fd = -1};
}

static int flush(struct spool *s, struct umbra_error *err) {
  int r = fd_pwrite_all(s->fd, s->buffer, s->buffer_bytes, s->written_bytes);
  if (r < 0)
    return error_code(err, r, "writing a temporary list");
  s->written_bytes += s->buffer_bytes;
  s->buffer_bytes = 0;
  return 0;
}

static int put(struct spool *s, const void *data, size_t length_bytes, struct umbra_error *err) {
  const char *p = data;
  while (length_bytes > 0) {
    size_t room_bytes = SPOOL_BUFFER_BYTES - s->buffer_bytes;
    size_t n = length_bytes < room_bytes ? length_bytes : room_bytes;
    memcpy(s->buffer + s->buffer_bytes, p, n);
    s->buffer_bytes += n;
    p += n;
    length_bytes -= n;
    if (s->buffer_bytes == SPOOL_BUFFER_BYTES) {
      int r = flush(s, err);
      if (r < 0)
        return r;
    }
  }
  return 0;
}

int spool_append(struct spool *s, const void *data, size_t length_bytes, struct umbra_error *err) {
  if (length_bytes > SPOOL_RECORD_BYTES_MAX)
    return error_set(err, -EFBIG, UMBRA_REASON_LIMIT, "a record of %zu bytes does not fit a temporary list",
                     length_bytes);
  uint32_t length = (uint32_t)length_bytes;
  int r = put(s, &length, sizeof length, err);
  if (r == 0)
    r = put(s, data, length_bytes, err);
  if (r == 0)
    r = put(s, &length, sizeof length, err);
  return r;
}

uint64_t spool_length(const struct spool *s) { return s->written_bytes + s->buffer_bytes; }

int spool_cursor_init(struct spool_cursor *c, struct spool *s, size_t buffer_bytes, struct umbra_error *err) {
  *c = (struct spool_cursor){.spool = s, .buffer_capacity_bytes = buffer_bytes};
  c->buffer = malloc(buffer_bytes);
  if (!c->buffer)
    return error_code(err, -ENOMEM, "reading a temporary list");
  return s->buffer_bytes > 0 ? flush(s, err) : 0;
}

void spool_cursor_seek(struct spool_cursor *c, uint64_t position_bytes) { c->position_bytes = position_bytes; }

void spool_cursor_done(struct spool_cursor *c) {
  free(c->buffer);
  free(c->record);
  *c = (struct spool_cursor){0};
}

/* Makes the buffer hold the window of the file that contains position; backwards the window ends behind it. */
static int refill(struct spool_cursor *c, uint64_t position_bytes, bool backwards, struct umbra_error *err) {
  uint64_t end_bytes = spool_length(c->spool), at = position_bytes;
  if (backwards)
    at = position_bytes + 1 > c->buffer_capacity_bytes ? position_bytes + 1 - c->buffer_capacity_bytes : 0;
  size_t n = end_bytes - at < c->buffer_capacity_bytes ? (size_t)(end_bytes - at) : c->buffer_capacity_bytes;
  int r = fd_pread_all(c->spool->fd, c->buffer, n, at);
  if (r < 0)
    return error_code(err, r, "reading a temporary list");
  c->buffer_at = at;
  c->buffer_bytes = n;
  return 0;
}

static int get(struct spool_cursor *c, void *to, size_t length_bytes, uint64_t position_bytes, bool backwards,
               struct umbra_error *err) {
  if (length_bytes >= c->buffer_capacity_bytes) {
    int r = fd_pread_all(c->spool->fd, to, length_bytes, position_bytes);
    return r < 0 ? error_code(err, r, "reading a temporary list") : 0;
  }
  bool inside = position_bytes >= c->buffer_at && position_bytes + length_bytes <= c->buffer_at + c->buffer_bytes;
  if (!inside && length_bytes > 0) {
    int r = refill(c, backwards ? position_bytes + length_bytes - 1 : position_bytes, backwards, err);
    if (r < 0)
      return r;
  }
  memcpy(to, c->buffer + (position_bytes - c->buffer_at), length_bytes);
  return 0;
}

static int reserve(struct spool_cursor *c, uint32_t length, struct umbra_error *err) {
  if (c->capacity_bytes > length)
    return 0;
  char *larger = realloc(c->record, (size_t)length + 1);
  if (!larger)
    return error_code(err, -ENOMEM, "reading a temporary list");
  c->record = larger;
  c->capacity_bytes = (size_t)length + 1;
  return 0;
}

static int take(struct spool_cursor *c, uint32_t length, uint64_t body_at, bool backwards, struct umbra_error *err) {
  int r = reserve(c, length, err);
  if (r == 0)
    r = get(c, c->record, length, body_at, backwards, err);
  if (r < 0)
    return r;
  c->record[length] = '\0';
  c->record_bytes = length;
  return 1;
}

int spool_next(struct spool_cursor *c, struct umbra_error *err) {
  uint32_t length = 0;
  if (c->position_bytes >= spool_length(c->spool))
    return 0;
  int r = get(c, &length, sizeof length, c->position_bytes, false, err);
  if (r == 0)
    r = take(c, length, c->position_bytes + sizeof length, false, err);
  if (r == 1)
    c->position_bytes += length + 2 * sizeof length;
  return r;
}

int spool_previous(struct spool_cursor *c, struct umbra_error *err) {
  uint32_t length = 0;
  if (c->position_bytes == 0)
    return 0;
  int r = get(c, &length, sizeof length, c->position_bytes - sizeof length, true, err);
  if (r < 0)
    return r;
  r = take(c, length, c->position_bytes - sizeof length - length, true, err);
  if (r == 1)
    c->position_bytes -= length + 2 * sizeof length;
  return r;
}
