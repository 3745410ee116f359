/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process of its own that freezes the filesystems in a domain through its guest agent, and thaws them whatever
 * happens to the one that asked for it: at its end, however it ends, and KEEPER_HELD_S after the freeze.  It is in a
 * session of its own, since umbra kills a writer with its process group.  One that was killed itself has a second one
 * after it, which thaws.
 */
#ifndef WRITERS_LIBVIRT_KEEPER_H
#define WRITERS_LIBVIRT_KEEPER_H

#include "common/error.h"
#include "writers/libvirt/domain.h"

enum {
  KEEPER_HELD_S = 60,  /* no guest is frozen longer */
  KEEPER_LAST_S = 600, /* so long it tries to thaw, and waits for an agent that does not answer */
};

struct keeper;

/* Starts it, before anybody is frozen. *ret: keeper_free(), before the end of d, which it uses. */
int keeper_start(const struct domain *d, struct keeper **ret, struct umbra_error *err);

/* Both block, at most wait_ms: -ETIMEDOUT, or -EPIPE: it was killed; the guest is thawed as soon as it can be then.
 */
int keeper_freeze(struct keeper *k, int wait_ms, struct umbra_error *err);
int keeper_thaw(struct keeper *k, int wait_ms, struct umbra_error *err);

void keeper_free(struct keeper *k); /* NULL is fine. The guest is thawed, if need be, after this has returned. */

#endif
