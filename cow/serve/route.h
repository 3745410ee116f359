/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which way the I/O of an attached volume goes: through the engine, or, with device-mapper (mapped.h) and as long as
 * no shadow copy is begun or live, directly to the origin (DESIGN.md, M1 to M9). Without device-mapper it is always
 * the engine, and nothing here does anything.
 *
 * The switch itself is made by a process of its own, `umbra-cow direct` or `umbra-cow through-engine`: it waits for
 * I/O that this server answers, and a server must be able to end at any time (M4).
 */
#ifndef COW_SERVE_ROUTE_H
#define COW_SERVE_ROUTE_H

#include "cow/engine.h"
#include "cow/serve/seat.h"

struct route;

/* seat and engine are borrowed. Drops all shadow copies if writes have passed the engine (M2). NULL: out of memory.
 */
struct route *route_new(struct seat *seat, struct cow_engine *engine);
void route_free(struct route *r); /* stopped, and nobody calls any more; NULL is fine */

/*
 * Starts a thread that looks after the way: what a server that died left is settled there, since that may wait for
 * I/O. The front must serve, until route_stop() has returned; from then on the way stays what it is.
 */
int route_start(struct route *r, struct umbra_error *err);
void route_stop(struct route *r); /* NULL is fine */

/*
 * Makes the way the engine's and keeps it so until route_release(): between the two a shadow copy is begun. Waits for
 * the origin's I/O under way. On failure there is nothing to release.
 */
int route_require_engine(struct route *r, struct umbra_error *err);
void route_release(struct route *r);

/* Makes the way what it should be now: for who has just made the devices. */
int route_decide(struct route *r, struct umbra_error *err);

/* A shadow copy may have gone: the way is looked at soon. From any thread, with any lock held; never blocks. */
void route_wake(struct route *r);

/* Do writes go to the origin without passing the engine? As far as this server knows. */
bool route_is_direct(const struct route *r);

/* The processes. Wait for whoever of them is at work. */
int route_main_direct(struct umbra_error *err);
int route_main_through_engine(struct umbra_error *err);

#endif
