/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection to one Redis or Valkey server.  Every call blocks for at most SERVER_REPLY_MS a command.  What a pause
 * stops goes on by itself when nobody renews it: nothing is left behind in the server by a writer that was killed.
 */
#ifndef WRITERS_REDIS_SERVER_H
#define WRITERS_REDIS_SERVER_H

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  SERVER_REPLY_MS = 5000,
  SERVER_PAUSE_MS = 3000, /* so long clients wait at most after the writer was killed */
  SERVER_RENEW_MS = 500,  /* a pause is renewed as often */
  SERVER_POLL_MS = 5,     /* how often the server is asked whether it is done */
};

struct server;

/* Where a server listens, and what it wants to hear first. */
struct server_address {
  const char *path; /* of its Unix socket; NULL: host and port */
  const char *host;
  int port;
  const char *user, *password; /* password NULL: none; user NULL: the default one */
};

/* *ret: server_close(). -EACCES: it wants another password, or one. */
int server_open(const struct server_address *address, struct server **ret, struct umbra_error *err);
void server_close(struct server *s); /* NULL is fine. Ends a pause. */

/* CONFIG GET; *ret is the caller's, free(), NULL if the server does not know the name. */
int server_config(struct server *s, const char *name, char **ret, struct umbra_error *err);

/* The state of its files, INFO persistence and replication. */
struct server_state {
  bool appends, rewrites, saves; /* appendonly; an AOF rewrite, a BGSAVE under way or scheduled */
  bool last_save_ok, replica;
  int64_t changes;      /* since the last save */
  int64_t buffer_bytes; /* acknowledged and not yet written to the append-only file */
};
int server_state(struct server *s, struct server_state *ret, struct umbra_error *err);

/* Saves, beside clients that go on, and waits for the end. 0, -ETIMEDOUT, or another failure. */
int server_save(struct server *s, int64_t deadline_ns, struct umbra_error *err);

/*
 * From now on no client writes, and nothing expires or is evicted, until server_resume() or SERVER_PAUSE_MS after the
 * end of this process.  -EOPNOTSUPP: the server is older than 6.2.
 */
int server_pause(struct server *s, struct umbra_error *err);

/* 0; -ETIMEDOUT: the pause had ended by itself before. Fine for one that is not paused. */
int server_resume(struct server *s, struct umbra_error *err);

#endif
