/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/given.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>

static struct rlimit limit; /* as given */
static bool limit_raised, child_ignored;

void given_change(void) {
  struct sigaction action;
  if (!child_ignored && sigaction(SIGCHLD, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
    child_ignored = signal(SIGCHLD, SIG_DFL) != SIG_ERR;
  if (limit_raised || getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= limit.rlim_max)
    return;
  const struct rlimit all = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
  limit_raised = setrlimit(RLIMIT_NOFILE, &all) == 0;
}

void given_restore(void) {
  if (child_ignored)
    (void)signal(SIGCHLD, SIG_IGN);
  if (limit_raised)
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}
