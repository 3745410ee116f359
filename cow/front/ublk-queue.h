/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One queue of a ublk device: a thread that waits for requests, has the engine do all that are there together, and
 * answers them in one go.  Data is copied between requests and buffers by pread and pwrite (UBLK_F_USER_COPY): so the
 * buffers are a queue's and not a request's, and a few MiB in all.
 */
#ifndef COW_FRONT_UBLK_QUEUE_H
#define COW_FRONT_UBLK_QUEUE_H

#include "common/error.h"
#include "cow/engine.h"
#include "cow/front/ublk-abi.h"

#include <stdatomic.h>

enum {
  UBLK_QUEUES_MAX = 8,
  UBLK_QUEUE_DEPTH = 128,
  UBLK_DATA_BYTES = 4 * COW_REQUEST_BYTES_MAX, /* of the requests that go together */
};

/* A request, copied from memory that the kernel writes: looked at once. */
struct ublk_request {
  uint16_t tag;
  struct ublksrv_io_desc descriptor;
  int result; /* bytes or negative errno */
};

/* Between a request and a buffer. 0 or negative errno. */
typedef int (*ublk_move_fn)(void *context, uint16_t tag, bool from_request, void *buffer, size_t bytes);

struct ublk_worker {
  struct cow_engine *engine;
  unsigned char *data; /* UBLK_DATA_BYTES, aligned to COW_BUFFER_ALIGNMENT */
  ublk_move_fn move;
  void *move_context;
};

/*
 * Gives each request its result: reads and writes together, as many as there is data room for, then zeroes and
 * flushes. Nothing that a descriptor says is believed. What the thread does, for tests and fuzzing.
 */
void ublk_answer(struct ublk_worker *w, struct ublk_request *requests, size_t count);

/*
 * Starts the thread of queue `index`, which has depth requests, of the open device fd, and waits until the queue is
 * the kernel's to use. Buffers are got here. All are borrowed; stop_event becomes readable when it is to end.
 */
struct ublk_queue;
struct ublk_queue_options {
  int fd, stop_event;
  unsigned index, depth;
  struct cow_engine *engine;
};
int ublk_queue_start(const struct ublk_queue_options *o, struct ublk_queue **ret, struct umbra_error *err);
/* Waits for the thread; the event has been set. */
void ublk_queue_join(struct ublk_queue *q);

/*
 * Fetches all requests of queues 0 to count - 1 and lets go of them: what the driver needs of queues that a server
 * left half taken over (ublk.c).
 */
int ublk_queues_touch(int fd, unsigned count, unsigned depth);

#endif
