/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sets as objects on the bus, /org/umbra/Umbra1/set/ID: those of the catalogue and of other processes as they were
 * listed last, and those that calls make.  Shadow copies (shadows.c) are what the sets' documents name.
 */
#ifndef DAEMON_SETS_H
#define DAEMON_SETS_H

#include "daemon/service.h"

/* Sets whose making failed stay to be looked at until they are deleted, but no more than so many. */
enum { SETS_FAILED_MAX = 64, SET_OBJECT_PATH_BYTES = 64 };

enum set_stage { SET_STAGE_CREATING, SET_STAGE_THERE, SET_STAGE_FAILED };

struct set_object {
  struct set_object *next;
  char id[40], path[SET_OBJECT_PATH_BYTES];
  enum set_stage stage;
  json_t *document; /* as in umbra_list("sets"); an empty object while it is made */
  json_t *result;   /* of one that a call made: {"set": as it was just then, "degraded"}; NULL */
  int64_t job;      /* the call that makes or holds it; 0: nobody's here */
  int64_t since;    /* number of the last call when it was made here; 0: it was found. Older lists do not know it */
  uid_t user;       /* who asked for it, if job or failed */
  char *owner;      /* unique name of the one whose it is, as long as he is there; NULL: nobody's */
  char *failure;    /* in words */
  enum umbra_reason reason;
};

const char *set_object_path(const struct set_object *set);
struct set_object *sets_find_path(struct service *s, const char *path);
struct set_object *sets_find_id(struct service *s, const char *id);

/* "creating", "ready", "failed", or what has become of it since: "in-use", "dropped", … */
const char *set_object_state(const struct set_object *set);

/* A call has begun one. NULL: out of memory. */
struct set_object *sets_begin(struct service *s, const struct call *c);

/* It is there, with its document as umbra_set_document() has it; or it has failed. Those who wait are told. */
void sets_made(struct service *s, const char *id, const json_t *document);
void sets_failed(struct service *s, const char *id, enum umbra_reason reason, const char *message);

/* The process that made or held it has ended. told: if it has failed nobody need look at it, so that it goes. */
void sets_gone(struct service *s, const char *id, const char *why, bool told);

/* Progress or a warning, as the job reported it. */
void sets_tell(struct service *s, const char *id, const json_t *line);

/* What the host has listed: objects come, change and go. */
void sets_take_list(struct service *s, const json_t *list, int64_t call);

/* Asks for the end of one: released, cancelled, deleted, or, if it has failed, forgotten. As calls_begin(). */
int sets_delete(struct service *s, struct set_object *set, sd_bus_message *m, sd_bus_error *error);

void sets_free_all(struct service *s);

/* shadows.c. For Manager.Unmount(): is what the text means (an id, a prefix, a label, or where it is mounted) mounted
 * for one user only? */
bool shadows_belong_to(const struct service *s, const char *text, uid_t *ret_user);

/* shadows.c: told of by sets.c. A shadow copy of a set's document came, went, or differs from before. */
void shadows_added(struct service *s, const json_t *shadow);
void shadows_removed(struct service *s, const json_t *shadow);
void shadows_changed(struct service *s, const json_t *before, const json_t *now);

/* The paths of all objects, for introspection: appended to *paths, an array of new strings that ends in NULL. */
int sets_append_paths(struct service *s, char ***paths);
int shadow_object_path(const char *id, char buffer[SET_OBJECT_PATH_BYTES]);

#endif
