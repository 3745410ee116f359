/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One Redis or Valkey server that runs here, and where its files are. */
#ifndef WRITERS_REDIS_INSTANCE_H
#define WRITERS_REDIS_INSTANCE_H

#include "writers/redis/server.h"

#include <jansson.h>
#include <limits.h>
#include <sys/types.h>

enum { INSTANCES_MAX = 256, INSTANCE_NAME_BYTES = 64 };

extern const char *const instance_programs[]; /* what its processes are called; NULL at the end */

struct instance {
  char name[INSTANCE_NAME_BYTES]; /* USER@PORT or USER@SOCKET */
  pid_t pid;
  uint64_t start_ticks;
  uid_t user;
  gid_t group;
  char *socket; /* as we can reach it; NULL: host and port */
  char *host;
  int port;
  char *unit;                       /* of systemd; NULL: none */
  char *directory;                  /* where its files are */
  char *rdb, *append_directory;     /* names in it; append_directory NULL: a single append_file */
  char *append_file, *cluster_file; /* NULL: none */
  bool appends, saves;              /* appendonly; save points. None of both: it keeps nothing. */
};

/*
 * Finds those that run: processes called redis-server or valkey-server that answer.  One that does not, or wants
 * another password, has words in failures[i]. Returns how many, or negative. As root. instance_done() each.
 */
int instances_find(const char *config_dir, struct instance list[INSTANCES_MAX],
                   struct umbra_error failures[INSTANCES_MAX], struct umbra_error *err);
void instance_done(struct instance *i);

/* What events bring back: JSON text, free(); NULL: no memory. The reverse: *ret is the caller's. */
char *instance_key(const struct instance *i);
int instance_from_key(const char *key, const char *name, struct instance *ret, struct umbra_error *err);

/* The key that identify gave when the backup was made whose document this is; NULL: none. free(). */
char *instance_saved_key(const char *document, const char *name);

/* Becomes the server's user, for good, and connects. As root, for the password. -EAGAIN: it has ended since. */
int instance_open(const struct instance *i, const char *config_dir, struct server **ret, struct umbra_error *err);

#endif
