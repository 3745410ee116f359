/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where this umbrad's sets are: the three directories that make two umbras one, absolute. */
#ifndef DAEMON_DIRECTORIES_H
#define DAEMON_DIRECTORIES_H

struct directories {
  char *state_dir, *runtime_dir, *config_dir;
};

#endif
