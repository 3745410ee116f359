/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/redis/server.h"

#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

struct server {
  pthread_mutex_t talk; /* of the connection: one command at a time. Rank 1. */
  redisContext *connection;
  pthread_t keeper;
  bool keeping; /* the keeper runs */

  pthread_mutex_t lock; /* of what follows. Rank 2. */
  pthread_cond_t wake;
  bool stop, lapsed;
  int64_t paused_until_ns;
};

static void free_reply(redisReply **reply) {
  if (*reply)
    freeReplyObject(*reply);
}
#define CLEANUP_REPLY CLEANUP(free_reply)

static bool has_word(const redisReply *reply, const char *word) {
  return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, word, strlen(word)) == 0;
}

/* *ret: a reply that is no error; may be NULL. */
static int ask(struct server *s, redisReply **ret, struct umbra_error *err, const char *format, ...) {
  va_list args;
  va_start(args, format);
  (void)pthread_mutex_lock(&s->talk);
  CLEANUP_REPLY redisReply *reply = redisvCommand(s->connection, format, args);
  (void)pthread_mutex_unlock(&s->talk);
  va_end(args);
  const char *what = strncmp(format, "AUTH", 4) == 0 ? "AUTH" : format;
  if (!reply)
    return error_set(err, -EIO, UMBRA_REASON_INTERNAL, "asking the server for '%s': %s", what, s->connection->errstr);
  if (reply->type == REDIS_REPLY_ERROR) {
    bool denied = has_word(reply, "NOAUTH") || has_word(reply, "WRONGPASS") || has_word(reply, "NOPERM") ||
                  strstr(reply->str, "invalid password");
    return error_set(err, denied ? -EACCES : -EIO, denied ? UMBRA_REASON_ACCESS : UMBRA_REASON_INTERNAL,
                     "the server answers '%s': %s", what, reply->str);
  }
  if (ret)
    *ret = take_pointer(reply);
  return 0;
}

static int authenticate(struct server *s, const struct server_address *a, struct umbra_error *err) {
  if (a->password && a->user)
    return ask(s, NULL, err, "AUTH %s %s", a->user, a->password);
  if (a->password)
    return ask(s, NULL, err, "AUTH %s", a->password);
  return ask(s, NULL, err, "PING");
}

int server_open(const struct server_address *a, struct server **ret, struct umbra_error *err) {
  const struct timeval limit = {.tv_sec = SERVER_REPLY_MS / 1000};
  struct server *s = calloc(1, sizeof *s);
  if (!s)
    return error_code(err, -ENOMEM, "connecting to the server");
  pthread_condattr_t monotonic;
  (void)pthread_mutex_init(&s->talk, NULL);
  (void)pthread_mutex_init(&s->lock, NULL);
  (void)pthread_condattr_init(&monotonic);
  (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  (void)pthread_cond_init(&s->wake, &monotonic);
  (void)pthread_condattr_destroy(&monotonic);
  s->connection =
      a->path ? redisConnectUnixWithTimeout(a->path, limit) : redisConnectWithTimeout(a->host, a->port, limit);
  int r = 0;
  if (!s->connection || s->connection->err)
    r = error_set(err, -ECONNREFUSED, UMBRA_REASON_NOT_FOUND, "connecting to the server: %s",
                  s->connection ? s->connection->errstr : "out of memory");
  else if (redisSetTimeout(s->connection, limit) != REDIS_OK)
    r = error_set(err, -EIO, UMBRA_REASON_INTERNAL, "connecting to the server: %s", s->connection->errstr);
  else
    r = authenticate(s, a, err);
  if (r < 0) {
    server_close(s);
    return r;
  }
  *ret = s;
  return 0;
}

void server_close(struct server *s) {
  if (!s)
    return;
  (void)server_resume(s, NULL);
  if (s->connection)
    redisFree(s->connection);
  (void)pthread_cond_destroy(&s->wake);
  (void)pthread_mutex_destroy(&s->lock);
  (void)pthread_mutex_destroy(&s->talk);
  free(s);
}

int server_config(struct server *s, const char *name, char **ret, struct umbra_error *err) {
  CLEANUP_REPLY redisReply *reply = NULL;
  *ret = NULL;
  int r = ask(s, &reply, err, "CONFIG GET %s", name);
  if (r < 0)
    return r;
  if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2)
    return 0;
  if (reply->element[1]->type != REDIS_REPLY_STRING || strlen(reply->element[1]->str) != reply->element[1]->len)
    return error_set(err, -EBADMSG, UMBRA_REASON_INVALID, "the server's '%s' is no text", name);
  *ret = strdup(reply->element[1]->str);
  return *ret ? 0 : error_code(err, -ENOMEM, "asking the server for '%s'", name);
}

/* The value of a line "name:value"; fallback if there is none. */
static int64_t field(const char *info, const char *name, int64_t fallback) {
  size_t length = strlen(name);
  for (const char *line = info; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
    if (strncmp(line, name, length) == 0 && line[length] == ':')
      return strtoll(line + length + 1, NULL, 10);
  return fallback;
}

int server_state(struct server *s, struct server_state *ret, struct umbra_error *err) {
  CLEANUP_REPLY redisReply *info = NULL, *replication = NULL;
  int r = ask(s, &info, err, "INFO persistence");
  if (r == 0)
    r = ask(s, &replication, err, "INFO replication");
  if (r < 0)
    return r;
  if (!info->str || !replication->str)
    return error_set(err, -EBADMSG, UMBRA_REASON_INVALID, "the server's INFO is no text");
  *ret = (struct server_state){
      .appends = field(info->str, "aof_enabled", 0),
      .rewrites = field(info->str, "aof_rewrite_in_progress", 0) || field(info->str, "aof_rewrite_scheduled", 0),
      .saves = field(info->str, "rdb_bgsave_in_progress", 0),
      .last_save_ok = strstr(info->str, "rdb_last_bgsave_status:ok"),
      .replica = strstr(replication->str, "role:slave"),
      .changes = field(info->str, "rdb_changes_since_last_save", 1),
      .buffer_bytes = field(info->str, "aof_buffer_length", 0),
  };
  return 0;
}

static void pause_for_ms(int ms) {
  const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};
  (void)nanosleep(&pause, NULL);
}

int server_save(struct server *s, int64_t deadline_ns, struct umbra_error *err) {
  struct server_state state;
  bool begun = false;
  for (;;) {
    int r = server_state(s, &state, err);
    if (r < 0)
      return r;
    if (begun && !state.saves)
      break;
    /* One process at a time saves or rewrites. */
    if (!begun && !state.saves && !state.rewrites) {
      r = ask(s, NULL, err, "BGSAVE");
      if (r < 0)
        return r;
      begun = true;
    }
    if (clock_monotonic_ns() >= deadline_ns)
      return error_set(err, -ETIMEDOUT, UMBRA_REASON_WRITER_RETRY, "the server does not come to an end of saving");
    pause_for_ms(SERVER_POLL_MS);
  }
  return state.last_save_ok ? 0 : error_set(err, -EIO, UMBRA_REASON_WRITER, "BGSAVE failed: see the server's log");
}

/* ---- the pause ---- */

static int pause_writes(struct server *s, struct umbra_error *err) {
  int64_t asked_ns = clock_monotonic_ns();
  int r = ask(s, NULL, err, "CLIENT PAUSE %d WRITE", SERVER_PAUSE_MS);
  if (r < 0)
    return r;
  (void)pthread_mutex_lock(&s->lock);
  s->lapsed = s->lapsed || (s->paused_until_ns != 0 && clock_monotonic_ns() > s->paused_until_ns);
  s->paused_until_ns = asked_ns + SERVER_PAUSE_MS * NS_PER_MS;
  (void)pthread_mutex_unlock(&s->lock);
  return 0;
}

static void *keep_paused(void *context) {
  struct server *s = context;
  (void)pthread_mutex_lock(&s->lock);
  while (!s->stop) {
    int64_t next_ns = clock_monotonic_ns() + SERVER_RENEW_MS * NS_PER_MS;
    const struct timespec next = {.tv_sec = next_ns / NS_PER_S, .tv_nsec = next_ns % NS_PER_S};
    if (pthread_cond_timedwait(&s->wake, &s->lock, &next) != ETIMEDOUT || s->stop)
      continue;
    (void)pthread_mutex_unlock(&s->lock);
    /* What it could not renew is seen in the end, by the time. */
    (void)pause_writes(s, NULL);
    (void)pthread_mutex_lock(&s->lock);
  }
  (void)pthread_mutex_unlock(&s->lock);
  return NULL;
}

int server_pause(struct server *s, struct umbra_error *err) {
  struct umbra_error said = {0};
  s->stop = s->lapsed = false;
  s->paused_until_ns = 0;
  int r = pause_writes(s, &said);
  if (r == -EIO &&
      (strstr(said.message, "syntax") || strstr(said.message, "unknown") || strstr(said.message, "wrong number")))
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_WRITER, "the server cannot pause writes (Redis 6.2 and later)");
  if (r < 0)
    return error_set(err, r, said.reason, "%s", said.message);
  r = pthread_create(&s->keeper, NULL, keep_paused, s);
  if (r != 0) {
    (void)ask(s, NULL, NULL, "CLIENT UNPAUSE");
    return error_code(err, -r, "keeping the server paused");
  }
  s->keeping = true;
  return 0;
}

int server_resume(struct server *s, struct umbra_error *err) {
  if (!s->keeping)
    return 0;
  (void)pthread_mutex_lock(&s->lock);
  s->stop = true;
  (void)pthread_cond_signal(&s->wake);
  (void)pthread_mutex_unlock(&s->lock);
  (void)pthread_join(s->keeper, NULL);
  s->keeping = false;
  bool lapsed = s->lapsed || clock_monotonic_ns() > s->paused_until_ns;
  int r = ask(s, NULL, err, "CLIENT UNPAUSE");
  if (r == 0 && lapsed)
    r = error_set(err, -ETIMEDOUT, UMBRA_REASON_WRITER_RETRY, "the server's pause ended before it was to");
  return r;
}
