/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Being first at the processor while a volume is frozen: whoever writes to it waits for this thread.  A nice value
 * alone is worth nothing against other sessions (autogroup) and control groups, so the lowest real-time priority is
 * asked for.  The kernel leaves everybody else a share (real-time throttling), so that a guardian can thaw; the time
 * under the hold is limited besides.
 */
#ifndef PROVIDERS_FILES_URGENT_H
#define PROVIDERS_FILES_URGENT_H

#include <sched.h>

struct urgent {
  int policy, nice_value;
  struct sched_param parameters;
};

/* Makes the calling thread urgent, as far as it may be; *ret_before is for urgent_end(). Neither allocates nor
 * blocks. */
void urgent_begin(struct urgent *ret_before);
void urgent_end(const struct urgent *before);

#endif
