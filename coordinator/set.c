/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A set's life: one event after the other through the table of set-states.c, each state's action in its turn. */
#include "coordinator/set.h"

#include "coordinator/writer-failures.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/id.h"
#include "common/json.h"
#include "common/log.h"
#include "common/strv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const set_action actions[SET_STATE_MAX] = {
    [SET_GATHERING] = set_gather,
    [SET_RESOLVING] = set_resolve,
    [SET_QUEUED] = set_queue,
    [SET_PREPARING_BACKUP] = set_prepare_backup,
    [SET_PREPARING] = set_prepare,
    [SET_PREPARING_SNAPSHOT] = set_prepare_snapshot,
    [SET_FREEZING] = set_freeze,
    [SET_PRECOMMITTING] = set_precommit,
    [SET_HOLDING] = set_hold,
    [SET_COMMITTING] = set_commit,
    [SET_RELEASING] = set_release_volumes,
    [SET_RELEASING_AGAIN] = set_release_volumes,
    [SET_THAWING] = set_thaw,
    [SET_POSTCOMMITTING] = set_postcommit,
    [SET_REWINDING] = set_rewind,
    [SET_POST_SNAPSHOT] = set_post_snapshot,
    [SET_SEALING] = set_seal,
    [SET_PUBLISHING] = set_publish,
    [SET_COMPLETING] = set_complete_writers,
    [SET_RETIRING] = set_retire,
    [SET_RELEASING_FAILED] = set_release_failed,
    [SET_ABORTING] = set_abort,
    [SET_UNDOING] = set_undo,
};

/* The prose above the table in set-states.c, as assertions. */
static void assert_state(const struct set *s) {
  assert(!s->held || set_state_held(s->state));
  assert(!set_state_held(s->state) || s->state == SET_HOLDING || s->held || s->hold.dead ||
         s->hold.config.volume_count == 0 || s->state == SET_RELEASING_FAILED);
  if (s->state == SET_READY || s->state == SET_ENDED || s->state == SET_FAILED)
    assert(s->pending_calls == 0 && !s->workers_active);
  for (size_t i = 0; i < s->writer_count; i++)
    assert(!s->writers[i]->frozen || set_state_writers_frozen(s->state));
}

struct umbra_error *set_error(struct set *s) {
  static struct umbra_error consequence;
  return s->error.code == 0 ? &s->error : &consequence;
}

/* Ctrl-Z would leave volumes and writers frozen until the guardian's deadline: it waits until they are not. */
static void hold_off_stops(struct set *s) {
  bool wanted = set_state_writers_frozen(s->state);
  if (wanted == s->stops_held_off)
    return;
  s->stops_held_off = wanted;
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, SIGTSTP);
  sigaddset(&stops, SIGTTIN);
  sigaddset(&stops, SIGTTOU);
  if (wanted)
    (void)pthread_sigmask(SIG_BLOCK, &stops, &s->mask_before);
  else
    (void)pthread_sigmask(SIG_SETMASK, &s->mask_before, NULL);
}

/* For those who ask later how each writer failed last: whenever the set rests. */
static void keep_failures(const struct set *s) {
  struct umbra_error not_kept = {0};
  if (writer_failures_keep(s->coordinator->state_dir, s->id, s->writers, s->writer_count, &not_kept) < 0)
    log_warning("%s", not_kept.message);
}

void set_handle(struct set *s, enum set_event event) {
  if (s->handling)
    return;
  s->handling = true;
  while (event != SET_EVENT_NONE) {
    enum set_state next = set_states_next(s->state, event);
    if (next == SET_STATE_INVALID) {
      log_debug("set %s: event %s means nothing in state %s", s->id, set_event_name(event), set_state_name(s->state));
      break;
    }
    if (event == SET_EVENT_CANCEL)
      (void)error_set(set_error(s), -ECANCELED, UMBRA_REASON_CANCELLED, "cancelled");
    s->state = next;
    hold_off_stops(s);
    log_debug("set %s: %s", s->id, set_state_name(next));
    assert_state(s);
    if (s->journal_open && !set_state_held(next) && !set_state_final(next) && set_journal(s, set_error(s)) < 0 &&
        set_states_next(next, SET_EVENT_FAILED) != SET_STATE_INVALID)
      event = SET_EVENT_FAILED; /* what is not recorded must not be begun */
    else
      event = actions[next] ? actions[next](s) : SET_EVENT_NONE;
  }
  s->handling = false;
  if (set_state_final(s->state))
    keep_failures(s);
}

static int on_cancel(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)fd;
  (void)events;
  struct set *s = context;
  (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
  if (set_state_final(s->state) || set_states_next(s->state, SET_EVENT_CANCEL) == SET_STATE_INVALID)
    return 0;
  s->cancel_requested = true;
  for (size_t i = 0; i < s->member_count; i++)
    atomic_store(&s->members[i].shadow.cancelled, true);
  set_cancel_calls(s);
  /* What is under way ends soon and its end moves the set; with nothing under way this does. */
  if (s->pending_calls == 0 && !s->workers_active)
    set_handle(s, SET_EVENT_CANCEL);
  return 0;
}

static int on_freeze_deadline(sd_event_source *source, uint64_t usec, void *context) {
  (void)source;
  (void)usec;
  struct set *s = context;
  if (set_states_next(s->state, SET_EVENT_DEADLINE) == SET_STATE_INVALID)
    return 0;
  /* Whoever has not answered freeze is the culprit: its failure is the set's, and moves it. */
  if (s->state == SET_FREEZING && set_end_late_calls(s) > 0)
    return 0;
  set_fail_frozen_too_long(s);
  for (size_t i = 0; i < s->member_count; i++)
    atomic_store(&s->members[i].shadow.cancelled, true);
  set_handle(s, SET_EVENT_DEADLINE);
  return 0;
}

int set_new(struct coordinator *c, struct set **ret, struct umbra_error *err) {
  struct set *s = calloc(1, sizeof *s);
  if (!s)
    return error_code(err, -ENOMEM, "making a set");
  *s = (struct set){.coordinator = c,
                    .document_fd = -1,
                    .session_document_fd = -1,
                    .lock_document_fd = -1,
                    .journal = {.directory_fd = -1, .lock_fd = -1},
                    .instant = "none"};
  pthread_mutex_init(&s->record_lock, NULL);
  for (size_t i = 0; i < SET_VOLUMES_MAX; i++) {
    s->members[i].volume_lock = -1;
    s->members[i].shadow.volume_fd = -1;
  }
  id_new(s->id);
  s->workers_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int r = s->workers_event < 0 ? -errno : 0;
  coordinator_clear_cancel(c);
  /* A descriptor of its own: one that is watched already cannot be watched once more, and there may be other sets. */
  int cancel_fd = r < 0 ? -1 : fcntl(c->cancel_event, F_DUPFD_CLOEXEC, 3);
  if (r >= 0)
    r = cancel_fd < 0 ? -errno : sd_event_add_io(c->loop, &s->on_cancel, cancel_fd, EPOLLIN, on_cancel, s);
  if (r >= 0)
    r = sd_event_source_set_io_fd_own(s->on_cancel, true);
  else if (cancel_fd >= 0)
    (void)close(cancel_fd);
  if (r >= 0)
    r = sd_event_add_time(c->loop, &s->on_freeze_deadline, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_freeze_deadline, s);
  if (r >= 0)
    r = sd_event_source_set_enabled(s->on_freeze_deadline, SD_EVENT_OFF);
  if (r < 0) {
    set_free(s);
    return error_code(err, r, "making a set");
  }
  *ret = s;
  return 0;
}

static void member_done(struct set_member *m) {
  if (m->shadow.volume_fd >= 0)
    (void)close(m->shadow.volume_fd);
  strv_free(m->shadow.paths);
  free(m->shadow.storage_dir);
  json_decref(m->shadow.record);
  json_decref(m->saved_record);
  free(m->device);
  free(m->repair_mount);
}

static void request_done(struct set_request *q) {
  strv_free(q->paths);
  strv_free(q->writers);
  strv_free(q->wanted);
  free(q->provider);
  free(q->storage);
  free(q->label);
  free(q->backup_type);
  json_decref(q->components);
}

void set_free(struct set *s) {
  if (!s)
    return;
  if (s->state == SET_READY)
    (void)set_release(s, NULL);
  set_stop_workers(s);
  hold_stop(&s->hold);
  set_unlock_volumes(s);
  journal_close(&s->journal, false);
  sd_event_source_disable_unref(s->on_workers);
  sd_event_source_disable_unref(s->on_cancel);
  sd_event_source_disable_unref(s->on_tick);
  sd_event_source_disable_unref(s->on_freeze_deadline);
  for (size_t i = 0; i < s->member_count; i++)
    member_done(&s->members[i]);
  writers_free(s->writers, s->writer_count);
  free(s->calls);
  volume_table_free(s->volumes);
  if (s->workers_event >= 0)
    (void)close(s->workers_event);
  if (s->document_fd >= 0)
    (void)close(s->document_fd);
  cleanup_close_fd(&s->session_document_fd);
  if (s->lock_document_fd >= 0)
    (void)close(s->lock_document_fd);
  json_decref(s->document);
  free(s->document_text);
  request_done(&s->request);
  pthread_mutex_destroy(&s->record_lock);
  free(s);
}

static void loop_failed(struct set *s, int r) {
  (void)error_code(set_error(s), r, "waiting for events");
  set_handle(s, SET_EVENT_FAILED);
}

void set_wait(struct set *s) {
  int r = sd_event_run(s->coordinator->loop, UINT64_MAX);
  if (r < 0)
    loop_failed(s, r);
}

/* What is ready and what comes of it. Ends where sd_event_wait() has found nothing: timers are armed, and the loop
 * can be run again. */
static int step(sd_event *loop) {
  for (;;) {
    int r = sd_event_prepare(loop);
    if (r == 0)
      r = sd_event_wait(loop, 0);
    if (r > 0)
      r = sd_event_dispatch(loop);
    if (r <= 0)
      return r;
  }
}

void set_step(struct set *s) {
  int r = step(s->coordinator->loop);
  if (r < 0)
    loop_failed(s, r);
  while (set_state_writers_frozen(s->state))
    set_wait(s);
}

/* How it ended, once it rests. */
static int outcome(const struct set *s, struct umbra_error *err) {
  if (s->state == SET_FAILED) {
    if (err)
      *err = s->error;
    return s->error.code < 0 ? s->error.code : -EIO;
  }
  return 0;
}

bool set_rests(const struct set *s) { return set_state_final(s->state); }

/* Runs the loop until the set rests. */
static int run_to_rest(struct set *s, struct umbra_error *err) {
  while (!set_rests(s))
    set_wait(s);
  return outcome(s, err);
}

int set_begin_create(struct set *s, struct umbra_error *err) {
  if (s->state != SET_NEW)
    return error_set(err, -EBUSY, UMBRA_REASON_BAD_STATE, "making a set: it is %s already", set_state_name(s->state));
  s->created_ns = clock_realtime_ns();
  /* It may have been meant for another set of this client, that was being made then. */
  (void)sd_event_source_set_enabled(s->on_cancel, SD_EVENT_ON);
  set_handle(s, SET_EVENT_START);
  return 0;
}

int set_result(const struct set *s, struct umbra_error *err) {
  if (s->state == SET_NEW)
    return error_set(err, -EBUSY, UMBRA_REASON_BAD_STATE, "asking for the result of a set that is not being made");
  return set_rests(s) ? outcome(s, err) : -EINPROGRESS;
}

int set_complete(struct set *s, bool succeeded, struct umbra_error *err) {
  if (s->state != SET_READY)
    return error_set(err, -EBUSY, UMBRA_REASON_BAD_STATE, "completing a backup: the set is %s",
                     set_state_name(s->state));
  s->backup_succeeded = succeeded;
  set_handle(s, SET_EVENT_COMPLETE);
  return run_to_rest(s, err);
}

int set_begin_release(struct set *s, struct umbra_error *err) {
  if (s->state != SET_READY)
    return error_set(err, -EBUSY, UMBRA_REASON_BAD_STATE, "releasing a set: it is %s", set_state_name(s->state));
  set_handle(s, SET_EVENT_RELEASE);
  return 0;
}

int set_release(struct set *s, struct umbra_error *err) {
  int r = set_begin_release(s, err);
  return r < 0 ? r : run_to_rest(s, err);
}
