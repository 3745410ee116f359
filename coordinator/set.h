/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A set: shadow copies made together, and the process of making them.  set.c moves it through the states of
 * set-states.c; the actions of the states are in set-writers.c (telling writers), set-providers.c (shadow copies),
 * set-hold.c (the instant) and set-resolve.c (what is to be done, and how).  set-document.c says what came of it.
 */
#ifndef COORDINATOR_SET_H
#define COORDINATOR_SET_H

#include "coordinator/coordinator.h"
#include "coordinator/hold.h"
#include "coordinator/journal.h"
#include "coordinator/set-states.h"
#include "coordinator/worker.h"
#include "coordinator/writer-call.h"
#include "coordinator/writer.h"

#include <signal.h>

enum { SET_VOLUMES_MAX = GUARDIAN_VOLUMES_MAX, SET_PATHS_MAX = 4096, SET_LABEL_BYTES_MAX = 128 };

enum set_consistency { CONSISTENCY_CRASH, CONSISTENCY_FILESYSTEM, CONSISTENCY_APPLICATION };

/* What is asked for. Strings and lists are the set's. */
struct set_request {
  char **paths;
  char *provider, *storage, *label, *backup_type;
  uint64_t storage_bytes_max;
  unsigned storage_percent_max; /* of the filesystem that holds the storage; 0: no limit */
  char **writers;               /* only these count; NULL: all */
  bool no_writers;
  enum set_consistency require;
  bool require_instant;
  bool persistent, read_write, auto_release, scope_paths;
  bool no_repair;     /* writers do not change their files in the shadow copies */
  char **wanted;      /* components; NULL: no selection */
  bool partial_files; /* the requester can save parts of files, told to writers */
  json_t *components; /* previous backup stamps, told to writers; may be NULL */
};

struct set_member {
  struct set *set;
  struct shadow shadow;
  const struct provider *provider;
  struct worker worker;
  unsigned level;
  int volume_lock;      /* flock of RUNTIME/volumes/KEY; -1 */
  bool hold;            /* frozen by the guardian for this set */
  bool commits_alone;   /* holds itself and cannot share the others' instant */
  json_t *saved_record; /* copy of shadow.record as last saved; protected by set->record_lock */
  char *device;         /* loop device that stays with the set; NULL */
  char *repair_mount;   /* where writers repair it, while they may; NULL */
};

struct set {
  struct coordinator *coordinator;
  struct set_request request;
  char id[37];

  enum set_state state;
  struct umbra_error error; /* why it failed */
  bool stops_held_off;      /* the terminal's stop signals are blocked, see set.c */
  sigset_t mask_before;
  bool handling; /* an event is being handled: calls that end meanwhile do not move the set */
  bool cancel_requested;
  unsigned commit_tries, rewinds;

  struct volume_table *volumes;
  struct set_member members[SET_VOLUMES_MAX];
  size_t member_count;
  struct writer **writers;
  struct writer_call **calls; /* under way, by index of writer */
  size_t writer_count;
  size_t pending_calls;
  size_t said_bytes;         /* by all writers, so far */
  enum writer_event telling; /* what the pending calls tell */
  int level;                 /* while freezing or thawing: the level under way */
  int document_fd;           /* memory file: the set's document, for writers */
  int session_document_fd;   /* the same without the lists of writers, for sessions */
  int lock_document_fd;      /* the document as of queueing, for the guardian's aborts */

  int workers_event;   /* eventfd: a worker has finished */
  bool workers_active; /* an operation is under way whose end moves the set */
  enum worker_operation operation;
  bool caught_up;   /* precommitting: those that copy have done so once more */
  bool alone_phase; /* precommitting: those that commit alone do */

  struct hold hold;
  bool held; /* hold_begin() succeeded and hold_end() was not called */
  struct journal journal;
  bool journal_open;
  pthread_mutex_t record_lock; /* protects saved_record of all members, and the journal's file; taken alone */

  sd_event_source *on_workers, *on_cancel, *on_tick, *on_freeze_deadline;
  int64_t queued_ns; /* when waiting began */
  bool queue_told;

  /* Results. */
  int64_t created_ns, instant_ns;           /* realtime */
  int64_t freeze_began_ns, freeze_ended_ns; /* monotonic; 0: no writer froze */
  int64_t freeze_by_ns;                     /* monotonic; when the first writer's patience ends */
  int64_t hold_ns;
  bool degraded;
  enum set_consistency consistency;
  const char *instant; /* "set", "per-volume", "none" */
  bool backup_succeeded;
  json_t *document; /* what set_document_build() made last */
  char *document_text;
};

int set_new(struct coordinator *c, struct set **ret, struct umbra_error *err);

/* Frees everything; an auto-release set that was not released is released first. NULL is fine. */
void set_free(struct set *s);

/*
 * Starts making the set: from NEW to READY, or to FAILED, as the loop is run.  set_wait() runs it once, and waits;
 * set_step() does what is ready and does not wait, but from the first freeze of a writer to the last thaw
 * (docs/decisions/050-async-without-a-thread.md).
 */
int set_begin_create(struct set *s, struct umbra_error *err);
void set_wait(struct set *s);
void set_step(struct set *s);
bool set_rests(const struct set *s); /* nothing is under way */

/* -EINPROGRESS while it does not rest; 0, or why it failed. */
int set_result(const struct set *s, struct umbra_error *err);

/* READY → COMPLETING → READY: writers hear how the backup went. */
int set_complete(struct set *s, bool succeeded, struct umbra_error *err);

/* READY → ENDED. Auto-release sets are removed, others stay in the catalogue. The first starts it, the second waits
 * for its end. */
int set_begin_release(struct set *s, struct umbra_error *err);
int set_release(struct set *s, struct umbra_error *err);

/* ---- for the set-*.c files ---- */

/* Moves the set, and goes on as long as actions return events. */
void set_handle(struct set *s, enum set_event event);

/* Keeps the first error: what follows it is consequence. */
struct umbra_error *set_error(struct set *s);

typedef enum set_event (*set_action)(struct set *s);
enum set_event set_gather(struct set *s);
enum set_event set_resolve(struct set *s);
enum set_event set_queue(struct set *s);
enum set_event set_prepare_backup(struct set *s);
enum set_event set_prepare(struct set *s);
enum set_event set_prepare_snapshot(struct set *s);
enum set_event set_freeze(struct set *s);
enum set_event set_precommit(struct set *s);
enum set_event set_hold(struct set *s);
enum set_event set_commit(struct set *s);
enum set_event set_release_volumes(struct set *s);
enum set_event set_release_failed(struct set *s);
enum set_event set_thaw(struct set *s);
enum set_event set_postcommit(struct set *s);
enum set_event set_rewind(struct set *s);
enum set_event set_post_snapshot(struct set *s);
enum set_event set_seal(struct set *s);
enum set_event set_publish(struct set *s);
enum set_event set_complete_writers(struct set *s);
enum set_event set_retire(struct set *s);
enum set_event set_shutdown_writers(struct set *s); /* its first half */
enum set_event set_retire_shadows(struct set *s);   /* its second half */
enum set_event set_abort(struct set *s);
enum set_event set_undo(struct set *s);

/* Journal of the present state. Not while held. */
int set_journal(struct set *s, struct umbra_error *err);
/* In the guardian: see guardian.h. */
void set_guardian_abort_writers(void *set);
void set_guardian_clean_up(void *set);

/* set-resolve.c. Whether the requester wants it: it named nobody, or this one. */
bool set_is_chosen(const struct set *s, const struct writer *w);

/* set-components.c. [{"name", "instance", "metadata", "failure"}] for components_select(); the caller's. */
json_t *set_writers_for_selection(struct writer *const *writers, size_t count);
/* Marks in each writer what of it was selected, and adds the paths of that to the request's. */
int set_select_components(struct set *s, struct umbra_error *err);
/* How the backup of a component went (as components_spec() calls it): for backup-complete. -ENOENT: it was not
 * selected. */
int set_component_outcome(struct set *s, const char *component, bool succeeded, struct umbra_error *err);

/* set-excludes.c. Takes out of the shadow copies that writers repair what they do not want there. Blocks as long as
 * that takes. */
void set_drop_excluded(const struct set *s);
bool writer_has_shadow_excludes(const struct writer *w);

/* set-repair.c. Which shadow copies writers may repair: once it is known who takes part. */
void set_plan_repair(struct set *s);
/* Mounts them for the writers. What fails is warned of and degrades the set. */
void set_open_repairs(struct set *s);
/* Written back and unmounted. -EBUSY, with a process: a writer left it in use. */
int set_close_repairs(struct set *s, struct umbra_error *err);
/* Of a set that came to nothing. */
void set_drop_repairs(struct set *s);
void set_drop_repair(const char *directory); /* of one, named by a journal */

/* Rebuilds s->document and the file writers read. */
int set_document_build(struct set *s, struct umbra_error *err);
const char *set_consistency_name(enum set_consistency consistency);
/* Detaches the loop devices of a set that came to nothing after all. */
void set_drop_devices(struct set *s);
/* What the set is by now: consistency, instant, degraded. */
void set_judge(struct set *s);

void set_unlock_volumes(struct set *s); /* ends queueing: others may begin */
int set_start_workers(struct set *s, struct umbra_error *err);
void set_rest_workers(struct set *s); /* of a set that is made: see worker_rest() */
void set_stop_workers(struct set *s); /* waits for what is under way */
bool set_workers_idle(struct set *s);
void set_cancel_calls(struct set *s); /* those that may be cut short */
void set_fail_frozen_too_long(struct set *s);
size_t set_end_late_calls(struct set *s); /* of freeze, whose time is up; returns how many there were */

#endif
