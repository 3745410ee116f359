/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The states of a set, the events that move it, and the one table of legal moves: see set-states.c. */
#ifndef COORDINATOR_SET_STATES_H
#define COORDINATOR_SET_STATES_H

#include <stdbool.h>

enum set_state {
  SET_NEW,
  SET_GATHERING,          /* writers say who they are [identify] */
  SET_RESOLVING,          /* paths → volumes → providers; which writers are involved */
  SET_QUEUED,             /* waiting for other sets that are being made of the same volumes */
  SET_PREPARING_BACKUP,   /* [prepare-backup] */
  SET_PREPARING,          /* providers prepare: the long work */
  SET_PREPARING_SNAPSHOT, /* [prepare-snapshot] */
  SET_FREEZING,           /* [freeze], front-end, back-end, system */
  SET_PRECOMMITTING,      /* providers catch up; volumes that hold themselves without company commit */
  SET_HOLDING,            /* the guardian freezes the volumes */
  SET_COMMITTING,         /* the instant */
  SET_RELEASING,          /* the guardian thaws the volumes */
  SET_RELEASING_AGAIN,    /* the same, because a provider needs another try */
  SET_THAWING,            /* [thaw], in reverse */
  SET_POSTCOMMITTING,     /* providers write out and make readable */
  SET_REWINDING,          /* a provider asks for another try from the start: remove, then prepare again */
  SET_POST_SNAPSHOT,      /* [post-snapshot] */
  SET_SEALING,            /* what writers repaired turns read-only */
  SET_PUBLISHING,         /* into the catalogue */
  SET_READY,
  SET_COMPLETING, /* [backup-complete] */
  SET_RETIRING,   /* [shutdown], shadow copies of an auto-release set go */
  SET_ENDED,
  SET_RELEASING_FAILED, /* thaw first, whatever went wrong */
  SET_ABORTING,         /* [abort] to every writer that was told anything */
  SET_UNDOING,          /* providers remove, in reverse */
  SET_FAILED,
  SET_STATE_MAX,
  SET_STATE_INVALID = -1,
};

enum set_event {
  SET_EVENT_NONE, /* from an action: it waits for something */
  SET_EVENT_START,
  SET_EVENT_DONE,
  SET_EVENT_FAILED,
  SET_EVENT_AGAIN, /* a provider's commit asks for another try */
  SET_EVENT_DEADLINE,
  SET_EVENT_CANCEL,   /* by the requester, or it is gone */
  SET_EVENT_COMPLETE, /* the requester says how the backup went */
  SET_EVENT_RELEASE,  /* the requester is through */
  SET_EVENT_MAX,
};

/*
 * What limits the time in a state: each writer's call has a limit of its own, a provider must make progress, the time
 * from the first freeze to the thaw is one timer over several states, and the hold is the guardian's to limit.
 */
enum set_deadline {
  SET_DEADLINE_NONE,
  SET_DEADLINE_CALL,
  SET_DEADLINE_PROGRESS,
  SET_DEADLINE_FREEZE,
  SET_DEADLINE_HOLD,
  SET_DEADLINE_QUEUE,
};

const char *set_state_name(enum set_state state); /* "preparing-snapshot"; never NULL */
const char *set_event_name(enum set_event event);
enum set_state set_state_from_name(const char *name); /* SET_STATE_INVALID if there is none */

/* The state that event leads to from state, or SET_STATE_INVALID: that event means nothing there. */
enum set_state set_states_next(enum set_state state, enum set_event event);

bool set_state_held(enum set_state state);           /* volumes may be frozen in this state */
bool set_state_writers_frozen(enum set_state state); /* writers may be frozen in this state */
bool set_state_final(enum set_state state);          /* nothing happens any more by itself: READY, ENDED, FAILED */
enum set_deadline set_state_deadline(enum set_state state);

#endif
