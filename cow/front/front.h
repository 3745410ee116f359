/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A front makes an engine a block device: one struct literal a front, so that who attaches and who serves need not
 * know which it is.  Shadow copies are files of a FUSE session (fuse.h) with every front.
 */
#ifndef COW_FRONT_FRONT_H
#define COW_FRONT_FRONT_H

#include "common/error.h"
#include "cow/engine.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Does the kernel send what a dead server has not answered to the next one? FUSE_NOTIFY_RESEND, Linux 6.9. */
enum front_resends { FRONT_RESENDS_UNKNOWN, FRONT_RESENDS, FRONT_RESENDS_NOT };

/* What a front knows of its device and what must outlive a server: memory that all servers of a volume share. */
struct front_seat {
  /* Of the origin; given by who attaches. */
  uint64_t volume_bytes;
  uint32_t logical_block_bytes, physical_block_bytes;
  bool rotational;
  bool can_zero;            /* ranges can be made zeros without writing them */
  uint64_t origin_identity; /* that a device which outlived its programs is not given to another origin's */
  bool survivor;            /* the device is one whose programs had died */
  /* The front's own. */
  uint32_t number;             /* of the kernel's device */
  uint32_t queues;             /* that it has */
  _Atomic uint32_t assembling; /* a server is taking the device over, or died while it did */
  /* Of the FUSE session. */
  _Atomic uint32_t resends; /* enum front_resends */
  _Atomic uint32_t held;    /* threads of the server that may have read requests and not answered them yet */
};

/* Of a seat whose server has died: requests went with it that nobody will ever answer. */
bool front_has_lost(const struct front_seat *seat);

struct front_options {
  struct front_seat *seat;
  int session_fd;            /* the FUSE session; borrowed, as all here */
  struct cow_engine *engine; /* has lanes for front->threads() callers */
  bool again;                /* another server served before: what it did not answer is to be answered */
};

struct front_server;

struct front {
  const char *name;
  bool needs_admin; /* CAP_SYS_ADMIN, as long as it serves */
  const char *summary; /* "FUSE and a loop device" */
  /* Whether this machine can. Negative with why. May load the kernel's module. */
  int (*usable)(struct umbra_error *why);
  /* How many callers the engine gets, of a volume with this seat. */
  unsigned (*threads)(const struct front_seat *seat);
  /* Server: serves until stop(), which waits until the requests under way are answered. Blocks until the last server
   * has let go. */
  int (*start)(const struct front_options *o, struct front_server **ret, struct umbra_error *err);
  void (*stop)(struct front_server *s);
};

/* By name, or NULL. */
const struct front *front_named(const char *name);

/*
 * The front to use: the one asked for, or (NULL) the first that the machine can. why: the reason, in words. Negative:
 * the one asked for is unknown or not usable.
 */
enum { FRONT_WHY_BYTES = 192 };
int front_choose(const char *asked, const struct front **ret, char why[FRONT_WHY_BYTES], struct umbra_error *err);

#endif
