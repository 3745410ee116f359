/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writers: programs that own data and are told.  Executables in CONFIG/writers.d (the exec contract of
 * umbra-writers(7)), called once an event or, if they say so, kept as a session for the whole set; and former hook
 * scripts in CONFIG/fsfreeze-hook.d, which know only `freeze` and `thaw` (the convention of the QEMU guest agent's
 * fsfreeze-hook).  An executable can speak for several instances: each is a writer.
 * States, levels and failures follow VSS: VSS_WS_*, VSS_APPLICATION_LEVEL, VSS_E_WRITERERROR_*.
 */
#ifndef COORDINATOR_WRITER_H
#define COORDINATOR_WRITER_H

#include "common/error.h"
#include "common/process.h"
#include "volume/volume.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum writer_kind { WRITER_EXEC, WRITER_HOOK, WRITER_SESSION };

/* Freezing goes down this list, thawing up. */
enum writer_level { WRITER_FRONT_END, WRITER_BACK_END, WRITER_SYSTEM, WRITER_LEVEL_MAX };

enum writer_event {
  WRITER_IDENTIFY,
  WRITER_PREPARE_BACKUP,
  WRITER_PREPARE_SNAPSHOT,
  WRITER_FREEZE,
  WRITER_THAW,
  WRITER_POST_SNAPSHOT,
  WRITER_BACKUP_COMPLETE,
  WRITER_ABORT,
  WRITER_SHUTDOWN,
  WRITER_PRE_RESTORE,
  WRITER_POST_RESTORE,
  WRITER_EVENT_MAX,
};

enum {
  WRITERS_MAX = 1024,
  WRITER_NAME_BYTES_MAX = 64,
  WRITER_OUTPUT_BYTES_MAX = 1024 * 1024, /* of identify and of answers; more is a failure */
  WRITER_MESSAGE_BYTES_MAX = 512,        /* of standard error that is kept as the failure's message */
  WRITERS_SAID_BYTES_MAX =
      16 * 1024 * 1024, /* all metadata documents and answers of a set: it has to be read again */
  WRITER_DOCUMENT_DEPTH_MAX = 64,
  WRITER_KEY_BYTES_MAX = 64 * 1024, /* of one that is no session: it comes by the environment */
};

struct writer {
  enum writer_kind kind;
  char *path;            /* of the executable */
  char *name, *instance; /* instance may be NULL */
  enum writer_level level;
  json_t *metadata;               /* its metadata document; NULL for hooks */
  json_t *answers;                /* object: event name → what it printed, where that was a JSON object */
  size_t said_bytes;              /* of the last event: metadata document or answer */
  bool repairs;                   /* its files in the shadow copy, at post-snapshot */
  bool whole;                     /* all its files are on volumes of the set */
  json_t *instances;              /* what identify printed as an array, until writers_spread(); NULL */
  struct writer_session *session; /* of a WRITER_SESSION, from its first event on; NULL */
  int64_t freeze_limit_ms, prepare_limit_ms; /* what it asks for; 0: the coordinator's */
  int64_t limits_ms[WRITER_EVENT_MAX];       /* what the admin has set for it (writer-limits.h); 0: nothing */

  json_t
      *selection; /* {component: how}, of a requester that has selected components (components.h); NULL: it has not */
  json_t *outcomes; /* {component: whether its backup succeeded}, as far as the requester has said; NULL */

  bool involved;                          /* takes part in this set */
  bool told;                              /* was told something that an abort or a shutdown has to end */
  bool frozen;                            /* freeze was begun and neither thaw nor abort has ended */
  int64_t event_ns[WRITER_EVENT_MAX];     /* how long each event took, as seen from here; 0: not told */
  const char *state;                      /* "stable", "waiting-for-thaw", "failed-at-freeze"… static text */
  enum umbra_reason reason;               /* why it failed; UMBRA_REASON_NONE: it has not */
  char failure[WRITER_MESSAGE_BYTES_MAX]; /* the same in words */
  int64_t failed_ns;                      /* realtime */
  bool failure_kept;                      /* among those of writer-failures.h */

  /* The processes of past events, kept as zombies until writer_free() so that their group ids stay theirs: what they
   * left running in their groups is ended then. */
  struct process past[WRITER_EVENT_MAX * 2];
  size_t past_count;
};

/* For messages: "postgresql" or "postgresql 15/main". The buffer is the caller's. */
enum { WRITER_TITLE_BYTES = 2 * WRITER_NAME_BYTES_MAX + 2 };
const char *writer_title(const struct writer *w, char buffer[WRITER_TITLE_BYTES]);

const char *writer_event_name(enum writer_event event); /* "prepare-backup" */
const char *writer_level_name(enum writer_level level); /* "front-end" */

/*
 * Finds the executables of both kinds, and those in LIBEXEC/writers, which came with umbra, as far as nothing in
 * CONFIG/writers.d has their name (a link to /dev/null takes one away). One that is refused (owner, mode) is in the
 * list all the same, as failed. *ret and its writers are the caller's: writers_free().
 */
int writers_find(const char *libexec_dir, const char *config_dir, struct writer ***ret, size_t *ret_count,
                 struct umbra_error *err);
void writers_free(struct writer **writers, size_t count);

/*
 * Takes what identify printed: a metadata document, or an array of them. Wrong or missing: the writer is failed at
 * identify, with the reason in words.
 */
void writer_identified(struct writer *w, const char *output, size_t length_bytes);

/* After all have identified themselves: each instance of a program becomes a writer of its own. */
int writers_spread(struct writer ***list, size_t *count, struct umbra_error *err);

/* What it said is too much together with what others said: it fails, and is not kept. */
void writer_said_too_much(struct writer *w, enum writer_event event);

/* Records a failure: state "failed-at-EVENT", reason, and message (its first line). */
void writer_fail(struct writer *w, enum writer_event event, enum umbra_reason reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static inline bool writer_failed(const struct writer *w) { return w->reason != UMBRA_REASON_NONE; }

/*
 * Decides whether the writer is involved: one of its components has files on one of the volumes (keys), or, with
 * paths (scope), at, below or above one of them; writers without components always are.  With a selection only what
 * is selected counts.  And whether all of its files are in the set: whole.  *ret_missing (borrowed from the table): a
 * volume it has files on that is not in the set, or NULL.
 */
void writer_involve(struct writer *w, const struct volume_table *table, const struct volume *const *volumes,
                    size_t volume_count, char *const *paths, const struct volume **ret_missing);

/* {"name", "instance", "level", "state", "failure", "reason", "path", "involved", "whole", "timings_ms": {EVENT: …},
 * "selected", "outcomes"}.
 */
json_t *writer_describe(const struct writer *w);

#endif
