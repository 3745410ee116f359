/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/front/ublk-queue.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { STOP = UBLK_QUEUE_DEPTH }; /* user_data of the event; below it are tags */

struct ublk_queue {
  struct ublk_queue_options o;
  pthread_t thread;
  sem_t ready; /* started or failed */
  int failed;
  bool ending;
  struct io_uring ring;
  const struct ublksrv_io_desc *descriptors; /* by tag; the kernel writes them */
  size_t descriptors_bytes;
  struct ublk_worker worker;
  struct ublk_request requests[UBLK_QUEUE_DEPTH];
};

/* Reads and writes that go to the engine together. */
struct run {
  struct cow_request engine[COW_REQUESTS_MAX];
  struct ublk_request *whose[COW_REQUESTS_MAX];
  size_t count, used_bytes;
};

static bool is_write(const struct ublk_request *r) { return ublksrv_get_op(&r->descriptor) == UBLK_IO_OP_WRITE; }

static void finish_run(struct ublk_worker *w, struct run *run) {
  bool through = false;
  if (run->count > 0)
    cow_engine_run(w->engine, run->engine, run->count);
  for (size_t i = 0; i < run->count; i++) {
    const struct cow_request *q = &run->engine[i];
    struct ublk_request *r = run->whose[i];
    r->result = q->result < 0 ? q->result : (int)q->length_bytes;
    if (r->result > 0 && !q->write) {
      int moved = w->move(w->move_context, r->tag, false, q->buffer, q->length_bytes);
      r->result = moved < 0 ? moved : r->result;
    }
    through = through || (q->write && r->result > 0 && (r->descriptor.op_flags & UBLK_IO_F_FUA));
  }
  int flushed = through ? cow_engine_flush(w->engine) : 0;
  for (size_t i = 0; i < run->count && flushed < 0; i++)
    if (run->engine[i].write && (run->whose[i]->descriptor.op_flags & UBLK_IO_F_FUA))
      run->whose[i]->result = flushed;
  run->count = run->used_bytes = 0;
}

/* Into the run, or its result is an error. */
static void add_transfer(struct ublk_worker *w, struct run *run, struct ublk_request *r) {
  const struct ublksrv_io_desc *d = &r->descriptor;
  const uint64_t sectors = cow_engine_geometry(w->engine)->volume_bytes / COW_SECTOR_BYTES;
  if (d->nr_sectors == 0 || d->nr_sectors > COW_REQUEST_BYTES_MAX / COW_SECTOR_BYTES || d->start_sector > sectors ||
      d->nr_sectors > sectors - d->start_sector) {
    r->result = -EINVAL;
    return;
  }
  size_t bytes = (size_t)d->nr_sectors * COW_SECTOR_BYTES;
  size_t room = (bytes + COW_BUFFER_ALIGNMENT - 1) / COW_BUFFER_ALIGNMENT * COW_BUFFER_ALIGNMENT;
  if (run->count == COW_REQUESTS_MAX || run->used_bytes + room > UBLK_DATA_BYTES)
    finish_run(w, run);
  unsigned char *buffer = w->data + run->used_bytes;
  r->result = is_write(r) ? w->move(w->move_context, r->tag, true, buffer, bytes) : 0;
  if (r->result < 0)
    return;
  run->used_bytes += room;
  run->whose[run->count] = r;
  run->engine[run->count++] = (struct cow_request){.write = is_write(r),
                                                   .buffer = buffer,
                                                   .length_bytes = bytes,
                                                   .offset_bytes = d->start_sector * COW_SECTOR_BYTES};
}

static int zero(struct ublk_worker *w, const struct ublksrv_io_desc *d) {
  const uint64_t sectors = cow_engine_geometry(w->engine)->volume_bytes / COW_SECTOR_BYTES;
  if (d->start_sector > sectors || d->nr_sectors > sectors - d->start_sector)
    return -EINVAL;
  int r = cow_engine_zero(w->engine, d->start_sector * COW_SECTOR_BYTES, (uint64_t)d->nr_sectors * COW_SECTOR_BYTES);
  if (r >= 0 && (d->op_flags & UBLK_IO_F_FUA))
    r = cow_engine_flush(w->engine);
  return r;
}

void ublk_answer(struct ublk_worker *w, struct ublk_request *requests, size_t count) {
  struct run run = {0};
  int flushed = 1; /* not yet; one flush is for all that were there */
  for (size_t i = 0; i < count; i++) {
    uint8_t op = ublksrv_get_op(&requests[i].descriptor);
    if (op == UBLK_IO_OP_READ || op == UBLK_IO_OP_WRITE)
      add_transfer(w, &run, &requests[i]);
  }
  finish_run(w, &run);
  for (size_t i = 0; i < count; i++) {
    struct ublk_request *r = &requests[i];
    switch (ublksrv_get_op(&r->descriptor)) {
    case UBLK_IO_OP_READ:
    case UBLK_IO_OP_WRITE:
      break;
    case UBLK_IO_OP_DISCARD:
    case UBLK_IO_OP_WRITE_ZEROES:
      r->result = zero(w, &r->descriptor);
      break;
    case UBLK_IO_OP_FLUSH:
      flushed = flushed > 0 ? cow_engine_flush(w->engine) : flushed;
      r->result = flushed;
      break;
    default:
      r->result = -EOPNOTSUPP;
    }
  }
}

/* By pread(2) and pwrite(2) of the device's file. */
static int move(void *context, uint16_t tag, bool from_request, void *buffer, size_t bytes) {
  const struct ublk_queue *q = context;
  uint64_t at = UBLKSRV_IO_BUF_OFFSET + ((uint64_t)q->o.index << UBLK_QID_OFF) + ((uint64_t)tag << UBLK_TAG_OFF);
  ssize_t n = from_request ? pread(q->o.fd, buffer, bytes, (off_t)at) : pwrite(q->o.fd, buffer, bytes, (off_t)at);
  if (n < 0)
    return -errno;
  return (size_t)n == bytes ? 0 : -EIO;
}

static void prepare(struct io_uring *ring, int fd, unsigned command, unsigned index, unsigned tag, int result) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
  const struct ublksrv_io_cmd argument = {.q_id = (uint16_t)index, .tag = (uint16_t)tag, .result = result};
  assert(sqe); /* one entry a tag, and each tag is with us or with the kernel */
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = fd;
  sqe->cmd_op = command;
  sqe->user_data = tag;
  memcpy(sqe->cmd, &argument, sizeof argument);
}

/* Takes what has come: requests to answer. */
static size_t collect(struct ublk_queue *q) {
  struct io_uring_cqe *cqe;
  unsigned head, seen = 0;
  size_t count = 0;
  io_uring_for_each_cqe(&q->ring, head, cqe) {
    seen++;
    if (cqe->user_data >= q->o.depth) {
      q->ending = q->ending || cqe->user_data == STOP;
      continue;
    }
    if (cqe->res == UBLK_IO_RES_OK) {
      struct ublk_request *r = &q->requests[count++];
      r->tag = (uint16_t)cqe->user_data;
      memcpy(&r->descriptor, &q->descriptors[r->tag], sizeof r->descriptor);
    } else if (cqe->res != UBLK_IO_RES_ABORT)
      /* A request that cannot be answered: the next server gets it again. ABORT: the device is being stopped. */
      (void)kill(getpid(), SIGTERM);
  }
  io_uring_cq_advance(&q->ring, seen);
  return count;
}

static void serve(struct ublk_queue *q) {
  while (!q->ending) {
    int r = io_uring_submit_and_wait(&q->ring, 1);
    if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
      (void)poll(NULL, 0, 1); /* short of something for a moment */
    size_t count = collect(q);
    ublk_answer(&q->worker, q->requests, count);
    for (size_t i = 0; i < count; i++)
      prepare(&q->ring, q->o.fd, UBLK_U_IO_COMMIT_AND_FETCH_REQ, q->o.index, q->requests[i].tag,
              q->requests[i].result);
  }
  (void)io_uring_submit(&q->ring);
}

static int make_ring(struct io_uring *ring) {
  /* Requests come when they are waited for, and at no other time: then there are more of them together. */
  struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
  return io_uring_queue_init_params(UBLK_QUEUE_DEPTH + 1, ring, &params);
}

/* All of a queue in one call, which no signal ends half-way. */
static int fetch(struct io_uring *ring, int fd, unsigned index, unsigned depth) {
  for (unsigned tag = 0; tag < depth; tag++)
    prepare(ring, fd, UBLK_U_IO_FETCH_REQ, index, tag, -1);
  int submitted = io_uring_submit(ring);
  return submitted < 0 ? submitted : (unsigned)submitted == depth ? 0 : -EAGAIN;
}

static int open_queue(struct ublk_queue *q) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  q->descriptors_bytes = (q->o.depth * sizeof *q->descriptors + page - 1) / page * page;
  const off_t at = UBLKSRV_CMD_BUF_OFFSET + (off_t)(q->o.index * UBLK_MAX_QUEUE_DEPTH * sizeof *q->descriptors);
  void *map = mmap(NULL, q->descriptors_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, q->o.fd, at);
  if (map == MAP_FAILED)
    return -errno;
  q->descriptors = map;
  return fetch(&q->ring, q->o.fd, q->o.index, q->o.depth);
}

/* The ring is the thread's: who fetches answers. */
static void *run_queue(void *context) {
  struct ublk_queue *q = context;
  q->failed = make_ring(&q->ring);
  if (q->failed < 0) {
    (void)sem_post(&q->ready);
    return NULL;
  }
  q->failed = open_queue(q);
  struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);
  io_uring_prep_poll_add(sqe, q->o.stop_event, POLLIN);
  sqe->user_data = STOP;
  bool failed = q->failed < 0;
  (void)sem_post(&q->ready);
  if (!failed)
    serve(q);
  return NULL;
}

static void free_queue(struct ublk_queue *q) {
  if (q->descriptors)
    (void)munmap((void *)q->descriptors, q->descriptors_bytes);
  if (q->ring.ring_fd > 0)
    io_uring_queue_exit(&q->ring);
  (void)sem_destroy(&q->ready);
  free(q->worker.data);
  free(q);
}

int ublk_queue_start(const struct ublk_queue_options *o, struct ublk_queue **ret, struct umbra_error *err) {
  struct ublk_queue *q = calloc(1, sizeof *q);
  if (!q)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "memory for a queue");
  q->o = *o;
  q->worker = (struct ublk_worker){.engine = o->engine, .move = move, .move_context = q};
  q->worker.data = aligned_alloc(COW_BUFFER_ALIGNMENT, UBLK_DATA_BYTES);
  (void)sem_init(&q->ready, 0, 0);
  if (q->worker.data)
    memset(q->worker.data, 0, UBLK_DATA_BYTES); /* in memory from now on */
  int r = q->worker.data ? -pthread_create(&q->thread, NULL, run_queue, q) : -ENOMEM;
  if (r >= 0) {
    while (sem_wait(&q->ready) < 0)
      ;
    r = q->failed;
    if (r < 0)
      (void)pthread_join(q->thread, NULL);
  }
  if (r < 0) {
    free_queue(q);
    return error_code(err, r, "starting queue %u of a ublk device", o->index);
  }
  *ret = q;
  return 0;
}

void ublk_queue_join(struct ublk_queue *q) {
  (void)pthread_join(q->thread, NULL);
  free_queue(q);
}

struct touch {
  int fd;
  unsigned count, depth;
  int result;
};

static void *touch_all(void *context) {
  struct touch *t = context;
  struct io_uring ring;
  /* One entry more than a queue: each is submitted whole, and what is refused is what was fetched before. */
  struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE,
                                   .cq_entries = UBLK_QUEUES_MAX * UBLK_QUEUE_DEPTH + 1};
  t->result = io_uring_queue_init_params(UBLK_QUEUE_DEPTH, &ring, &params);
  for (unsigned i = 0; i < t->count && t->result >= 0; i++)
    t->result = fetch(&ring, t->fd, i, t->depth);
  if (t->result >= 0)
    io_uring_queue_exit(&ring);
  return NULL;
}

int ublk_queues_touch(int fd, unsigned count, unsigned depth) {
  struct touch t = {.fd = fd, .count = count, .depth = depth};
  pthread_t thread; /* the driver wants one that has ended */
  int r = -pthread_create(&thread, NULL, touch_all, &t);
  if (r < 0)
    return r;
  (void)pthread_join(thread, NULL);
  return t.result;
}
