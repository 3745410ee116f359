/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a server wants to hear first: from CONFIG/writers/redis.conf, else from the server's own configuration file.
 * As root.  A password is given to nobody but a process of the user for whom it is meant.
 */
#ifndef WRITERS_REDIS_PASSWORD_H
#define WRITERS_REDIS_PASSWORD_H

#include "common/error.h"

#include <sys/types.h>

enum { PASSWORD_CONF_BYTES_MAX = 64 * 1024, PASSWORD_SERVER_CONF_BYTES_MAX = 4 * 1024 * 1024 };

struct password {
  char *user; /* NULL: the default one */
  char *word; /* NULL: none is known */
};

/*
 * instance: USER@LISTENER, as identify names it.  Of the server's own configuration: its listener (a port or the path
 * of a socket) and who can read it (user, group).  *ret: password_done().
 */
int password_find(const char *config_dir, const char *instance, uid_t user, gid_t group, struct password *ret,
                  struct umbra_error *err);
void password_done(struct password *p);

#endif
