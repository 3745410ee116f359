/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One slapd that runs here, its configuration and its databases. */
#ifndef WRITERS_OPENLDAP_SERVER_H
#define WRITERS_OPENLDAP_SERVER_H

#include "writers/openldap/configuration.h"

#include <stdint.h>
#include <sys/types.h>

enum { SERVER_NAME_BYTES = 64, SERVER_ARGUMENTS_BYTES_MAX = 64 * 1024 };

extern const char *const server_programs[]; /* what its processes are called; NULL at the end */

struct server {
  char name[SERVER_NAME_BYTES]; /* USER@CONFIGURATION */
  pid_t pid;
  uint64_t start_ticks;
  uid_t user;
  gid_t group;
  char *program;       /* slapd's path */
  char *unit;          /* of systemd; NULL: none */
  char *configuration; /* absolute path */
  bool is_directory;   /* slapd.d, not slapd.conf */
  struct databases databases;
};

/*
 * 1: the process, called one of server_programs, is a server whose databases are in *ret, or one that cannot be told
 * of, with words in *failure; 0: neither. As root. server_done() in any case.
 */
int server_examine(pid_t pid, struct server *ret, struct umbra_error *failure);
void server_done(struct server *s);

/* What events bring back: JSON text, free(); NULL: no memory. The reverse: *ret is the caller's. */
char *server_key(const struct server *s);
int server_from_key(const char *key, const char *name, struct server *ret, struct umbra_error *err);

/* A slapd that has the database in the directory open; 0: none. As root. */
pid_t server_that_uses(const char *directory);

#endif
