/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/serve/route.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "cow/serve/mapped.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum way { WAY_ENGINE, WAY_DIRECT };
enum { MS_PER_S = 1000, AGAIN_FIRST_MS = 1000, AGAIN_MAX_MS = 64000 };
static const char *const roles[] = {[WAY_ENGINE] = "through-engine", [WAY_DIRECT] = "direct"};

struct route {
  struct seat *seat;
  struct cow_engine *engine;
  struct mapped_names names;
  pthread_mutex_t lock; /* before every lock of the engine: the way, and who needs it; libdevmapper */
  bool settled;         /* under lock: no process of an earlier server is at work */
  _Atomic int way;

  pthread_mutex_t wish_lock; /* a leaf: those that are not to block come here */
  pthread_cond_t wish;
  bool wanted, ending;
  pthread_t thread;
  bool started;
};

static bool is_mapped(const struct route *r) { return atomic_load(&r->seat->mapped) != 0; }

static dev_t origin_number(void) {
  struct stat st;
  return fstat(SEAT_ORIGIN, &st) == 0 ? st.st_rdev : 0;
}

static dev_t device_of(const struct seat *seat, enum way way) {
  return way == WAY_DIRECT ? origin_number() : (dev_t)seat->front_number;
}

/* ---- the process that switches ---- */

/*
 * Held until this process has ended, whatever ends it, and with it the last system call that it was in. A file by
 * name: a volume that is attached again after both programs died has another seat, and the same device.
 */
static int wait_for_turn(const char *directory, struct umbra_error *err) {
  char path[PATH_MAX + 16];
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  (void)snprintf(path, sizeof path, "%s/switching", directory);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return error_errno(err, "opening '%s'", path);
  while (fcntl(fd, F_OFD_SETLKW, &whole) < 0)
    if (errno != EINTR)
      return error_errno(err, "waiting for the one who switches");
  return 0;
}

static int switch_to(enum way way, struct umbra_error *err) {
  struct seat *seat;
  struct mapped_names names;
  struct mapper_state state;
  int r = seat_adopt(&seat, err);
  if (r < 0)
    return r;
  const dev_t device = device_of(seat, way);
  /* Should both programs die, their session must end with them, and not live on in a process that waits for it. */
  (void)close_range(SEAT_CONFIG + 1, SEAT_FDS_END - 1, 0);
  mapped_names(seat->directory, &names);
  r = wait_for_turn(seat->directory, err);
  if (r >= 0)
    r = mapper_settle(names.volume, names.volume_uuid, err);
  if (r >= 0)
    r = mapper_look(names.volume, names.volume_uuid, &state, err);
  if (r < 0 || state.first.device == device)
    return r;
  const struct mapper_table table = {.pieces = {{device, state.first.sectors}}, .count = 1};
  r = mapper_switch(names.volume, &table, err);
  if (r < 0)
    (void)mapper_settle(names.volume, names.volume_uuid, NULL);
  return r;
}

int route_main_direct(struct umbra_error *err) { return switch_to(WAY_DIRECT, err); }
int route_main_through_engine(struct umbra_error *err) { return switch_to(WAY_ENGINE, err); }

/* ---- the server's side; under lock ---- */

/* What the kernel says counts, not what the process says: it may have been killed after it was done. */
static int check(struct route *r, enum way way, struct umbra_error *err) {
  struct mapper_state state;
  int result = mapper_look(r->names.volume, r->names.volume_uuid, &state, err);
  if (result < 0)
    return result;
  if (state.suspended || state.half_switched) {
    result = mapper_settle(r->names.volume, r->names.volume_uuid, err);
    if (result < 0)
      return result;
  }
  if (state.first.device != device_of(r->seat, way))
    return error_set(err, -EIO, UMBRA_REASON_INTERNAL,
                     "the kernel did not switch device-mapper device '%s' (its log may say why)", r->names.volume);
  atomic_store(&r->way, way);
  return 0;
}

static int go(struct route *r, enum way way, struct umbra_error *err) {
  /* Bound: one that has not had its turn yet must not get it under the next server, which may have begun. */
  pid_t pid = seat_run_again(r->seat, roles[way], SEAT_BOUND, err);
  if (pid < 0)
    return (int)pid;
  /* Children are reaped by the kernel: this returns when there is none of that number any more. */
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
    ;
  r->settled = true;
  return check(r, way, err);
}

/*
 * While shadow copies are live nobody of us lets writes pass. Whoever did it by hand has made all of them worthless.
 */
static void check_not_passed(struct route *r) {
  struct mapper_state state;
  if (!cow_engine_rest(r->engine) && mapper_look(r->names.volume, r->names.volume_uuid, &state, NULL) >= 0 &&
      state.first.sectors > 0 && state.first.device != device_of(r->seat, WAY_ENGINE))
    cow_engine_drop_all(r->engine, "its device-mapper table was changed by somebody else");
}

/* M2: directly only while the engine need not see what is written, which only a begin under this lock changes. */
static int decide(struct route *r, struct umbra_error *err) {
  enum way way = cow_engine_rest(r->engine) ? WAY_DIRECT : WAY_ENGINE;
  return r->settled && atomic_load(&r->way) == (int)way ? 0 : go(r, way, err);
}

int route_decide(struct route *r, struct umbra_error *err) {
  if (!is_mapped(r))
    return 0;
  pthread_mutex_lock(&r->lock);
  int result = decide(r, err);
  pthread_mutex_unlock(&r->lock);
  return result;
}

int route_require_engine(struct route *r, struct umbra_error *err) {
  pthread_mutex_lock(&r->lock);
  /* Asked each time: nobody should, but anybody may have switched it by hand. */
  if (!is_mapped(r) || (r->settled && check(r, WAY_ENGINE, NULL) >= 0))
    return 0;
  check_not_passed(r);
  int result = go(r, WAY_ENGINE, err);
  if (result < 0)
    pthread_mutex_unlock(&r->lock);
  return result;
}

void route_release(struct route *r) { pthread_mutex_unlock(&r->lock); }

bool route_is_direct(const struct route *r) { return is_mapped(r) && atomic_load(&r->way) == WAY_DIRECT; }

/* ---- the thread ---- */

void route_wake(struct route *r) {
  pthread_mutex_lock(&r->wish_lock);
  r->wanted = true;
  pthread_cond_signal(&r->wish);
  pthread_mutex_unlock(&r->wish_lock);
}

/* Or, unless that is 0, until so long has passed. False: it ends. */
static bool wait_for_wish(struct route *r, unsigned at_most_ms) {
  int timed_out = 0;
  struct timespec until;
  (void)clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += at_most_ms / MS_PER_S;
  pthread_mutex_lock(&r->wish_lock);
  while (!r->wanted && !r->ending && timed_out == 0)
    timed_out = at_most_ms > 0 ? pthread_cond_timedwait(&r->wish, &r->wish_lock, &until)
                               : pthread_cond_wait(&r->wish, &r->wish_lock);
  r->wanted = false;
  bool goes_on = !r->ending;
  pthread_mutex_unlock(&r->wish_lock);
  return goes_on;
}

static void *look_after(void *context) {
  struct route *r = context;
  unsigned again_ms = 0;
  while (wait_for_wish(r, again_ms)) {
    struct umbra_error why = {0};
    cow_engine_wait_reclaimed(r->engine);
    /* What failed is right, but slower: through the engine. Hence tried again, less and less often. */
    int result = route_decide(r, &why);
    again_ms = result >= 0 ? 0 : again_ms == 0 ? AGAIN_FIRST_MS : again_ms < AGAIN_MAX_MS ? 2 * again_ms : again_ms;
    if (result < 0)
      log_error("attached volume '%s': %s", r->seat->name, why.message);
  }
  return NULL;
}

struct route *route_new(struct seat *seat, struct cow_engine *engine) {
  struct route *r = calloc(1, sizeof *r);
  if (!r)
    return NULL;
  r->seat = seat;
  r->engine = engine;
  mapped_names(seat->directory, &r->names);
  pthread_mutex_init(&r->lock, NULL);
  pthread_mutex_init(&r->wish_lock, NULL);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&r->wish, &monotonic);
  pthread_condattr_destroy(&monotonic);
  r->wanted = true;
  if (is_mapped(r))
    check_not_passed(r);
  return r;
}

int route_start(struct route *r, struct umbra_error *err) {
  int result = -pthread_create(&r->thread, NULL, look_after, r);
  r->started = result == 0;
  return result < 0 ? error_code(err, result, "starting the server") : 0;
}

void route_stop(struct route *r) {
  if (!r || !r->started)
    return;
  pthread_mutex_lock(&r->wish_lock);
  r->ending = true;
  pthread_cond_signal(&r->wish);
  pthread_mutex_unlock(&r->wish_lock);
  (void)pthread_join(r->thread, NULL);
  r->started = false;
}

void route_free(struct route *r) {
  if (!r)
    return;
  assert(!r->started);
  pthread_mutex_destroy(&r->lock);
  pthread_mutex_destroy(&r->wish_lock);
  pthread_cond_destroy(&r->wish);
  free(r);
}
