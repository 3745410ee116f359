/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One MariaDB or MySQL server that runs here, and where its files are. */
#ifndef WRITERS_MARIADB_INSTANCE_H
#define WRITERS_MARIADB_INSTANCE_H

#include "writers/mariadb/server.h"

#include <stdint.h>
#include <sys/types.h>

enum { INSTANCE_NAME_BYTES = 64, INSTANCE_DIRECTORIES_MAX = 8 };

extern const char *const instance_programs[]; /* what its processes are called; NULL at the end */

struct instance {
  char name[INSTANCE_NAME_BYTES]; /* USER@SOCKET */
  pid_t pid;
  uint64_t start_ticks;
  uid_t user;
  gid_t group;
  char *socket;       /* as we can reach it */
  char *unit;         /* of systemd; NULL: none */
  char *page_size;    /* innodb_page_size */
  char **directories; /* where its files are: the data directory first, then those that are not below it */
};

/*
 * 1: the process, called one of instance_programs, is a server of whose files there may be backups, described in
 * *ret, or one that does not let us in, with words in *failure; 0: neither. As root. instance_done() in any case.
 */
int instance_examine(pid_t pid, const char *config_dir, struct instance *ret, struct umbra_error *failure);
void instance_done(struct instance *i);

/* What events bring back: JSON text, free(); NULL: no memory. The reverse: *ret is the caller's. */
char *instance_key(const struct instance *i);
int instance_from_key(const char *key, const char *name, struct instance *ret, struct umbra_error *err);

/*
 * Becomes the server's user, for good, and connects as that one; with CONFIG/writers/mariadb.conf connects as that
 * says before. -EAGAIN: the server has ended.
 */
int instance_open(const struct instance *i, const char *config_dir, struct server **ret, struct umbra_error *err);

#endif
