/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The databases that a server's configuration names, read as the server itself would read it now. */
#ifndef WRITERS_OPENLDAP_CONFIGURATION_H
#define WRITERS_OPENLDAP_CONFIGURATION_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

enum {
  DATABASES_MAX = 64,
  DATABASE_NAME_BYTES = 128,
  CONFIGURATION_BYTES_MAX = 16 * 1024 * 1024, /* of cn=config as LDIF */
};

struct database {
  char name[DATABASE_NAME_BYTES]; /* its first suffix; of a longer one the beginning */
  char *directory;                /* absolute */
  bool unsynced; /* what clients are told of is not on the disk: dbnosync, or a flag that comes to the same */
};

struct databases {
  struct database list[DATABASES_MAX];
  size_t count;
};

/*
 * Of cn=config as LDIF (RFC 2849). -EOPNOTSUPP: a database of files that is none of back-mdb, by name; -EINVAL,
 * -E2BIG. *ret: databases_done() in any case.
 */
int databases_parse(const char *ldif, struct databases *ret, struct umbra_error *err);
void databases_done(struct databases *d);

/*
 * Of a directory (slapd.d) by running program (slapd's path) in its tool mode `cat`, of a file (slapd.conf) by
 * reading it, which that mode does not show. As the server's user: a configuration loads modules. Blocks until it has
 * ended.
 */
int databases_read(const char *program, const char *configuration, bool is_directory, struct databases *ret,
                   struct umbra_error *err);

#endif
