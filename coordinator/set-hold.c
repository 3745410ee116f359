/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The instant: everything between the first FIFREEZE and the last FITHAW.  Here this process does nothing but wait
 * for the guardian and for its workers, without the event loop: nothing is allocated, opened, written or logged to
 * disk.
 */
#include "coordinator/set.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

/* In which a worker is expected to notice that the hold's limit has passed. */
enum { COMMIT_POLL_MS = 50 };

static bool any_held(const struct set *s) { return s->hold.config.volume_count > 0; }

static int64_t limit_ns(const struct set *s) { return s->coordinator->limits.hold_ms * NS_PER_MS; }

enum set_event set_hold(struct set *s) {
  if (!any_held(s))
    return SET_EVENT_DONE;
  /* Journalled as "holding" by now: after a crash of both processes, recovery thaws. */
  if (set_journal(s, set_error(s)) < 0 || hold_sync(&s->hold, s->freeze_by_ns, set_error(s)) < 0)
    return SET_EVENT_FAILED;
  if (coordinator_cancelled(s->coordinator))
    return SET_EVENT_CANCEL;
  log_hold();
  if (hold_begin(&s->hold, limit_ns(s), set_error(s)) < 0) {
    log_release();
    return SET_EVENT_FAILED;
  }
  s->held = true;
  return SET_EVENT_DONE;
}

/* Waits for the workers' commits. 0, or negative when the hold must end before they do. */
static int wait_for_commits(struct set *s) {
  int64_t by_ns = clock_monotonic_ns() + limit_ns(s);
  for (;;) {
    if (set_workers_idle(s))
      return 0;
    if (clock_monotonic_ns() >= by_ns || (s->hold.shared && atomic_load(&s->hold.shared->overrun)))
      return error_set(
          set_error(s), -ETIMEDOUT, UMBRA_REASON_HOLD_TIMEOUT,
          "the provider's commit took longer than the hold's limit of %lld ms; the volumes have been released",
          (long long)s->coordinator->limits.hold_ms);
    struct pollfd polls[] = {{.fd = s->workers_event, .events = POLLIN},
                             {.fd = hold_guardian_pidfd(&s->hold), .events = POLLIN}};
    (void)poll(polls, 2, COMMIT_POLL_MS);
    if (polls[1].revents && any_held(s)) {
      s->hold.dead = true;
      return error_set(set_error(s), -EPIPE, UMBRA_REASON_INTERNAL,
                       "the guardian process (pid %d) died during the hold", (int)s->hold.pid);
    }
    eventfd_t ignored;
    if (polls[0].revents)
      (void)eventfd_read(s->workers_event, &ignored);
  }
}

enum set_event set_commit(struct set *s) {
  s->workers_active = true;
  s->operation = WORKER_COMMIT;
  for (size_t i = 0; i < s->member_count; i++)
    if (!s->members[i].commits_alone)
      worker_run(&s->members[i].worker, WORKER_COMMIT);
  if (wait_for_commits(s) < 0)
    return SET_EVENT_FAILED; /* workers stay active: undoing waits for them */
  s->workers_active = false;
  s->instant_ns = clock_realtime_ns();
  bool again = false;
  for (size_t i = 0; i < s->member_count; i++) {
    const struct worker *w = &s->members[i].worker;
    if (s->members[i].commits_alone || w->result == 0)
      continue;
    if (w->result != -EAGAIN) {
      *set_error(s) = w->error;
      return SET_EVENT_FAILED;
    }
    again = true;
  }
  if (again && ++s->commit_tries >= COMMIT_TRIES_MAX) {
    (void)error_set(set_error(s), -EBUSY, UMBRA_REASON_PROVIDER,
                    "volumes change faster than they can be copied: gave up after %d holds", (int)COMMIT_TRIES_MAX);
    return SET_EVENT_FAILED;
  }
  return again ? SET_EVENT_AGAIN : SET_EVENT_DONE;
}

static int end_hold(struct set *s) {
  if (!s->held)
    return 0;
  int r = hold_end(&s->hold, set_error(s));
  s->held = false;
  s->hold_ns = s->hold.hold_ns;
  log_release();
  return r;
}

enum set_event set_release_volumes(struct set *s) {
  if (end_hold(s) < 0)
    return SET_EVENT_FAILED;
  if (s->hold_ns > limit_ns(s)) {
    (void)error_set(set_error(s), -ETIMEDOUT, UMBRA_REASON_HOLD_TIMEOUT,
                    "the volumes were held for %.0f ms, longer than the limit of %lld ms", clock_ns_to_ms(s->hold_ns),
                    (long long)s->coordinator->limits.hold_ms);
    return SET_EVENT_FAILED;
  }
  if (s->freeze_began_ns > 0 && clock_monotonic_ns() > s->freeze_by_ns) {
    (void)error_set(set_error(s), -ETIMEDOUT, UMBRA_REASON_WRITER_TIMEOUT,
                    "writers were frozen longer than their limit");
    return SET_EVENT_FAILED;
  }
  /* A release disarms the guardian; writers are still frozen. */
  if (s->state == SET_RELEASING_AGAIN || s->freeze_began_ns > 0)
    (void)hold_arm(&s->hold, s->freeze_by_ns + 1000 * NS_PER_MS, NULL);
  return SET_EVENT_DONE;
}

enum set_event set_release_failed(struct set *s) {
  for (size_t i = 0; i < s->member_count; i++)
    atomic_store(&s->members[i].shadow.cancelled, true);
  (void)end_hold(s);
  /* If it is not the guardian that thawed, see to it here. */
  if (s->hold.dead)
    hold_rescue(&s->hold);
  return SET_EVENT_DONE;
}
