/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One MariaDB or MySQL server that runs here, and where its files are. */
#ifndef WRITERS_MARIADB_INSTANCE_H
#define WRITERS_MARIADB_INSTANCE_H

#include "writers/mariadb/server.h"

#include <stdint.h>
#include <sys/types.h>

enum { INSTANCES_MAX = 64, INSTANCE_NAME_BYTES = 64, INSTANCE_DIRECTORIES_MAX = 8 };

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
 * Finds those that run: processes called mariadbd or mysqld with a Unix socket.  One that does not let us in has
 * words in failures[i]. Returns how many, or negative. As root. instance_done() each.
 */
int instances_find(const char *config_dir, struct instance list[INSTANCES_MAX],
                   struct umbra_error failures[INSTANCES_MAX], struct umbra_error *err);
void instance_done(struct instance *i);

/* What events bring back: JSON text, free(); NULL: no memory. The reverse: *ret is the caller's. */
char *instance_key(const struct instance *i);
int instance_from_key(const char *key, const char *name, struct instance *ret, struct umbra_error *err);

/* The key that identify gave when the backup was made whose document this is; NULL: none. free(). */
char *instance_saved_key(const char *document, const char *name);

/*
 * Becomes the server's user, for good, and connects as that one; with CONFIG/writers/mariadb.conf connects as that
 * says before. -EAGAIN: the server has ended.
 */
int instance_open(const struct instance *i, const char *config_dir, struct server **ret, struct umbra_error *err);

#endif
