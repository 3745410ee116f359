/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call: one thing that somebody on the bus asked for, from the method call to its answer, or to the end of the set
 * that it made.  DESIGN.md has its states.
 */
#ifndef DAEMON_CALLS_H
#define DAEMON_CALLS_H

#include "daemon/service.h"

enum {
  CALLS_MAX = 64,          /* at once, of everybody; sets that are held included */
  CALLS_SENDER_MAX = 16,   /* of one connection */
  CALLS_USER_MAX = 4,      /* of one user who is neither root nor in the group */
  CALLS_ORDINARY_MAX = 16, /* of all such users */
};

enum call_access {
  CALL_ANYBODY,
  CALL_OWNER,  /* the user whose it is, else as CALL_MANAGE */
  CALL_READER, /* who could read the volume himself (the host finds that out), else by polkit's org.umbra.mount */
  CALL_MANAGE, /* root, the group, else by polkit's org.umbra.manage */
};

/* Answers c->message from the host's result (borrowed) and descriptor (borrowed; -1: none). NULL: the answer is
 * empty. */
typedef int (*call_answer)(struct call *c, const json_t *result, int fd);

struct call {
  struct service *service;
  struct call *next;
  int64_t number, to; /* the host's: its own, and of the call whose job it is for (0: a new one) */
  char *sender;       /* unique name; NULL: umbrad itself */
  uid_t user;
  bool trusted;  /* root, or in the group, or by polkit */
  bool ordinary; /* counted among ordinary_count */
  enum call_access access;
  sd_bus_message *message; /* to be answered; NULL: is answered, or nobody waits */
  json_t *request;
  bool sent, asked;      /* to the host; of polkit */
  sd_bus_slot *question; /* polkit is asked */
  sd_bus_track *track;   /* of the sender */
  call_answer answer;
  bool creates, auto_release, wait; /* Manager.CreateSet */
  char set_id[40];                  /* the set that it makes, or waits for; "" */
  bool waits;                       /* Set.Wait: nothing is asked of the host */
};

/* What a method wants done. request: taken, with "do" and its operands; the number is added. owner: of CALL_OWNER. */
struct call_options {
  enum call_access access;
  json_t *request;
  int64_t to;
  uid_t owner;
  call_answer answer;
};

/*
 * Begins a call for a method. Returns as sd-bus handlers do: 1, since it is answered later, or negative with *error.
 * *ret (may be NULL) is valid until the loop goes on.
 */
int calls_begin(struct service *s, sd_bus_message *m, const struct call_options *options, struct call **ret,
                sd_bus_error *error);

/* For umbrad itself, which has no message. NULL on failure. request: taken. */
struct call *calls_begin_own(struct service *s, json_t *request, call_answer answer);

/* Tells the host to cancel or release what a call has under way. */
void calls_stop(struct call *c);

/* One line from the host that carries a call's number. */
void calls_take_report(struct service *s, json_t *line);

/* polkit has answered: go on, or refuse. */
void calls_authorised(struct call *c, bool yes);

/* The set is there (ok) or has failed: whoever waits for it is answered. */
void calls_set_finished(struct service *s, const char *set_id, bool ok, enum umbra_reason reason,
                        const char *message);

/* Answers with an error, if it is not answered yet. */
void call_fail(struct call *c, enum umbra_reason reason, const char *message);

void calls_free_all(struct service *s);

/* authority.c. The user of a message's sender, and whether he may do everything. Asks the bus, not the user. */
int authority_look(struct service *s, sd_bus_message *m, uid_t *ret_user, bool *ret_trusted);

/* Asks polkit, whose answer comes to calls_authorised(). Negative: it could not be asked. */
int authority_ask(struct call *c, const char *action);

#endif
