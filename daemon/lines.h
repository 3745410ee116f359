/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One end of a channel between two processes of umbrad: JSON objects, one a line, over a stream socket, a descriptor
 * along with a line that needs one.  What comes in is limited and checked, what goes out waits in a bounded queue;
 * nothing here blocks, but for lines_write(), which is for processes that have no loop.
 */
#ifndef DAEMON_LINES_H
#define DAEMON_LINES_H

#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

enum {
  LINES_REQUEST_BYTES_MAX = 1024 * 1024,     /* a line to the host, or from there to a job */
  LINES_REPORT_BYTES_MAX = 32 * 1024 * 1024, /* a line back: an inventory of CATALOG_SETS_MAX sets */
  LINES_QUEUE_BYTES_MAX = 64 * 1024 * 1024,  /* waiting to be read by the other side */
  LINES_DROPPABLE_BYTES_MAX = 64 * 1024,     /* with so much waiting, progress is left out */
  LINES_DESCRIPTORS_MAX = 16,                /* received and not yet taken */
};

struct lines;

/* line is borrowed. Must not free the channel: return negative to have `ended` called. */
typedef int (*lines_received)(void *context, json_t *line);

/* The other side is gone, or what it said is no line: why ("": it has just ended). Called once; the channel may be
 * freed in it. */
typedef void (*lines_ended)(void *context, const char *why);

struct lines_options {
  int fd;                /* a connected stream socket; the channel's from now on, also on failure */
  size_t line_bytes_max; /* of what comes in */
  lines_received received;
  lines_ended ended;
  void *context;
};
int lines_new(struct lines **ret, sd_event *loop, const struct lines_options *options, struct umbra_error *err);
void lines_free(struct lines *l); /* NULL is fine */

/* Queues a line; fd (-1: none) is duplicated. -ENOBUFS: the other side does not read. */
int lines_send(struct lines *l, const json_t *line, int fd);

/* True while so little waits that what may be left out need not be. */
bool lines_idle(const struct lines *l);

/* The oldest descriptor that came along and was not taken (the caller's), or -1. */
int lines_take_fd(struct lines *l);

/* Nothing more will be sent: the other side sees the end. What it sends is still received. */
void lines_finish(struct lines *l);

/*
 * Sends one line without a loop, waiting for room unless it is droppable: then, since it is short and sent as one, it
 * is sent or left out as a whole (-EAGAIN).
 */
int lines_write(int socket_fd, const json_t *line, int fd, bool droppable);

/* Cuts what has been read into lines, as lines_new() does. Apart for tests: each line is given to received(). */
struct lines_buffer {
  char *bytes;
  size_t used_bytes, searched_bytes, size_bytes;
};
/* 0, or negative with *why: too long, no JSON object, or what received() returned. */
int lines_feed(struct lines_buffer *b, const char *bytes, size_t length_bytes, size_t line_bytes_max,
               lines_received received, void *context, const char **why);

#endif
