/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which SQLite databases there are: those that CONFIG/writers/sqlite.conf lists, and those that a process has open
 * for writing.  Disks are not searched.  Runs as root; what it reads of a file is its first 16 bytes.
 */
#ifndef WRITERS_SQLITE_DISCOVERY_H
#define WRITERS_SQLITE_DISCOVERY_H

#include "common/error.h"

#include <stddef.h>
#include <sys/types.h>

enum {
  SQLITE_DATABASES_MAX = 1024,       /* more is an error: none of them is left out in silence */
  SQLITE_CONF_BYTES_MAX = 64 * 1024, /* of sqlite.conf */
};

struct found {
  char *path; /* absolute, without symbolic links */
  uid_t user;
  gid_t group;
  dev_t device;
  ino_t inode;
};

struct discovery {
  struct found *list; /* by user, group, path; no file twice */
  size_t count;
};

/* *ret is the caller's: discovery_done(). */
int discover_databases(const char *config_dir, struct discovery *ret, struct umbra_error *err);
void discovery_done(struct discovery *s);

#endif
