/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/redis/instance.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/process.h"
#include "umbra/writer.h"
#include "writers/apart.h"
#include "writers/listeners.h"
#include "writers/redis/password.h"
#include "writers/service.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

void instance_done(struct instance *i) {
  char **owned[] = {&i->socket,           &i->host,        &i->unit,        &i->directory, &i->rdb,
                    &i->append_directory, &i->append_file, &i->cluster_file};
  for (size_t k = 0; k < sizeof owned / sizeof *owned; k++) {
    free(*owned[k]);
    *owned[k] = NULL;
  }
}

/* ---- finding ---- */

const char *const instance_programs[] = {"redis-server", "valkey-server", NULL};

static int describe_process(pid_t pid, struct instance *ret) {
  char path[64];
  struct stat st;
  (void)snprintf(path, sizeof path, "/proc/%d", (int)pid);
  if (stat(path, &st) < 0 || process_start_ticks(pid, &ret->start_ticks) < 0)
    return -ESRCH;
  ret->pid = pid;
  ret->user = st.st_uid;
  ret->group = st.st_gid;
  ret->unit = service_unit(pid);
  return 0;
}

static int reach(struct instance *i, const struct listener *at) {
  free(i->socket);
  free(i->host);
  i->socket = i->host = NULL;
  i->port = at->port;
  char port[16];
  (void)snprintf(port, sizeof port, "%d", at->port);
  service_name(i->user, at->path[0] ? at->path : port, i->name, sizeof i->name);
  /* Its mount namespace may be another one; the way over its root is the same file. */
  int r = at->path[0]                    ? asprintf(&i->socket, "/proc/%d/root%s", (int)i->pid, at->path)
          : (i->host = strdup(at->host)) ? 0
                                         : -1;
  return r < 0 ? -ENOMEM : 0;
}

static int file_name(struct server *s, const char *what, char **ret, struct umbra_error *err) {
  int r = server_config(s, what, ret, err);
  if (r == 0 && *ret && ((*ret)[0] == '\0' || strcmp(*ret, ".") == 0 || strcmp(*ret, "..") == 0)) {
    free(*ret);
    *ret = NULL;
  }
  if (r == 0 && *ret && strchr(*ret, '/'))
    r = error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the server's '%s' is no file name: '%s'", what, *ret);
  return r;
}

static int learn_files(struct server *s, struct instance *i, struct umbra_error *err) {
  CLEANUP_FREE char *appends = NULL, *save = NULL, *cluster = NULL;
  int r = server_config(s, "dir", &i->directory, err);
  if (r == 0)
    r = server_config(s, "appendonly", &appends, err);
  if (r == 0)
    r = server_config(s, "save", &save, err);
  if (r == 0)
    r = server_config(s, "cluster-enabled", &cluster, err);
  if (r == 0)
    r = file_name(s, "dbfilename", &i->rdb, err);
  if (r == 0)
    r = file_name(s, "appenddirname", &i->append_directory, err);
  if (r == 0)
    r = file_name(s, "appendfilename", &i->append_file, err);
  if (r == 0 && cluster && strcmp(cluster, "yes") == 0)
    r = file_name(s, "cluster-config-file", &i->cluster_file, err);
  if (r < 0)
    return r;
  if (!i->directory || i->directory[0] != '/')
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the server does not say where its files are");
  i->appends = appends && strcmp(appends, "yes") == 0;
  i->saves = save && save[0] && i->rdb;
  return 0;
}

/* 1: its directory is the same one here; 0: it is not, as with a container; or what is wrong with it. */
static int check_directory(const struct instance *i, struct umbra_error *err) {
  char path[PATH_MAX];
  struct stat its, ours;
  if ((size_t)snprintf(path, sizeof path, "/proc/%d/root%s", (int)i->pid, i->directory) >= sizeof path ||
      stat(path, &its) < 0 || stat(i->directory, &ours) < 0 || its.st_ino != ours.st_ino || its.st_dev != ours.st_dev)
    return 0;
  /* Anybody may call a program redis-server: what it says counts only for what is its own. */
  if (i->user != 0 && ours.st_uid != i->user)
    return error_set(err, -EPERM, UMBRA_REASON_ACCESS,
                     "process %d says that its files are in '%s', which is not its user's", (int)i->pid,
                     i->directory);
  return 1;
}

static json_t *path_or_null(const char *path) { return path ? json_path(path) : json_null(); }

static json_t *describe(const struct instance *i) {
  return json_pack("{s:i, s:I, s:I, s:I, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b}", "pid", (int)i->pid,
                   "start", (json_int_t)i->start_ticks, "user", (json_int_t)i->user, "group", (json_int_t)i->group,
                   "socket", path_or_null(i->socket), "host", path_or_null(i->host), "port", i->port, "unit",
                   path_or_null(i->unit), "directory", path_or_null(i->directory), "rdb", path_or_null(i->rdb),
                   "append_directory", path_or_null(i->append_directory), "append_file", path_or_null(i->append_file),
                   "cluster_file", path_or_null(i->cluster_file), "appends", i->appends, "saves", i->saves);
}

static int take_path(const json_t *json, const char *key, char **ret, struct umbra_error *err) {
  const json_t *value = json_object_get(json, key);
  free(*ret);
  *ret = NULL;
  return json_is_string(value) && json_path_value(value, ret) < 0
             ? error_set(err, -EINVAL, UMBRA_REASON_INVALID, "no usable '%s'", key)
             : 0;
}

/* Where the files are, of what describe() made. */
static int take_files(struct instance *i, const json_t *json, struct umbra_error *err) {
  int r = take_path(json, "directory", &i->directory, err);
  if (r == 0)
    r = take_path(json, "rdb", &i->rdb, err);
  if (r == 0)
    r = take_path(json, "append_directory", &i->append_directory, err);
  if (r == 0)
    r = take_path(json, "append_file", &i->append_file, err);
  if (r == 0)
    r = take_path(json, "cluster_file", &i->cluster_file, err);
  const char *const names[] = {i->rdb, i->append_directory, i->append_file, i->cluster_file};
  bool sound = i->directory && i->directory[0] == '/';
  for (size_t k = 0; k < sizeof names / sizeof *names; k++)
    sound = sound && (!names[k] || !strchr(names[k], '/'));
  if (r == 0 && !sound)
    r = error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the server does not say where its files are");
  i->appends = json_get_boolean_or(json, "appends", false);
  i->saves = json_get_boolean_or(json, "saves", false);
  return r;
}

/* Becomes the server's user, for good, once the password is known, and connects. */
static int connect_to(const struct instance *i, const char *config_dir, struct server **ret,
                      struct umbra_error *err) {
  struct server_address address = {.path = i->socket, .host = i->host, .port = i->port};
  CLEANUP(password_done) struct password p = {0};
  CLEANUP_FREE char *any = NULL;
  struct umbra_error without = {0};
  int found = password_find(config_dir, i->name, i->user, i->group, &p, &without);
  int r = geteuid() == 0 ? umbra_writer_become(i->user, i->group) : 0;
  if (r < 0)
    return error_code(err, r, "becoming the server's user");
  r = server_open(&address, ret, err);
  if (r == 0 && server_config(*ret, "dir", &any, err) == -EACCES) {
    server_close(*ret);
    *ret = NULL;
    r = -EACCES;
  }
  if (r != -EACCES)
    return r;
  if (found < 0)
    return error_set(err, found, without.reason, "%s", without.message);
  if (!p.word)
    return error_set(err, -EACCES, UMBRA_REASON_ACCESS,
                     "the server of process %d wants a password: '%s/writers/redis.conf'", (int)i->pid, config_dir);
  address.user = p.user;
  address.password = p.word;
  r = server_open(&address, ret, err);
  if (r == 0)
    error_clear(err);
  return r;
}

struct interviewed {
  const struct instance *instance;
  const char *config_dir;
};

/* In a process of the server's user: a key with what the server says, or {"failure": "…", "code": …}. */
static json_t *interview(const void *subject) {
  const struct interviewed *asked = subject;
  struct instance i = *asked->instance;
  struct umbra_error err = {0};
  struct server *s = NULL;
  int r = connect_to(&i, asked->config_dir, &s, &err);
  if (r == 0)
    r = learn_files(s, &i, &err);
  server_close(s);
  return r < 0 ? json_pack("{s:o, s:i}", "failure", json_path(err.message), "code", r) : describe(&i);
}

static int ask_server(struct instance *i, const char *config_dir, struct umbra_error *failure) {
  CLEANUP_JSON json_t *answer = NULL;
  int r = apart_ask(interview, &(struct interviewed){i, config_dir}, APART_S, &answer, failure);
  if (r < 0)
    return r;
  const char *words = json_get_string_or(answer, "failure", NULL);
  if (words) {
    json_int_t code = json_get_integer_or(answer, "code", -EIO);
    return error_set(failure, code < 0 && code > -4096 ? (int)code : -EIO, UMBRA_REASON_WRITER, "%s", words);
  }
  return take_files(i, answer, failure);
}

int instance_examine(pid_t pid, const char *config_dir, struct instance *ret, struct umbra_error *failure) {
  struct listener at[LISTENERS_MAX];
  *ret = (struct instance){0};
  size_t count = listeners_of(pid, at);
  /* What has forked to save does not listen. */
  if (count == 0 || describe_process(pid, ret) < 0)
    return 0;
  int r = -ECONNREFUSED;
  for (size_t k = 0; k < count && r < 0 && r != -EACCES && r != -EPERM; k++) {
    r = reach(ret, &at[k]);
    if (r == 0)
      r = ask_server(ret, config_dir, failure);
  }
  if (r < 0)
    return service_failure_counts("redis", ret->name, ret->user, failure);
  error_clear(failure);
  if (!ret->appends && !ret->saves)
    return 0;
  r = check_directory(ret, failure);
  return r < 0 ? service_failure_counts("redis", ret->name, ret->user, failure) : r;
}

/* ---- keys ---- */

char *instance_key(const struct instance *i) {
  CLEANUP_JSON json_t *key = describe(i);
  return key ? json_dumps(key, JSON_COMPACT) : NULL;
}

int instance_from_key(const char *key, const char *name, struct instance *ret, struct umbra_error *err) {
  *ret = (struct instance){0};
  CLEANUP_JSON json_t *json = NULL;
  int r = json_parse(key, strlen(key), "the instance's key", &json, err);
  if (r == 0)
    r = take_path(json, "socket", &ret->socket, err);
  if (r == 0)
    r = take_path(json, "host", &ret->host, err);
  if (r == 0)
    r = take_path(json, "unit", &ret->unit, err);
  if (r == 0)
    r = take_files(ret, json, err);
  if (r < 0)
    return error_prefix(err, r, "the instance's key");
  json_int_t user = json_get_integer_or(json, "user", -1), group = json_get_integer_or(json, "group", -1);
  if (user < 0 || group < 0 || user >= UINT32_MAX || group >= UINT32_MAX)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the instance's key is not what identify said");
  (void)snprintf(ret->name, sizeof ret->name, "%s", name);
  ret->pid = (pid_t)json_get_integer_or(json, "pid", 0);
  ret->start_ticks = (uint64_t)json_get_integer_or(json, "start", 0);
  ret->user = (uid_t)user;
  ret->group = (gid_t)group;
  ret->port = (int)json_get_integer_or(json, "port", 0);
  return 0;
}

int instance_open(const struct instance *i, const char *config_dir, struct server **ret, struct umbra_error *err) {
  if (!process_alive(i->pid, i->start_ticks))
    return error_set(err, -EAGAIN, UMBRA_REASON_WRITER_RETRY, "the server, process %d, has ended", (int)i->pid);
  return connect_to(i, config_dir, ret, err);
}
