/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One Redis or Valkey server that runs here, and where its files are. */
#ifndef WRITERS_REDIS_INSTANCE_H
#define WRITERS_REDIS_INSTANCE_H

#include "writers/redis/server.h"

#include <jansson.h>
#include <limits.h>
#include <sys/types.h>

enum { INSTANCE_NAME_BYTES = 64 };

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
 * 1: the process, called one of instance_programs, is a server of whose files there may be backups, described in
 * *ret, or one that does not let us in, with words in *failure; 0: neither. As root. instance_done() in any case.
 */
int instance_examine(pid_t pid, const char *config_dir, struct instance *ret, struct umbra_error *failure);
void instance_done(struct instance *i);

/* What events bring back: JSON text, free(); NULL: no memory. The reverse: *ret is the caller's. */
char *instance_key(const struct instance *i);
int instance_from_key(const char *key, const char *name, struct instance *ret, struct umbra_error *err);

/* Becomes the server's user, for good, and connects. As root, for the password. -EAGAIN: it has ended since. */
int instance_open(const struct instance *i, const char *config_dir, struct server **ret, struct umbra_error *err);

#endif
