/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Effective ids only. See owner.h. */
#include "writers/postgresql/owner.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int owner_enter(uid_t user, gid_t group) {
  int death_signal = 0;
  if (geteuid() != 0)
    return 0;
  (void)prctl(PR_GET_PDEATHSIG, &death_signal);
  int r = setgroups(1, &group) < 0 || setegid(group) < 0 || seteuid(user) < 0 ? -errno : 0;
  if (r < 0)
    owner_leave();
  /* The kernel forgets it with every change of user. */
  (void)prctl(PR_SET_PDEATHSIG, death_signal);
  return r;
}

void owner_leave(void) {
  int death_signal = 0;
  if (getuid() != 0)
    return;
  (void)prctl(PR_GET_PDEATHSIG, &death_signal);
  /* Somebody else's rights must not stay with root's, nor the other way round. */
  if (seteuid(0) < 0 || setegid(getgid()) < 0 || setgroups(0, NULL) < 0)
    abort();
  (void)prctl(PR_SET_PDEATHSIG, death_signal);
}
