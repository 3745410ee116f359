/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/mariadb/instance.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/process.h"
#include "common/strv.h"
#include "umbra/writer.h"
#include "writers/apart.h"
#include "writers/listeners.h"
#include "writers/service.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

const char *const instance_programs[] = {"mariadbd", "mysqld", NULL};

void instance_done(struct instance *i) {
  free(i->socket);
  free(i->unit);
  free(i->page_size);
  strv_free(i->directories);
  *i = (struct instance){0};
}

/* ---- connecting ---- */

/* 1: *ret is the file of options; 0: there is none; negative: it is not root's alone. */
static int find_options(const char *config_dir, char **ret, struct umbra_error *err) {
  struct stat st;
  if (asprintf(ret, "%s/writers/mariadb.conf", config_dir) < 0) {
    *ret = NULL;
    return error_code(err, -ENOMEM, "looking for mariadb.conf");
  }
  if (lstat(*ret, &st) < 0)
    return errno == ENOENT ? 0 : error_errno(err, "looking at '%s'", *ret);
  if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & 077)
    return error_set(err, -EPERM, UMBRA_REASON_ACCESS,
                     "'%s' has a password in it: it must be root's alone (mode 600)", *ret);
  return 1;
}

static int become(const struct instance *i, struct umbra_error *err) {
  int r = geteuid() == 0 ? umbra_writer_become(i->user, i->group) : 0;
  return r < 0 ? error_code(err, r, "becoming the server's user") : 0;
}

int instance_open(const struct instance *i, const char *config_dir, struct server **ret, struct umbra_error *err) {
  CLEANUP_FREE char *options = NULL;
  if (!process_alive(i->pid, i->start_ticks))
    return error_set(err, -EAGAIN, UMBRA_REASON_WRITER_RETRY, "the server, process %d, has ended", (int)i->pid);
  int r = find_options(config_dir, &options, err);
  if (r < 0)
    return r;
  if (r > 0) {
    r = server_open(i->socket, NULL, options, ret, err);
    return r < 0 ? r : become(i, err);
  }
  /* Its own user may have a name before and not after. */
  const struct passwd *p = getpwuid(i->user);
  CLEANUP_FREE char *user = p ? strdup(p->pw_name) : NULL;
  if (!user)
    return error_set(err, -EACCES, UMBRA_REASON_ACCESS,
                     "the server's user has no name: '%s' has to say as whom to connect", options);
  r = become(i, err);
  return r < 0 ? r : server_open(i->socket, user, NULL, ret, err);
}

/* ---- what a server says of itself ---- */

static const char *const directory_variables[] = {"@@datadir", "@@innodb_data_home_dir",
                                                  "@@innodb_log_group_home_dir", "@@innodb_undo_directory",
                                                  "@@aria_log_dir_path"};

static bool below(const char *path, const char *directory) {
  size_t length = strlen(directory);
  return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Adds the directory unless one that is there has it. */
static int add_directory(char ***list, const char *name, struct umbra_error *err) {
  CLEANUP_FREE char *path = realpath(name, NULL);
  if (!path)
    return error_errno(err, "looking at '%s', where the server says that its files are", name);
  for (char **one = *list; one && *one; one++)
    if (below(path, *one))
      return 0;
  return strv_append(list, path) < 0 ? error_code(err, -ENOMEM, "noting '%s'", path) : 0;
}

static int learn_directories(struct server *s, char ***ret, struct umbra_error *err) {
  CLEANUP_FREE char *log = NULL;
  int r = 0;
  for (size_t k = 0; r == 0 && k < sizeof directory_variables / sizeof *directory_variables; k++) {
    CLEANUP_FREE char *value = NULL;
    char statement[96];
    (void)snprintf(statement, sizeof statement, "SELECT %s", directory_variables[k]);
    /* MySQL does not know the last one. Relative to the data directory the others are in it. */
    if (server_ask(s, statement, &value, NULL, err) < 0 && k > 0)
      continue;
    if (value && value[0] == '/')
      r = add_directory(ret, value, err);
  }
  if (r == 0 && server_ask(s, "SELECT @@log_bin_basename", &log, NULL, err) == 0 && log && log[0] == '/') {
    *strrchr(log, '/') = '\0';
    r = add_directory(ret, log[0] ? log : "/", err);
  }
  if (r == 0 && !*ret)
    r = error_set(err, -EBADMSG, UMBRA_REASON_INVALID, "the server does not say where its files are");
  if (r == 0)
    error_clear(err);
  return r;
}

struct interviewed {
  const struct instance *instance;
  const char *config_dir;
};

/* In a process of the server's user: {"directories": […], "page_size": "…"} or {"failure": "…"}. */
static json_t *interview(const void *subject) {
  const struct interviewed *asked = subject;
  struct umbra_error err = {0};
  struct server *s = NULL;
  CLEANUP_STRV char **directories = NULL;
  CLEANUP_FREE char *page_size = NULL;
  int r = instance_open(asked->instance, asked->config_dir, &s, &err);
  if (r == 0)
    r = learn_directories(s, &directories, &err);
  if (r == 0)
    r = server_ask(s, "SELECT @@innodb_page_size", &page_size, NULL, &err);
  server_close(s);
  if (r < 0)
    return json_pack("{s:o}", "failure", json_path(err.message));
  json_t *list = json_array();
  for (char **one = directories; *one; one++)
    (void)json_array_append_new(list, json_path(*one));
  return json_pack("{s:o, s:s}", "directories", list, "page_size", page_size ? page_size : "16384");
}

static int take_answer(struct instance *i, const json_t *answer, struct umbra_error *failure) {
  const char *words = json_get_string_or(answer, "failure", NULL);
  if (words)
    return error_set(failure, -EACCES, UMBRA_REASON_WRITER, "%s", words);
  size_t k;
  const json_t *one;
  json_array_foreach(json_object_get(answer, "directories"), k, one) {
    char *path;
    int r = json_path_value(one, &path);
    if (r == 0)
      r = strv_append_take(&i->directories, path);
    if (r < 0)
      return error_code(failure, r, "taking the server's directories");
  }
  free(i->page_size);
  i->page_size = strdup(json_get_string_or(answer, "page_size", "16384"));
  return i->directories && i->page_size ? 0 : error_code(failure, -EBADMSG, "taking what the server says");
}

/* ---- finding ---- */

/*
 * 1: its directories are the same ones here; 0: they are not, as with a container; or what is wrong with them.
 * Anybody may call a program mariadbd: what it says counts only for what is its own.
 */
static int check_directories(const struct instance *i, struct umbra_error *err) {
  for (char **one = i->directories; *one; one++) {
    char name[PATH_MAX];
    struct stat its, ours;
    if ((*one)[0] != '/' ||
        (size_t)snprintf(name, sizeof name, "/proc/%d/root%s", (int)i->pid, *one) >= sizeof name ||
        stat(name, &its) < 0 || stat(*one, &ours) < 0 || its.st_ino != ours.st_ino || its.st_dev != ours.st_dev)
      return 0;
    if (ours.st_uid != i->user)
      return error_set(err, -EPERM, UMBRA_REASON_ACCESS,
                       "process %d says that its files are in '%s', which is not its user's", (int)i->pid, *one);
  }
  return 1;
}

int instance_examine(pid_t pid, const char *config_dir, struct instance *ret, struct umbra_error *failure) {
  struct listener at[LISTENERS_MAX];
  char path[64];
  struct stat st;
  *ret = (struct instance){0};
  size_t count = listeners_of(pid, at);
  (void)snprintf(path, sizeof path, "/proc/%d", (int)pid);
  if (count == 0 || !at[0].path[0] || stat(path, &st) < 0 || process_start_ticks(pid, &ret->start_ticks) < 0)
    return 0;
  ret->pid = pid;
  ret->user = st.st_uid;
  ret->group = st.st_gid;
  ret->unit = service_unit(pid);
  service_name(ret->user, at[0].path, ret->name, sizeof ret->name);
  if (asprintf(&ret->socket, "/proc/%d/root%s", (int)pid, at[0].path) < 0) {
    ret->socket = NULL;
    return 0;
  }
  CLEANUP_JSON json_t *answer = NULL;
  int r = apart_ask(interview, &(struct interviewed){ret, config_dir}, APART_S, &answer, failure);
  if (r == 0)
    r = take_answer(ret, answer, failure);
  if (r == 0)
    r = check_directories(ret, failure);
  return r < 0 ? service_failure_counts("mariadb", ret->name, ret->user, failure) : r;
}

/* ---- keys ---- */

char *instance_key(const struct instance *i) {
  json_t *directories = json_array();
  for (char **one = i->directories; one && *one; one++)
    (void)json_array_append_new(directories, json_path(*one));
  CLEANUP_JSON json_t *key =
      json_pack("{s:i, s:I, s:I, s:I, s:o, s:s?, s:s, s:o}", "pid", (int)i->pid, "start", (json_int_t)i->start_ticks,
                "user", (json_int_t)i->user, "group", (json_int_t)i->group, "socket", json_path(i->socket), "unit",
                i->unit, "page_size", i->page_size, "directories", directories);
  return key ? json_dumps(key, JSON_COMPACT) : NULL;
}

int instance_from_key(const char *key, const char *name, struct instance *ret, struct umbra_error *err) {
  *ret = (struct instance){0};
  CLEANUP_JSON json_t *json = NULL;
  int r = json_parse(key, strlen(key), "the instance's key", &json, err);
  if (r < 0)
    return r;
  const char *unit = json_get_string_or(json, "unit", NULL);
  json_int_t user = json_get_integer_or(json, "user", -1), group = json_get_integer_or(json, "group", -1);
  if (user < 0 || group < 0 || user >= UINT32_MAX || group >= UINT32_MAX ||
      json_path_value(json_object_get(json, "socket"), &ret->socket) < 0)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the instance's key is not what identify said");
  (void)snprintf(ret->name, sizeof ret->name, "%s", name);
  ret->pid = (pid_t)json_get_integer_or(json, "pid", 0);
  ret->start_ticks = (uint64_t)json_get_integer_or(json, "start", 0);
  ret->user = (uid_t)user;
  ret->group = (gid_t)group;
  if (unit && !(ret->unit = strdup(unit)))
    return error_code(err, -ENOMEM, "taking the instance's key");
  return take_answer(ret, json, err);
}
