/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What providers do for a set, each shadow copy on its worker: prepare, precommit, postcommit, remove; progress and
 * stalls. */
#include "coordinator/set.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "view/users.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

enum { TICK_MS = 200 };

bool set_workers_idle(struct set *s) {
  for (size_t i = 0; i < s->member_count; i++)
    if (s->members[i].worker.started && worker_busy(&s->members[i].worker))
      return false;
  return true;
}

static bool commits_alone(const struct set_member *m) { return m->commits_alone; }
static bool is_repaired(const struct set_member *m) { return m->shadow.repair; }
static bool catches_up(const struct set_member *m) { return m->provider->catches_up; }

/* On the workers of the members that which() wants; NULL: of all. */
static void run_on(struct set *s, enum worker_operation operation, bool (*which)(const struct set_member *)) {
  s->operation = operation;
  for (size_t i = 0; i < s->member_count; i++)
    if (s->members[i].worker.started && (!which || which(&s->members[i]))) {
      s->workers_active = true;
      worker_run(&s->members[i].worker, operation);
    }
  if (s->on_tick) {
    (void)sd_event_source_set_time_relative(s->on_tick, TICK_MS * 1000);
    (void)sd_event_source_set_enabled(s->on_tick, SD_EVENT_ONESHOT);
  }
}

/* How much a result says: a failure is the cause of the cancellations beside it, and nothing else is as mild as
 * "again". */
static int weight(const struct worker *w) {
  if (!w->started || w->result >= 0)
    return 0;
  return w->result == -EAGAIN ? 1 : w->result == -ECANCELED ? 2 : 3;
}

/* The result of the operation that has ended: the weightiest, of equal ones the first. Keeps its error. */
static int result_of_all(struct set *s) {
  const struct worker *weightiest = &s->members[0].worker;
  for (size_t i = 1; i < s->member_count; i++)
    if (weight(&s->members[i].worker) > weight(weightiest))
      weightiest = &s->members[i].worker;
  if (weight(weightiest) > 1)
    *set_error(s) = weightiest->error;
  return weight(weightiest) > 0 ? weightiest->result : 0;
}

static enum set_event removed(struct set *s) {
  bool all = true;
  for (size_t i = 0; i < s->member_count; i++)
    if (s->members[i].worker.started && s->members[i].worker.result < 0) {
      all = false;
      coordinator_warn(s->coordinator, "removing what was left of shadow copy %s: %s", s->members[i].shadow.id,
                       s->members[i].worker.error.message);
    }
  if (s->state == SET_REWINDING) {
    for (size_t i = 0; i < s->member_count; i++) {
      json_object_clear(s->members[i].shadow.record);
      s->members[i].shadow.attempt++;
      s->members[i].shadow.instant_lost = false;
    }
    return all ? SET_EVENT_DONE : SET_EVENT_FAILED;
  }
  /* What could not be removed stays in the journal: the next command tries again. */
  set_stop_workers(s);
  hold_stop(&s->hold);
  set_unlock_volumes(s);
  journal_close(&s->journal, all);
  s->journal_open = false;
  return SET_EVENT_DONE;
}

/* Of precommitting: all; if there are several, once more those that fall behind meanwhile; those that commit by
 * themselves. */
static enum set_event next_phase(struct set *s) {
  if (!s->caught_up) {
    s->caught_up = true;
    if (s->member_count > 1)
      run_on(s, WORKER_PRECOMMIT, catches_up);
    if (s->workers_active)
      return SET_EVENT_NONE;
  }
  if (!s->alone_phase) {
    s->alone_phase = true;
    run_on(s, WORKER_COMMIT, commits_alone);
    if (s->workers_active)
      return SET_EVENT_NONE;
  }
  return SET_EVENT_DONE;
}

/* An operation has ended on all workers: what that means in the present state. */
static enum set_event operation_ended(struct set *s) {
  if (s->operation == WORKER_REMOVE)
    return removed(s);
  if (s->state == SET_ABORTING)
    return SET_EVENT_NONE; /* undoing will find them idle */
  if (s->state == SET_UNDOING)
    return set_undo(s);
  int r = result_of_all(s);
  if (s->cancel_requested)
    return SET_EVENT_CANCEL;
  if (r == -EAGAIN && s->state == SET_POSTCOMMITTING) {
    if (++s->rewinds < COMMIT_TRIES_MAX)
      return SET_EVENT_AGAIN;
    (void)error_set(set_error(s), -EBUSY, UMBRA_REASON_PROVIDER,
                    "the volume changed too much: gave up after %d tries", (int)COMMIT_TRIES_MAX);
  }
  if (r < 0)
    return SET_EVENT_FAILED;
  return s->state == SET_PRECOMMITTING ? next_phase(s) : SET_EVENT_DONE;
}

static void cancel_if_one_failed(struct set *s) {
  for (size_t i = 0; i < s->member_count; i++) {
    struct worker *w = &s->members[i].worker;
    if (w->started && !worker_busy(w) && w->result < 0 && w->result != -EAGAIN)
      for (size_t j = 0; j < s->member_count; j++)
        atomic_store(&s->members[j].shadow.cancelled, true);
  }
}

static void tell_progress(struct set *s, struct set_member *m) {
  const struct coordinator *c = s->coordinator;
  struct worker *w = &m->worker;
  const char *phase = atomic_load(&w->phase);
  if (phase && c->progress)
    c->progress(c->progress_userdata, phase, m->shadow.volume->mount_point, atomic_load(&w->done_bytes),
                atomic_load(&w->total_bytes));
}

static int on_workers(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)source;
  (void)events;
  struct set *s = context;
  eventfd_t ignored;
  (void)eventfd_read(fd, &ignored);
  if (!s->workers_active)
    return 0;
  if (!set_workers_idle(s)) {
    /* One failure is the set's (no partial commit): the others need not go on for hours. */
    cancel_if_one_failed(s);
    return 0;
  }
  s->workers_active = false;
  /* What was too fast for a tick. Not while writers are frozen: standard error may block. */
  for (size_t i = 0; i < s->member_count && s->operation == WORKER_PREPARE; i++)
    tell_progress(s, &s->members[i]);
  set_handle(s, operation_ended(s));
  return 0;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *context) {
  (void)usec;
  struct set *s = context;
  int64_t now_ns = clock_monotonic_ns();
  const struct coordinator *c = s->coordinator;
  for (size_t i = 0; i < s->member_count; i++) {
    struct worker *w = &s->members[i].worker;
    if (!w->started || !worker_busy(w))
      continue;
    tell_progress(s, &s->members[i]);
    if (now_ns - atomic_load(&w->moved_ns) > c->limits.prepare_ms * NS_PER_MS && s->error.code == 0) {
      (void)error_set(set_error(s), -ETIMEDOUT, UMBRA_REASON_PROVIDER,
                      "volume '%s', provider %s: no progress for %lld ms", s->members[i].shadow.volume->mount_point,
                      s->members[i].provider->name, (long long)c->limits.prepare_ms);
      for (size_t j = 0; j < s->member_count; j++)
        atomic_store(&s->members[j].shadow.cancelled, true);
    }
  }
  if (s->workers_active) {
    (void)sd_event_source_set_time_relative(source, TICK_MS * 1000);
    (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
  }
  return 0;
}

static struct set_member *member_of(struct shadow *shadow) {
  return (void *)((char *)shadow - offsetof(struct set_member, shadow));
}

static int service_save(struct shadow *shadow, struct umbra_error *err) {
  struct set_member *m = member_of(shadow);
  json_t *copy = json_deep_copy(shadow->record);
  if (!copy)
    return error_code(err, -ENOMEM, "recording a shadow copy");
  pthread_mutex_lock(&m->set->record_lock);
  json_decref(m->saved_record);
  m->saved_record = copy;
  pthread_mutex_unlock(&m->set->record_lock);
  return set_journal(m->set, err);
}

static void service_progress(struct shadow *shadow, const char *phase, uint64_t done_bytes, uint64_t total_bytes) {
  struct worker *w = &member_of(shadow)->worker;
  if (atomic_load(&w->phase) != phase || atomic_load(&w->done_bytes) != done_bytes)
    atomic_store(&w->moved_ns, clock_monotonic_ns());
  atomic_store(&w->phase, phase);
  atomic_store(&w->done_bytes, done_bytes);
  atomic_store(&w->total_bytes, total_bytes);
}

static const struct shadow_services services = {.save = service_save, .progress = service_progress};

int set_start_workers(struct set *s, struct umbra_error *err) {
  int r = sd_event_add_io(s->coordinator->loop, &s->on_workers, s->workers_event, EPOLLIN, on_workers, s);
  if (r >= 0)
    r = sd_event_add_time_relative(s->coordinator->loop, &s->on_tick, CLOCK_MONOTONIC, TICK_MS * 1000, 0, on_tick, s);
  if (r < 0)
    return error_code(err, r, "watching providers");
  for (size_t i = 0; i < s->member_count; i++) {
    struct set_member *m = &s->members[i];
    m->shadow.services = &services;
    r = worker_start(&m->worker, &m->shadow, m->provider, s->workers_event, err);
    if (r < 0)
      return r;
  }
  return 0;
}

void set_stop_workers(struct set *s) {
  for (size_t i = 0; i < s->member_count; i++)
    worker_stop(&s->members[i].worker);
  s->workers_active = false;
}

void set_rest_workers(struct set *s) {
  for (size_t i = 0; i < s->member_count; i++)
    worker_rest(&s->members[i].worker);
}

enum set_event set_prepare(struct set *s) {
  if (!s->members[0].worker.started && set_start_workers(s, set_error(s)) < 0)
    return SET_EVENT_FAILED;
  run_on(s, WORKER_PREPARE, NULL);
  return SET_EVENT_NONE;
}

enum set_event set_precommit(struct set *s) {
  s->caught_up = s->alone_phase = false;
  run_on(s, WORKER_PRECOMMIT, NULL);
  return SET_EVENT_NONE;
}

enum set_event set_postcommit(struct set *s) {
  run_on(s, WORKER_POSTCOMMIT, NULL);
  return SET_EVENT_NONE;
}

enum set_event set_seal(struct set *s) {
  if (set_close_repairs(s, set_error(s)) < 0)
    return SET_EVENT_FAILED;
  run_on(s, WORKER_SEAL, is_repaired);
  return s->workers_active ? SET_EVENT_NONE : SET_EVENT_DONE;
}

enum set_event set_rewind(struct set *s) {
  s->commit_tries = 0;
  run_on(s, WORKER_REMOVE, NULL);
  return SET_EVENT_NONE;
}

enum set_event set_undo(struct set *s) {
  if (s->workers_active && !set_workers_idle(s))
    return SET_EVENT_NONE; /* cancelled; their end comes back here */
  s->workers_active = false;
  set_drop_repairs(s);
  set_drop_devices(s);
  run_on(s, WORKER_REMOVE, NULL);
  return s->workers_active ? SET_EVENT_NONE : removed(s);
}

enum set_event set_retire(struct set *s) {
  enum set_event event = set_shutdown_writers(s);
  return event == SET_EVENT_DONE ? set_retire_shadows(s) : event;
}

enum set_event set_retire_shadows(struct set *s) {
  if (!s->request.auto_release)
    return removed(s);
  /* What a program under `umbra run` left in the background must not read on from a tree that vanishes. */
  for (size_t i = 0; i < s->member_count; i++) {
    struct umbra_error err = {0};
    if (view_end_users(s->members[i].shadow.record, s->members[i].shadow.volume->mount_point, &err) < 0)
      coordinator_warn(s->coordinator, "%s", err.message);
  }
  bool started = false;
  for (size_t i = 0; i < s->member_count; i++) {
    struct worker *w = &s->members[i].worker;
    started = started || w->started;
    if (worker_resume(w, &w->error) >= 0)
      continue;
    /* Then the journal keeps them all, and the next command removes them. */
    w->result = w->error.code;
    return removed(s);
  }
  if (!started)
    return removed(s);
  run_on(s, WORKER_REMOVE, NULL);
  return SET_EVENT_NONE;
}
