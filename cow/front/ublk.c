/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/front/ublk.h"

#include "common/cleanup.h"
#include "cow/front/fuse.h"
#include "cow/front/ublk-control.h"
#include "cow/front/ublk-queue.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
  SHADOW_THREADS = 2,      /* that read shadow copies */
  RELEASED_MAX_MS = 60000, /* until the last server's memory is gone; then the supervisor starts another one */
  RELEASED_POLL_MS = 5,
};

struct ublk_front {
  const struct front_options *o; /* while it starts */
  int fd;                        /* /dev/ublkcN */
  int stop_event;
  unsigned depth, queue_count, started;
  bool again;
  struct ublk_queue *queues[UBLK_QUEUES_MAX];
  struct front_seat session; /* of the shadow copies; this server's only */
  struct fuse_front *shadows;
};

static unsigned thread_count(const struct front_seat *seat) { return seat->queues + SHADOW_THREADS; }

static int look(struct ublk_front *f, struct umbra_error *err) {
  struct ublksrv_ctrl_dev_info info = {0};
  const struct front_seat *seat = f->o->seat;
  int r = ublk_control(UBLK_U_CMD_GET_DEV_INFO, seat->number, &info, sizeof info, 0);
  if (r < 0)
    return error_code(err, r, "asking for ublk device %u", seat->number);
  if (info.nr_hw_queues != seat->queues || info.nr_hw_queues > UBLK_QUEUES_MAX || info.queue_depth == 0 ||
      info.queue_depth > UBLK_QUEUE_DEPTH || info.max_io_buf_bytes > COW_REQUEST_BYTES_MAX ||
      info.ublksrv_flags != seat->origin_identity)
    return error_set(err, -EUCLEAN, UMBRA_REASON_INTERNAL, "ublk device %u is not the one that was made",
                     seat->number);
  f->queue_count = info.nr_hw_queues;
  f->depth = info.queue_depth;
  /* By what the kernel says and not by who served before: that one may have died before the device was started. */
  f->again = info.state != UBLK_S_DEV_DEAD;
  return 0;
}

/* The file can be open once: until the last server's is closed, which the kernel does when its memory is gone. */
static int open_device(struct ublk_front *f, struct umbra_error *err) {
  char path[32];
  (void)snprintf(path, sizeof path, "/dev/ublkc%u", f->o->seat->number);
  for (unsigned waited_ms = 0;; waited_ms += RELEASED_POLL_MS) {
    f->fd = open(path, O_RDWR | O_CLOEXEC);
    if (f->fd >= 0)
      return 0;
    if (errno != EBUSY || waited_ms >= RELEASED_MAX_MS)
      return error_errno(err, "opening '%s'", path);
    (void)poll(NULL, 0, RELEASED_POLL_MS);
  }
}

/*
 * A server that died while it took the device over may have fetched some queues and not others. Linux 6.12 looks, in
 * START_USER_RECOVERY, at the thread that serves each queue without asking whether there is one. So each gets one
 * first.
 */
static int complete_last_takeover(struct ublk_front *f, struct umbra_error *err) {
  int r = open_device(f, err);
  if (r < 0)
    return r;
  r = ublk_queues_touch(f->fd, f->queue_count, f->depth);
  cleanup_close_fd(&f->fd);
  f->fd = -1;
  return r < 0 ? error_code(err, r, "completing what the last server began") : 0;
}

static int take_over(struct ublk_front *f, struct umbra_error *err) {
  int r = atomic_load(&f->o->seat->assembling) ? complete_last_takeover(f, err) : 0;
  if (r < 0)
    return r;
  atomic_store(&f->o->seat->assembling, 1);
  for (unsigned waited_ms = 0;; waited_ms += RELEASED_POLL_MS) {
    r = ublk_control(UBLK_U_CMD_START_USER_RECOVERY, f->o->seat->number, NULL, 0, 0);
    if (r != -EBUSY || waited_ms >= RELEASED_MAX_MS)
      break;
    (void)poll(NULL, 0, RELEASED_POLL_MS);
  }
  return r < 0 ? error_code(err, r, "taking ublk device %u over", f->o->seat->number) : 0;
}

static int start_queues(struct ublk_front *f, struct umbra_error *err) {
  atomic_store(&f->o->seat->assembling, 1);
  int r = 0;
  for (unsigned i = 0; i < f->queue_count && r >= 0; i++) {
    const struct ublk_queue_options o = {
        .fd = f->fd, .stop_event = f->stop_event, .index = i, .depth = f->depth, .engine = f->o->engine};
    r = ublk_queue_start(&o, &f->queues[i], err);
    f->started += r >= 0;
  }
  if (r >= 0)
    atomic_store(&f->o->seat->assembling, 0);
  return r;
}

/*
 * Before Linux 6.9 a session cannot be asked for what its last server did not answer: whoever was reading a shadow
 * copy then waits for ever. The volume must not wait with him, nor end: what the volume's seat says of lost requests
 * is not said of these.
 */
static int start_shadows(struct ublk_front *f, struct umbra_error *err) {
  return fuse_front_start(&f->session, f->o->session_fd, f->o->engine, SHADOW_THREADS, false, f->o->again,
                          &f->shadows, err);
}

static int begin(struct ublk_front *f, struct umbra_error *err) {
  const uint32_t number = f->o->seat->number;
  int r = look(f, err);
  if (r >= 0 && f->again)
    r = take_over(f, err);
  if (r >= 0)
    r = open_device(f, err);
  if (r >= 0)
    r = start_shadows(f, err);
  if (r >= 0)
    r = start_queues(f, err);
  if (r < 0)
    return r;
  r = ublk_control(f->again ? UBLK_U_CMD_END_USER_RECOVERY : UBLK_U_CMD_START_DEV, number, NULL, 0,
                   (uint64_t)getpid());
  if (r < 0)
    return error_code(err, r, "starting ublk device %u", number);
  return 0;
}

static void stop(struct front_server *s) {
  struct ublk_front *f = (struct ublk_front *)s;
  if (f->stop_event >= 0)
    (void)eventfd_write(f->stop_event, 1);
  for (unsigned i = 0; i < f->started; i++)
    ublk_queue_join(f->queues[i]);
  if (f->shadows)
    fuse_front_stop(f->shadows);
  cleanup_close_fd(&f->stop_event);
  cleanup_close_fd(&f->fd);
  free(f);
}

static int start(const struct front_options *o, struct front_server **ret, struct umbra_error *err) {
  struct ublk_front *f = calloc(1, sizeof *f);
  if (!f)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "starting to serve");
  f->o = o;
  f->fd = -1;
  f->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int r = f->stop_event < 0 ? error_errno(err, "starting to serve") : begin(f, err);
  f->o = NULL;
  if (r < 0)
    stop((struct front_server *)f);
  else
    *ret = (struct front_server *)f;
  return r;
}

const struct front front_ublk = {
    .name = "ublk",
    .summary = "the kernel's ublk driver",
    .usable = ublk_usable,
    .needs_admin = true, /* commands to the driver */
    .threads = thread_count,
    .start = start,
    .stop = stop,
};
