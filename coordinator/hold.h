/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hold, as the coordinator sees it: a guardian process that freezes and releases the volumes of one set.  All
 * calls block until the guardian answers or a deadline passes; none allocates between hold_begin() and hold_end().
 */
#ifndef COORDINATOR_HOLD_H
#define COORDINATOR_HOLD_H

#include "common/error.h"
#include "coordinator/guardian.h"

#include <stdbool.h>
#include <sys/types.h>

struct hold {
  bool open; /* started and not yet stopped */
  pid_t pid; /* of the guardian; 0: none */
  int pidfd, socket;
  int cancel_event; /* readable: give up what may be given up (syncing); the caller's, -1: none */
  int self_pidfd;   /* what the guardian watches */
  int expedited_fd; /* to put the kernel's setting back if the guardian could not */
  struct guardian_shared *shared;
  struct guardian_config config;
  const char *names[GUARDIAN_VOLUMES_MAX]; /* for messages; the caller's */
  bool sync_abandoned; /* cancelled while the guardian was writing back: it has frozen nothing and never will */
  bool dead;           /* the guardian was lost: no other hold is possible */
  int64_t hold_ns;     /* of the last complete hold: first FIFREEZE call to last FITHAW return */
};

struct hold_volume {
  int fd; /* stays the caller's and open until hold_stop() */
  unsigned level;
  const char *name;
};

/*
 * Forks the guardian. The process must not have started threads of its own yet. abort_writers and clean_up run in the
 * guardian, see guardian.h.
 */
int hold_start(struct hold *h, const struct hold_volume *volumes, size_t count, int cancel_event,
               void (*abort_writers)(void *), void (*clean_up)(void *), void *context, struct umbra_error *err);

/* From now the guardian thaws and aborts by itself at by_ns (monotonic; 0: no longer). */
int hold_arm(struct hold *h, int64_t by_ns, struct umbra_error *err);

/* Writes back what is dirty on all volumes, in parallel. -ECANCELED when cancelled; no hold is possible after that.
 */
int hold_sync(struct hold *h, int64_t by_ns, struct umbra_error *err);

/* Freezes all volumes. On failure none is frozen. */
int hold_begin(struct hold *h, int64_t limit_ns, struct umbra_error *err);

/* Thaws all volumes. On failure (the hold was too long, somebody else thawed one) they are thawed all the same. */
int hold_end(struct hold *h, struct umbra_error *err);

/* Readable when the guardian has ended, e.g. was killed. -1 without one. */
int hold_guardian_pidfd(const struct hold *h);

/* Thaws whatever a lost guardian left frozen. Fine at any time. */
void hold_rescue(struct hold *h);

/* Ends the guardian; volumes are thawed. Fine on a zeroed struct. */
void hold_stop(struct hold *h);

#endif
