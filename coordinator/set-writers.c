/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Telling writers.  A writer that fails before the instant is out: it hears abort at once, the set goes on with what
 * consistency is left (and with less than --require asks for, fails).  A freeze that takes longer than its limit
 * fails the set, since by then every other writer has been frozen as long.
 */
#include "coordinator/set.h"

#include "coordinator/writer-limits.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/memory-lock.h"
#include "common/strv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The guardian acts on its own this much after a deadline that this process watches as well. */
enum { GUARDIAN_GRACE_MS = 1000 };

static bool takes_part(const struct writer *w) { return w->involved && !writer_failed(w); }

static int64_t call_limit_ms(const struct set *s, const struct writer *w, enum writer_event event) {
  return writer_limit_ms(w, event, &s->coordinator->limits);
}

static void on_called(struct writer *w, enum writer_event event, void *context);

static int tell(struct set *s, size_t i, enum writer_event event) {
  struct writer *w = s->writers[i];
  if (event == WRITER_FREEZE)
    w->frozen = true;
  int document_fd = w->kind == WRITER_SESSION ? s->session_document_fd : s->document_fd;
  int r = writer_call(w, event, s->coordinator->loop, s->id, document_fd, call_limit_ms(s, w, event), on_called, s,
                      &s->calls[i], set_error(s));
  if (r >= 0)
    s->pending_calls++;
  return r;
}

/* Tells all writers that want(w) is true for. The end of the last call moves the set. */
static enum set_event tell_all(struct set *s, enum writer_event event,
                               bool (*want)(const struct set *, const struct writer *)) {
  s->telling = event;
  for (size_t i = 0; i < s->writer_count; i++)
    if (!s->calls[i] && want(s, s->writers[i]) && tell(s, i, event) < 0) /* else it hears abort already */
      return s->pending_calls > 0 ? SET_EVENT_NONE : SET_EVENT_FAILED;
  return s->pending_calls > 0 ? SET_EVENT_NONE : SET_EVENT_DONE;
}

/*
 * Ends those that are under way, but for what is owed: abort, thaw and shutdown are never cut short. Returns how
 * many. Collected first: the end of the last one moves the set, which may tell the next event, and that is not to be
 * ended.
 */
static size_t end_calls(struct set *s, enum umbra_reason reason, const char *why) {
  struct writer_call *ending[WRITERS_MAX];
  size_t count = 0;
  for (size_t i = 0; i < s->writer_count; i++) {
    enum writer_event event = s->calls[i] ? writer_call_event(s->calls[i]) : WRITER_ABORT;
    if (event != WRITER_ABORT && event != WRITER_THAW && event != WRITER_SHUTDOWN)
      ending[count++] = s->calls[i];
  }
  for (size_t i = 0; i < count; i++)
    writer_call_cancel(ending[i], reason, why);
  return count;
}

void set_cancel_calls(struct set *s) { (void)end_calls(s, UMBRA_REASON_CANCELLED, "cancelled"); }

size_t set_end_late_calls(struct set *s) {
  return end_calls(s, UMBRA_REASON_WRITER_TIMEOUT,
                   "freeze had not ended when the limit of the writers frozen before it came");
}

static bool want_identify(const struct set *s, const struct writer *w) {
  (void)s;
  return w->kind == WRITER_EXEC && !writer_failed(w);
}
static bool want_part(const struct set *s, const struct writer *w) {
  (void)s;
  return takes_part(w);
}
static bool want_told(const struct set *s, const struct writer *w) {
  (void)s;
  return w->told;
}
static bool want_level(const struct set *s, const struct writer *w) {
  return takes_part(w) && w->level == (enum writer_level)s->level;
}
static bool want_frozen_level(const struct set *s, const struct writer *w) {
  return w->frozen && w->level == (enum writer_level)s->level;
}

static int make_calls(struct set *s) {
  free(s->calls);
  s->calls = calloc(s->writer_count + 1, sizeof(struct writer_call *));
  return s->calls ? 0 : error_code(set_error(s), -ENOMEM, "gathering writers");
}

static enum set_event know_instances(struct set *s) {
  if (writers_spread(&s->writers, &s->writer_count, set_error(s)) < 0 || make_calls(s) < 0)
    return SET_EVENT_FAILED;
  return SET_EVENT_DONE;
}

enum set_event set_gather(struct set *s) {
  if (s->request.no_writers)
    return SET_EVENT_DONE;
  if (writers_find(UMBRA_LIBEXEC_DIR, s->coordinator->config_dir, &s->writers, &s->writer_count, set_error(s)) < 0)
    return SET_EVENT_FAILED;
  if (make_calls(s) < 0)
    return SET_EVENT_FAILED;
  return tell_all(s, WRITER_IDENTIFY, want_identify);
}

static enum set_event mark_told_and_tell(struct set *s, enum writer_event event) {
  for (size_t i = 0; i < s->writer_count; i++)
    if (takes_part(s->writers[i]) && s->writers[i]->kind != WRITER_HOOK)
      s->writers[i]->told = true;
  /* On record before anybody hears it, so that each of them hears of the end, too, if this process dies. */
  if (set_document_build(s, set_error(s)) < 0 || set_journal(s, set_error(s)) < 0)
    return SET_EVENT_FAILED;
  return tell_all(s, event, want_part);
}

enum set_event set_prepare_backup(struct set *s) { return mark_told_and_tell(s, WRITER_PREPARE_BACKUP); }

enum set_event set_prepare_snapshot(struct set *s) { return mark_told_and_tell(s, WRITER_PREPARE_SNAPSHOT); }

static void arm_freeze_deadline(struct set *s) {
  int64_t now_ns = clock_monotonic_ns();
  s->freeze_by_ns = INT64_MAX;
  bool any = false;
  for (size_t i = 0; i < s->writer_count; i++) {
    if (!takes_part(s->writers[i]))
      continue;
    any = true;
    int64_t by_ns = now_ns + call_limit_ms(s, s->writers[i], WRITER_FREEZE) * NS_PER_MS;
    if (by_ns < s->freeze_by_ns)
      s->freeze_by_ns = by_ns;
  }
  if (!any)
    s->freeze_by_ns = now_ns + s->coordinator->limits.freeze_ms * NS_PER_MS;
  (void)sd_event_source_set_time(s->on_freeze_deadline, (uint64_t)(s->freeze_by_ns / 1000));
  (void)sd_event_source_set_enabled(s->on_freeze_deadline, SD_EVENT_ONESHOT);
}

void set_fail_frozen_too_long(struct set *s) {
  (void)error_set(set_error(s), -ETIMEDOUT, UMBRA_REASON_WRITER_TIMEOUT,
                  "writers were frozen longer than their limit allows (state: %s)", set_state_name(s->state));
}

/*
 * Levels without writers are passed at once. With time up nobody else is frozen, and then named for it: an abort that
 * hung may have ended by its own limit just before the set's is dealt with.
 */
static enum set_event freeze_levels(struct set *s) {
  for (; s->level < WRITER_LEVEL_MAX; s->level++) {
    if (clock_monotonic_ns() >= s->freeze_by_ns) {
      set_fail_frozen_too_long(s);
      return SET_EVENT_DEADLINE;
    }
    enum set_event event = tell_all(s, WRITER_FREEZE, want_level);
    if (event != SET_EVENT_DONE)
      return event;
  }
  return SET_EVENT_DONE;
}

/* A hook knows only freeze and thaw, so freeze is the first that it hears, and thaw what it is owed from then on. */
static int mark_hooks_told(struct set *s) {
  bool any = false;
  for (size_t i = 0; i < s->writer_count; i++)
    if (takes_part(s->writers[i]) && s->writers[i]->kind == WRITER_HOOK)
      any = s->writers[i]->told = true;
  return any ? set_journal(s, set_error(s)) : 0;
}

enum set_event set_freeze(struct set *s) {
  /*
   * Not right before the hold: locking takes as long as volumes need to become dirty again. After it, what is dirty
   * goes out while nobody stands still yet.
   */
  memory_lock_self();
  if (hold_sync(&s->hold, 0, set_error(s)) < 0)
    return SET_EVENT_FAILED;
  arm_freeze_deadline(s);
  if (hold_arm(&s->hold, s->freeze_by_ns + GUARDIAN_GRACE_MS * NS_PER_MS, set_error(s)) < 0)
    return SET_EVENT_FAILED;
  for (size_t i = 0; i < s->writer_count && s->freeze_began_ns == 0; i++)
    if (takes_part(s->writers[i]))
      s->freeze_began_ns = clock_monotonic_ns();
  if (mark_hooks_told(s) < 0)
    return SET_EVENT_FAILED;
  s->level = WRITER_FRONT_END;
  return freeze_levels(s);
}

static enum set_event thaw_levels(struct set *s) {
  for (; s->level >= 0; s->level--) {
    enum set_event event = tell_all(s, WRITER_THAW, want_frozen_level);
    if (event != SET_EVENT_DONE)
      return event;
  }
  if (s->freeze_began_ns > 0)
    s->freeze_ended_ns = clock_monotonic_ns();
  (void)sd_event_source_set_enabled(s->on_freeze_deadline, SD_EVENT_OFF);
  if (hold_arm(&s->hold, 0, set_error(s)) < 0)
    return SET_EVENT_FAILED;
  return s->cancel_requested ? SET_EVENT_CANCEL : SET_EVENT_DONE;
}

enum set_event set_thaw(struct set *s) {
  memory_unlock_self();
  s->level = WRITER_SYSTEM;
  return thaw_levels(s);
}

enum set_event set_post_snapshot(struct set *s) {
  set_open_repairs(s);
  if (set_document_build(s, set_error(s)) < 0)
    return SET_EVENT_FAILED;
  return tell_all(s, WRITER_POST_SNAPSHOT, want_part);
}

enum set_event set_complete_writers(struct set *s) {
  if (set_document_build(s, NULL) < 0)
    log_debug("set %s: no document for backup-complete", s->id);
  return tell_all(s, WRITER_BACKUP_COMPLETE, want_part);
}

enum set_event set_shutdown_writers(struct set *s) { return tell_all(s, WRITER_SHUTDOWN, want_told); }

enum set_event set_abort(struct set *s) {
  memory_unlock_self();
  (void)sd_event_source_set_enabled(s->on_freeze_deadline, SD_EVENT_OFF);
  /* Calls of the step that failed may be under way: they end now, and then hear abort with the others. */
  set_cancel_calls(s);
  return tell_all(s, WRITER_ABORT, want_told);
}

/* A failure that --require does not allow. */
static bool too_little(const struct set *s) { return s->request.require == CONSISTENCY_APPLICATION; }

static void warn_of_writer(const struct set *s, const struct writer *w) {
  char title[WRITER_TITLE_BYTES];
  coordinator_warn(s->coordinator, "writer '%s' (%s) %s: %s", writer_title(w, title), w->path, w->state, w->failure);
}

static void failed_before_instant(struct set *s, size_t i) {
  struct writer *w = s->writers[i];
  char title[WRITER_TITLE_BYTES];
  s->degraded = true;
  warn_of_writer(s, w);
  bool out_of_time = w->reason == UMBRA_REASON_WRITER_TIMEOUT && s->telling == WRITER_FREEZE;
  if (out_of_time || too_little(s))
    (void)error_set(set_error(s), -EIO, w->reason, "writer '%s' (%s) %s: %s", writer_title(w, title), w->path,
                    w->state, w->failure);
}

/* What the end of one call means for its writer. */
static void note(struct set *s, size_t i, enum writer_event event) {
  struct writer *w = s->writers[i];
  static const char *const waiting[WRITER_EVENT_MAX] = {
      [WRITER_PREPARE_BACKUP] = "waiting-for-prepare-snapshot",
      [WRITER_PREPARE_SNAPSHOT] = "waiting-for-freeze",
      [WRITER_FREEZE] = "waiting-for-thaw",
      [WRITER_THAW] = "waiting-for-post-snapshot",
  };
  bool ends = event == WRITER_THAW || event == WRITER_ABORT;
  if (ends)
    w->frozen = false;
  if (event == WRITER_ABORT || event == WRITER_SHUTDOWN)
    w->told = false;
  if (!writer_failed(w))
    w->state = waiting[event] ? waiting[event] : "stable";
}

/* All calls of a step have ended: where to go from here. */
static enum set_event step_ended(struct set *s, enum writer_event event) {
  if (s->cancel_requested && set_states_next(s->state, SET_EVENT_CANCEL) != SET_STATE_INVALID && event != WRITER_THAW)
    return SET_EVENT_CANCEL;
  if (s->error.code < 0 && set_states_next(s->state, SET_EVENT_FAILED) != SET_STATE_INVALID && event != WRITER_THAW)
    return SET_EVENT_FAILED;
  if (s->state == SET_FREEZING) {
    s->level++;
    return freeze_levels(s);
  }
  if (s->state == SET_THAWING) {
    s->level--;
    return thaw_levels(s);
  }
  if (s->state == SET_RETIRING)
    return set_retire_shadows(s);
  return event == WRITER_IDENTIFY ? know_instances(s) : SET_EVENT_DONE;
}

static size_t index_of(const struct set *s, const struct writer *w) {
  size_t i = 0;
  while (s->writers[i] != w)
    i++;
  return i;
}

static void on_called(struct writer *w, enum writer_event event, void *context) {
  struct set *s = context;
  size_t i = index_of(s, w);
  s->calls[i] = NULL;
  s->pending_calls--;
  s->said_bytes += w->said_bytes;
  if (w->said_bytes > 0 && s->said_bytes > WRITERS_SAID_BYTES_MAX) {
    s->said_bytes -= w->said_bytes;
    writer_said_too_much(w, event);
  }
  w->said_bytes = 0;
  bool was_told = w->told;
  note(s, i, event);
  bool before_instant = event == WRITER_PREPARE_BACKUP || event == WRITER_PREPARE_SNAPSHOT || event == WRITER_FREEZE;
  if (writer_failed(w) && before_instant && w->reason != UMBRA_REASON_CANCELLED) {
    failed_before_instant(s, i);
    /* Out of this set: it hears so at once. In aborting it will hear it with the others. */
    if (s->error.code == 0 && was_told && tell(s, i, WRITER_ABORT) >= 0)
      return;
  } else if (writer_failed(w) && (event == WRITER_THAW || event == WRITER_POST_SNAPSHOT)) {
    s->degraded = true;
    warn_of_writer(s, w);
  } else if (writer_failed(w) && event == WRITER_BACKUP_COMPLETE)
    warn_of_writer(s, w);
  if (s->pending_calls == 0)
    set_handle(s, step_ended(s, s->telling));
}
