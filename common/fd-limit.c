/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/fd-limit.h"

#include <stdbool.h>
#include <sys/resource.h>

static struct rlimit given; /* at the program's start */
static bool raised;

void fd_limit_raise(void) {
  if (raised || getrlimit(RLIMIT_NOFILE, &given) < 0 || given.rlim_cur >= given.rlim_max)
    return;
  const struct rlimit all = {.rlim_cur = given.rlim_max, .rlim_max = given.rlim_max};
  raised = setrlimit(RLIMIT_NOFILE, &all) == 0;
}

void fd_limit_restore(void) {
  if (raised)
    (void)setrlimit(RLIMIT_NOFILE, &given);
}
