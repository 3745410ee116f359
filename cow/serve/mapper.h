/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device-mapper devices through libdevmapper: made of linear pieces, looked at, switched to another table, removed.
 * No policy; what umbra does with them is in route.h.
 *
 * Everything blocks, but for I/O only mapper_switch() and mapper_remove(). One thread of a process at a time
 * (libdevmapper has state of its own). udev is told what is libdevmapper's custom, but never waited for: a machine
 * without it, or whose udevd has died, would keep us. Source: libdevmapper.h; linux/dm-ioctl.h;
 * drivers/md/dm-ioctl.c and dm.c (Linux 6.1 to 6.12) for what is said of one system call.
 */
#ifndef COW_SERVE_MAPPER_H
#define COW_SERVE_MAPPER_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MAPPER_NAME_BYTES = 128, MAPPER_PIECES_MAX = 2, MAPPER_SECTOR_BYTES = 512 };

/* The first sectors of a device, as the next ones of the mapped device. */
struct mapper_piece {
  dev_t device;
  uint64_t sectors;
};
struct mapper_table {
  struct mapper_piece pieces[MAPPER_PIECES_MAX];
  size_t count;
};

/* Has this kernel device-mapper, and may we use it? err says why not. */
int mapper_usable(struct umbra_error *err);

/*
 * A new device, running. guard: read-only, and nothing of it is any business of udev's; what its pieces lie on is in
 * use by device-mapper from then on, and nobody else may open it exclusively. -EBUSY: the name is taken, or a piece's
 * device is in use. On failure nothing is left, but when the process dies half-way.
 */
int mapper_create(const char *name, const char *uuid, const struct mapper_table *table, bool guard, dev_t *ret,
                  struct umbra_error *err);

struct mapper_state {
  bool suspended, half_switched; /* half_switched: a table is in the inactive slot */
  unsigned openers;
  dev_t device;
  struct mapper_piece first; /* of the table that is live; sectors 0: there is none */
};
/* -ENOENT: there is no device of this name; -EEXIST: it has another uuid, and is somebody else's. */
int mapper_look(const char *name, const char *uuid, struct mapper_state *ret, struct umbra_error *err);

/*
 * Puts the table in place of the live one: I/O under way ends on the old one, what comes meanwhile waits for the new
 * one. The kernel suspends, exchanges and resumes within one system call: a process that is killed leaves one table
 * or the other, and the device running. The filesystem is not frozen for it. Waits for the I/O under way, killable.
 */
int mapper_switch(const char *name, const struct mapper_table *table, struct umbra_error *err);

/* Whatever was left: nothing in the inactive slot, not suspended. */
int mapper_settle(const char *name, const char *uuid, struct umbra_error *err);

/* What is not there counts as removed. -EBUSY: it is open; tried for a few seconds, since udev looks at devices. */
int mapper_remove(const char *name, const char *uuid, struct umbra_error *err);

#endif
