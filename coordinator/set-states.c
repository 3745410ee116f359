/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every legal move of a set.  Nothing else changes a state; an action (set.c) returns an event and never sets the
 * state.  An event that has no row here from the present state is refused and logged, and changes nothing.
 *
 *   new → gathering → resolving → queued → preparing-backup → preparing → preparing-snapshot → freezing
 *       → precommitting → holding → committing → releasing → thawing → postcommitting → post-snapshot
 *       → sealing → publishing → READY → completing → READY … → retiring → ENDED
 *
 *   committing --again→ releasing-again → precommitting      (at most COMMIT_TRIES_MAX times)
 *   postcommitting --again→ rewinding → preparing            (the same)
 *   before a hold:     --failed|deadline|cancel→ aborting → undoing → FAILED
 *   holding…releasing: --failed|deadline|cancel→ releasing-failed → aborting → undoing → FAILED
 *
 * What may be trusted in a state, and what is on disk (journal = runtime directory, catalogue = state directory):
 *   up to queued          no shadow copy, no writer was told anything but identify; the journal names the owner
 *   preparing-backup on   the journal names every involved writer; each of them gets abort or shutdown in the end
 *   preparing on          the journal names whatever providers have made (they save before they make)
 *   freezing…thawing      the guardian is armed: it thaws and aborts if this process dies, hangs or is late
 *   holding…releasing     volumes may be frozen: nothing is opened, written or allocated by this process
 *   post-snapshot         shadow copies that writers repair are mounted writable; the journal says where
 *   publishing on         the shadow copies are whole, and read-only unless the set is --read-write
 *   READY                 the catalogue names them (auto-release: the journal does)
 *   aborting on           no volume is frozen
 */
#include "coordinator/set-states.h"

#include <stddef.h>
#include <string.h>

struct state {
  const char *name;
  enum set_deadline deadline;
  bool held, writers_frozen, final;
};

static const struct state states[] = {
    [SET_NEW] = {.name = "new"},
    [SET_GATHERING] = {.name = "gathering", .deadline = SET_DEADLINE_CALL},
    [SET_RESOLVING] = {.name = "resolving"},
    [SET_QUEUED] = {.name = "queued", .deadline = SET_DEADLINE_QUEUE},
    [SET_PREPARING_BACKUP] = {.name = "preparing-backup", .deadline = SET_DEADLINE_CALL},
    [SET_PREPARING] = {.name = "preparing", .deadline = SET_DEADLINE_PROGRESS},
    [SET_PREPARING_SNAPSHOT] = {.name = "preparing-snapshot", .deadline = SET_DEADLINE_CALL},
    [SET_FREEZING] = {.name = "freezing", .deadline = SET_DEADLINE_FREEZE, .writers_frozen = true},
    [SET_PRECOMMITTING] = {.name = "precommitting", .deadline = SET_DEADLINE_FREEZE, .writers_frozen = true},
    [SET_HOLDING] = {.name = "holding", .deadline = SET_DEADLINE_HOLD, .held = true, .writers_frozen = true},
    [SET_COMMITTING] = {.name = "committing", .deadline = SET_DEADLINE_HOLD, .held = true, .writers_frozen = true},
    [SET_RELEASING] = {.name = "releasing", .deadline = SET_DEADLINE_HOLD, .held = true, .writers_frozen = true},
    [SET_RELEASING_AGAIN] = {.name = "releasing-again",
                             .deadline = SET_DEADLINE_HOLD,
                             .held = true,
                             .writers_frozen = true},
    [SET_THAWING] = {.name = "thawing", .deadline = SET_DEADLINE_CALL, .writers_frozen = true},
    [SET_POSTCOMMITTING] = {.name = "postcommitting", .deadline = SET_DEADLINE_PROGRESS},
    [SET_REWINDING] = {.name = "rewinding", .deadline = SET_DEADLINE_PROGRESS},
    [SET_POST_SNAPSHOT] = {.name = "post-snapshot", .deadline = SET_DEADLINE_CALL},
    [SET_SEALING] = {.name = "sealing", .deadline = SET_DEADLINE_PROGRESS},
    [SET_PUBLISHING] = {.name = "publishing"},
    [SET_READY] = {.name = "ready", .final = true},
    [SET_COMPLETING] = {.name = "completing", .deadline = SET_DEADLINE_CALL},
    [SET_RETIRING] = {.name = "retiring", .deadline = SET_DEADLINE_CALL},
    [SET_ENDED] = {.name = "ended", .final = true},
    [SET_RELEASING_FAILED] = {.name = "releasing-failed", .held = true, .writers_frozen = true},
    [SET_ABORTING] = {.name = "aborting", .deadline = SET_DEADLINE_CALL, .writers_frozen = true},
    [SET_UNDOING] = {.name = "undoing", .deadline = SET_DEADLINE_PROGRESS},
    [SET_FAILED] = {.name = "failed", .final = true},
};
_Static_assert(sizeof states / sizeof states[0] == SET_STATE_MAX, "a state is missing");

static const char *const event_names[] = {
    [SET_EVENT_NONE] = "none",     [SET_EVENT_START] = "start",       [SET_EVENT_DONE] = "done",
    [SET_EVENT_FAILED] = "failed", [SET_EVENT_AGAIN] = "again",       [SET_EVENT_DEADLINE] = "deadline",
    [SET_EVENT_CANCEL] = "cancel", [SET_EVENT_COMPLETE] = "complete", [SET_EVENT_RELEASE] = "release",
};
_Static_assert(sizeof event_names / sizeof event_names[0] == SET_EVENT_MAX, "an event is missing");

static const struct move {
  enum set_state from;
  enum set_event event;
  enum set_state to;
} moves[] = {
    /* the way it should go */
    {SET_NEW, SET_EVENT_START, SET_GATHERING},
    {SET_GATHERING, SET_EVENT_DONE, SET_RESOLVING},
    {SET_RESOLVING, SET_EVENT_DONE, SET_QUEUED},
    {SET_QUEUED, SET_EVENT_DONE, SET_PREPARING_BACKUP},
    {SET_PREPARING_BACKUP, SET_EVENT_DONE, SET_PREPARING},
    {SET_PREPARING, SET_EVENT_DONE, SET_PREPARING_SNAPSHOT},
    {SET_PREPARING_SNAPSHOT, SET_EVENT_DONE, SET_FREEZING},
    {SET_FREEZING, SET_EVENT_DONE, SET_PRECOMMITTING},
    {SET_PRECOMMITTING, SET_EVENT_DONE, SET_HOLDING},
    {SET_HOLDING, SET_EVENT_DONE, SET_COMMITTING},
    {SET_COMMITTING, SET_EVENT_DONE, SET_RELEASING},
    {SET_RELEASING, SET_EVENT_DONE, SET_THAWING},
    {SET_THAWING, SET_EVENT_DONE, SET_POSTCOMMITTING},
    {SET_POSTCOMMITTING, SET_EVENT_DONE, SET_POST_SNAPSHOT},
    {SET_POST_SNAPSHOT, SET_EVENT_DONE, SET_SEALING},
    {SET_SEALING, SET_EVENT_DONE, SET_PUBLISHING},
    {SET_PUBLISHING, SET_EVENT_DONE, SET_READY},

    /* too much had changed: once more */
    {SET_COMMITTING, SET_EVENT_AGAIN, SET_RELEASING_AGAIN},
    {SET_RELEASING_AGAIN, SET_EVENT_DONE, SET_PRECOMMITTING},
    {SET_POSTCOMMITTING, SET_EVENT_AGAIN, SET_REWINDING},
    {SET_REWINDING, SET_EVENT_DONE, SET_PREPARING},
    {SET_REWINDING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_REWINDING, SET_EVENT_CANCEL, SET_ABORTING},

    /* ready: the requester works with it, then lets go */
    {SET_READY, SET_EVENT_COMPLETE, SET_COMPLETING},
    {SET_COMPLETING, SET_EVENT_DONE, SET_READY},
    {SET_READY, SET_EVENT_RELEASE, SET_RETIRING},
    {SET_RETIRING, SET_EVENT_DONE, SET_ENDED},

    /* nothing is frozen yet: abort and undo */
    {SET_GATHERING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_GATHERING, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_RESOLVING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_QUEUED, SET_EVENT_FAILED, SET_ABORTING},
    {SET_QUEUED, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_PREPARING_BACKUP, SET_EVENT_FAILED, SET_ABORTING},
    {SET_PREPARING_BACKUP, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_PREPARING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_PREPARING, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_PREPARING_SNAPSHOT, SET_EVENT_FAILED, SET_ABORTING},
    {SET_PREPARING_SNAPSHOT, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_FREEZING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_FREEZING, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_FREEZING, SET_EVENT_DEADLINE, SET_ABORTING},
    {SET_PRECOMMITTING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_PRECOMMITTING, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_PRECOMMITTING, SET_EVENT_DEADLINE, SET_ABORTING},

    /* volumes are or may be frozen: thaw first */
    {SET_HOLDING, SET_EVENT_FAILED, SET_RELEASING_FAILED},
    {SET_HOLDING, SET_EVENT_DEADLINE, SET_RELEASING_FAILED},
    {SET_HOLDING, SET_EVENT_CANCEL, SET_RELEASING_FAILED},
    {SET_COMMITTING, SET_EVENT_FAILED, SET_RELEASING_FAILED},
    {SET_COMMITTING, SET_EVENT_DEADLINE, SET_RELEASING_FAILED},
    {SET_COMMITTING, SET_EVENT_CANCEL, SET_RELEASING_FAILED},
    {SET_RELEASING, SET_EVENT_FAILED, SET_RELEASING_FAILED},
    {SET_RELEASING, SET_EVENT_DEADLINE, SET_RELEASING_FAILED},
    {SET_RELEASING_AGAIN, SET_EVENT_FAILED, SET_RELEASING_FAILED},
    {SET_RELEASING_AGAIN, SET_EVENT_DEADLINE, SET_RELEASING_FAILED},
    {SET_RELEASING_FAILED, SET_EVENT_DONE, SET_ABORTING},

    /* nothing is frozen any more: writers that were thawed still learn that it came to nothing */
    {SET_THAWING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_THAWING, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_POSTCOMMITTING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_POSTCOMMITTING, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_POST_SNAPSHOT, SET_EVENT_FAILED, SET_ABORTING},
    {SET_POST_SNAPSHOT, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_SEALING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_SEALING, SET_EVENT_CANCEL, SET_ABORTING},
    {SET_PUBLISHING, SET_EVENT_FAILED, SET_ABORTING},
    {SET_ABORTING, SET_EVENT_DONE, SET_UNDOING},
    {SET_UNDOING, SET_EVENT_DONE, SET_FAILED},
};

enum set_state set_states_next(enum set_state state, enum set_event event) {
  for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++)
    if (moves[i].from == state && moves[i].event == event)
      return moves[i].to;
  return SET_STATE_INVALID;
}

const char *set_state_name(enum set_state state) {
  return state >= 0 && state < SET_STATE_MAX ? states[state].name : "invalid";
}

const char *set_event_name(enum set_event event) { return event < SET_EVENT_MAX ? event_names[event] : "invalid"; }

enum set_state set_state_from_name(const char *name) {
  for (int i = 0; i < SET_STATE_MAX; i++)
    if (strcmp(states[i].name, name) == 0)
      return (enum set_state)i;
  return SET_STATE_INVALID;
}

bool set_state_held(enum set_state state) { return states[state].held; }
bool set_state_writers_frozen(enum set_state state) { return states[state].writers_frozen; }
bool set_state_final(enum set_state state) { return states[state].final; }
enum set_deadline set_state_deadline(enum set_state state) { return states[state].deadline; }
