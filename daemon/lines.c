/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/lines.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024 };

struct queued {
  struct queued *next;
  size_t length_bytes, sent_bytes;
  int fd; /* goes with the first byte; -1: none */
  char bytes[];
};

struct lines {
  struct lines_options options;
  sd_event_source *source;
  struct lines_buffer in;
  int descriptors[LINES_DESCRIPTORS_MAX];
  size_t descriptor_count;
  struct queued *first, *last;
  size_t queued_bytes;
  bool finishing, over;
};

int lines_feed(struct lines_buffer *b, const char *bytes, size_t length_bytes, size_t line_bytes_max,
               lines_received received, void *context, const char **why) {
  if (b->used_bytes + length_bytes > b->size_bytes) {
    size_t size = b->used_bytes + length_bytes;
    size = size < 2 * b->size_bytes ? 2 * b->size_bytes : size;
    char *larger = realloc(b->bytes, size);
    if (!larger) {
      *why = "out of memory";
      return -ENOMEM;
    }
    b->bytes = larger;
    b->size_bytes = size;
  }
  memcpy(b->bytes + b->used_bytes, bytes, length_bytes);
  b->used_bytes += length_bytes;
  size_t begin = 0;
  int r = 0;
  const char *end;
  while (r >= 0 && (end = memchr(b->bytes + b->searched_bytes, '\n', b->used_bytes - b->searched_bytes))) {
    size_t at = (size_t)(end - b->bytes);
    CLEANUP_JSON json_t *line = NULL;
    if (at - begin > line_bytes_max || json_parse(b->bytes + begin, at - begin, "line", &line, NULL) < 0 ||
        !json_is_object(line)) {
      *why = "it sent what is no line of the protocol";
      r = -EBADMSG;
    } else if ((r = received(context, line)) < 0)
      *why = "it sent what makes no sense";
    begin = b->searched_bytes = at + 1;
  }
  memmove(b->bytes, b->bytes + begin, b->used_bytes - begin);
  b->used_bytes -= begin;
  b->searched_bytes = b->used_bytes;
  if (r >= 0 && b->used_bytes > line_bytes_max) {
    *why = "it sent a line that is too long";
    return -EMSGSIZE;
  }
  /* What one large line needed is not kept for ever. */
  if (b->used_bytes == 0) {
    free(b->bytes);
    *b = (struct lines_buffer){0};
  }
  return r;
}

static void update_events(struct lines *l) {
  uint32_t wanted = (l->over ? 0 : EPOLLIN) | (l->first ? EPOLLOUT : 0);
  (void)sd_event_source_set_io_events(l->source, wanted);
  if (l->finishing && !l->first)
    (void)shutdown(l->options.fd, SHUT_WR);
}

static void drop_queue(struct lines *l) {
  while (l->first) {
    struct queued *q = l->first;
    l->first = q->next;
    cleanup_close_fd(&q->fd);
    free(q);
  }
  l->last = NULL;
  l->queued_bytes = 0;
}

static void end(struct lines *l, const char *why) {
  if (l->over)
    return;
  l->over = true;
  drop_queue(l);
  (void)sd_event_source_set_enabled(l->source, SD_EVENT_OFF);
  l->options.ended(l->options.context, why); /* may free l */
}

/* Descriptors that come along wait for the line that speaks of them. Those past the limit are closed. */
static void keep_descriptors(struct lines *l, struct msghdr *message) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
      continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      if (l->descriptor_count < LINES_DESCRIPTORS_MAX)
        l->descriptors[l->descriptor_count++] = fd;
      else
        (void)close(fd);
    }
  }
}

static void take_in(struct lines *l) {
  char chunk[READ_BYTES];
  union {
    char bytes[CMSG_SPACE(sizeof(int) * LINES_DESCRIPTORS_MAX)];
    struct cmsghdr aligned;
  } control;
  struct iovec part = {.iov_base = chunk, .iov_len = sizeof chunk};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t n = recvmsg(l->options.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (n <= 0) {
    end(l, n < 0 ? strerrordesc_np(errno) : "");
    return;
  }
  keep_descriptors(l, &message);
  const char *why = "";
  if (lines_feed(&l->in, chunk, (size_t)n, l->options.line_bytes_max, l->options.received, l->options.context, &why) <
      0)
    end(l, why);
}

static ssize_t send_part(int socket_fd, const char *bytes, size_t length_bytes, int fd, int flags) {
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr aligned;
  } control = {0};
  struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length_bytes};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  return sendmsg(socket_fd, &message, MSG_NOSIGNAL | flags);
}

static void put_out(struct lines *l) {
  while (l->first) {
    struct queued *q = l->first;
    ssize_t n =
        send_part(l->options.fd, q->bytes + q->sent_bytes, q->length_bytes - q->sent_bytes, q->fd, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
      break;
    if (n < 0) {
      drop_queue(l); /* its end will be read */
      break;
    }
    if (q->fd >= 0)
      (void)close(take_fd(&q->fd));
    q->sent_bytes += (size_t)n;
    l->queued_bytes -= (size_t)n;
    if (q->sent_bytes < q->length_bytes)
      break;
    l->first = q->next;
    if (!l->first)
      l->last = NULL;
    free(q);
  }
  update_events(l);
}

static int on_event(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)source;
  (void)fd;
  struct lines *l = context;
  if (events & EPOLLOUT)
    put_out(l);
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
    take_in(l);
  return 0;
}

int lines_new(struct lines **ret, sd_event *loop, const struct lines_options *options, struct umbra_error *err) {
  struct lines *l = calloc(1, sizeof *l);
  if (!l) {
    (void)close(options->fd);
    return error_code(err, -ENOMEM, "making a channel");
  }
  l->options = *options;
  int r = sd_event_add_io(loop, &l->source, options->fd, EPOLLIN, on_event, l);
  if (r < 0) {
    lines_free(l);
    return error_code(err, r, "making a channel");
  }
  *ret = l;
  return 0;
}

void lines_free(struct lines *l) {
  if (!l)
    return;
  l->over = true;
  drop_queue(l);
  sd_event_source_disable_unref(l->source);
  while (l->descriptor_count > 0)
    (void)close(l->descriptors[--l->descriptor_count]);
  (void)close(l->options.fd);
  free(l->in.bytes);
  free(l);
}

int lines_send(struct lines *l, const json_t *line, int fd) {
  CLEANUP_FREE char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
  if (!text)
    return -ENOMEM;
  if (l->over || l->finishing)
    return -EPIPE;
  size_t length = strlen(text);
  if (l->queued_bytes + length > LINES_QUEUE_BYTES_MAX)
    return -ENOBUFS;
  struct queued *q = malloc(sizeof *q + length + 1);
  if (!q)
    return -ENOMEM;
  *q = (struct queued){.length_bytes = length + 1, .fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3)};
  if (fd >= 0 && q->fd < 0) {
    free(q);
    return -errno;
  }
  memcpy(q->bytes, text, length);
  q->bytes[length] = '\n';
  if (l->last)
    l->last->next = q;
  else
    l->first = q;
  l->last = q;
  l->queued_bytes += length + 1;
  update_events(l);
  return 0;
}

bool lines_idle(const struct lines *l) { return l->queued_bytes < LINES_DROPPABLE_BYTES_MAX; }

int lines_take_fd(struct lines *l) {
  if (l->descriptor_count == 0)
    return -1;
  int fd = l->descriptors[0];
  l->descriptor_count--;
  memmove(l->descriptors, l->descriptors + 1, l->descriptor_count * sizeof fd);
  return fd;
}

void lines_finish(struct lines *l) {
  l->finishing = true;
  update_events(l);
}

int lines_write(int socket_fd, const json_t *line, int fd, bool droppable) {
  CLEANUP_FREE char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
  if (!text)
    return -ENOMEM;
  size_t length = strlen(text) + 1, sent = 0;
  text[length - 1] = '\n';
  while (sent < length) {
    ssize_t n = send_part(socket_fd, text + sent, length - sent, sent == 0 ? fd : -1, droppable ? MSG_DONTWAIT : 0);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    sent += (size_t)n;
    droppable = false; /* a line is never left half */
  }
  return 0;
}
