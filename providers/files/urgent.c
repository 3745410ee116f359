/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Priority of the threads that work while a volume is frozen. */
#include "providers/files/urgent.h"

#include <sys/resource.h>

enum { NICE_URGENT = -20 };

/* Of these calls each means the calling thread alone when its number is 0. */
void urgent_begin(struct urgent *ret_before) {
  ret_before->policy = sched_getscheduler(0);
  ret_before->nice_value = getpriority(PRIO_PROCESS, 0);
  (void)sched_getparam(0, &ret_before->parameters);
  struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_RR)};
  if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) < 0)
    (void)setpriority(PRIO_PROCESS, 0, NICE_URGENT);
}

void urgent_end(const struct urgent *before) {
  if (before->policy >= 0)
    (void)sched_setscheduler(0, before->policy, &before->parameters);
  (void)setpriority(PRIO_PROCESS, 0, before->nice_value);
}
