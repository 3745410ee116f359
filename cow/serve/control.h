/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server's side of client.h: a thread a connection, at most COW_CONNECTIONS_MAX.
 */
#ifndef COW_SERVE_CONTROL_H
#define COW_SERVE_CONTROL_H

#include "cow/engine.h"
#include "cow/serve/client.h"
#include "cow/serve/route.h"
#include "cow/serve/seat.h"

#include <jansson.h>

struct control;

/* Borrows seat; the engine is given when it exists, since its events come here. NULL: out of memory. */
struct control *control_new(const struct seat *seat);
void control_set_engine(struct control *c, struct cow_engine *engine);
/* Likewise, before the first connection. */
void control_set_route(struct control *c, struct route *route);

/* For cow_engine_options.event: keeps it. Never blocks for long, allocates nothing. */
void control_note_event(const struct cow_event *event, void *control);

/* Takes a connection (and its descriptor) that accept() gave. Too many: it is told so and closed. */
void control_serve(struct control *c, int fd);

/* Ends all connections and waits for them. */
void control_stop(struct control *c);

/* Who sends messages over one connection. */
struct control_asker {
  int fd;         /* the connection, -1: none (tests) */
  char begun[37]; /* the id that it is making, or empty */
  bool certain;   /* since it began: the filesystem was asked where storage inside the volume lies (E24) */
};

/* Answers one message. For tests. The caller's. */
json_t *control_answer(struct control *c, const json_t *request, struct control_asker *asker);

#endif
