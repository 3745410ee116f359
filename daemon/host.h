/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process that stays root.  It knows nothing of D-Bus: it takes requests (request.h) from its one channel, has
 * each done by a job of its own, passes on what that reports, and says when the catalogue or the journal change.
 */
#ifndef DAEMON_HOST_H
#define DAEMON_HOST_H

#include "daemon/directories.h"

#include "common/error.h"

enum {
  HOST_JOBS_MAX = 80,  /* at once; held sets included. More than the bus process asks for (CALLS_MAX) and its own */
  HOST_SETTLE_MS = 50, /* what changes within that time is told of once */
  HOST_STOP_LIMIT_MS = 60000, /* what jobs may take to undo and release, at the end */
};

/* Runs until the channel ends, and then until every job has. Returns an exit status. */
int host_run(const struct directories *directories, int channel_fd);

#endif
