/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/openldap/server.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/process.h"
#include "umbra/writer.h"
#include "writers/apart.h"
#include "writers/service.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { ARGUMENTS_MAX = 256 };

const char *const server_programs[] = {"slapd", NULL};

void server_done(struct server *s) {
  char **owned[] = {&s->program, &s->unit, &s->configuration};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) {
    free(*owned[i]);
    *owned[i] = NULL;
  }
  databases_done(&s->databases);
}

/* ---- the process ---- */

/* Four equal ids of "Uid:\t0\t0\t0\t0", or none: what was started with others' rights is no server. */
static int one_id(const char *status, const char *name, unsigned *ret) {
  unsigned ids[4];
  const char *line = strstr(status, name);
  if (!line || sscanf(line + strlen(name), "%u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4 ||
      ids[0] != ids[1] || ids[0] != ids[2] || ids[0] != ids[3])
    return -ESRCH;
  *ret = ids[0];
  return 0;
}

static int read_user(pid_t pid, struct server *s) {
  char path[64];
  CLEANUP_FREE char *status = NULL;
  size_t length;
  (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  int r = fd_read_file(AT_FDCWD, path, SERVER_ARGUMENTS_BYTES_MAX, &status, &length);
  if (r == 0)
    r = one_id(status, "\nUid:", &s->user);
  return r < 0 ? r : one_id(status, "\nGid:", &s->group);
}

/* Of /proc/PID/exe: what runs, and its path; *ret_replaced: by a newer one, which took its place at the same path. */
static int read_program(pid_t pid, char path[PATH_MAX], struct stat *ret, bool *ret_replaced) {
  static const char deleted[] = " (deleted)";
  char link[64];
  struct stat there;
  (void)snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length <= 0 || stat(link, ret) < 0)
    return -ESRCH;
  path[length] = '\0';
  size_t end = (size_t)length - (sizeof deleted - 1);
  *ret_replaced = (size_t)length > sizeof deleted && strcmp(path + end, deleted) == 0;
  if (*ret_replaced)
    path[end] = '\0';
  /* A path of another mount namespace means another file here. */
  if (stat(path, &there) < 0 || (!*ret_replaced && (there.st_ino != ret->st_ino || there.st_dev != ret->st_dev)))
    return -ESRCH;
  return there.st_mode & (S_ISUID | S_ISGID) ? -ESRCH : 0;
}

/*
 * Its user and its program, which is run again as the user to read its configuration.  One with a set-uid bit may be
 * called slapd, and be given a configuration, by anybody.  1; 0: it is none, or not of this system; or with words.
 */
static int identify_process(pid_t pid, struct server *s, struct umbra_error *err) {
  char path[PATH_MAX], again[PATH_MAX];
  struct stat before, after;
  bool replaced;
  /* Twice: with the user of one moment no program of another is run. */
  if (read_program(pid, path, &before, &replaced) < 0 || before.st_mode & (S_ISUID | S_ISGID) ||
      read_user(pid, s) < 0 || read_program(pid, again, &after, &replaced) < 0 || strcmp(path, again) != 0 ||
      before.st_ino != after.st_ino || before.st_dev != after.st_dev)
    return 0;
  s->program = strdup(path);
  if (!s->program)
    return error_code(err, -ENOMEM, "describing process %d", (int)pid);
  service_name(s->user, path, s->name, sizeof s->name);
  if ((s->user == 0 || replaced) && !service_is_roots(path))
    return error_set(err, -EPERM, UMBRA_REASON_ACCESS,
                     "process %d: its program '%s' is not run again, since others than root may change it", (int)pid,
                     path);
  return 1;
}

/* ---- its arguments ---- */

struct arguments {
  const char *file, *directory; /* -f, -F; NULL */
  bool tool, elsewhere;         /* -T; -r: its files are below another root */
};

static void parse_arguments(int count, char **list, struct arguments *ret) {
  int option;
  optind = 0; /* glibc: from the beginning */
  opterr = 0;
  while ((option = getopt(count, list, "46c:d:f:F:g:h:l:n:o:r:s:S:tT:u:V")) != -1)
    switch (option) {
    case 'f':
      ret->file = optarg;
      break;
    case 'F':
      ret->directory = optarg;
      break;
    case 'T':
      ret->tool = true;
      break;
    case 'r':
      ret->elsewhere = true;
      break;
    default:
      break;
    }
}

/* Where slapd looks that is told nothing, of Debian and of everybody else. */
static const char *usual_configuration(bool *ret_is_directory) {
  static const char *const places[] = {"/etc/ldap/slapd.d", "/etc/openldap/slapd.d", "/etc/ldap/slapd.conf",
                                       "/etc/openldap/slapd.conf"};
  struct stat st;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    if (stat(places[i], &st) == 0) {
      *ret_is_directory = S_ISDIR(st.st_mode);
      return places[i];
    }
  return NULL;
}

/* 1, or 0: it is none that serves; or with words. */
static int find_configuration(pid_t pid, struct server *s, struct umbra_error *err) {
  char path[64], *list[ARGUMENTS_MAX + 1];
  CLEANUP_FREE char *text = NULL;
  size_t length;
  int count = 0;
  struct arguments a = {0};
  (void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
  if (fd_read_file(AT_FDCWD, path, SERVER_ARGUMENTS_BYTES_MAX, &text, &length) < 0 || length == 0)
    return 0;
  for (size_t at = 0; at < length && count < ARGUMENTS_MAX; at += strlen(text + at) + 1)
    list[count++] = text + at;
  list[count] = NULL;
  parse_arguments(count, list, &a);
  if (a.tool)
    return 0;
  s->is_directory = a.directory != NULL;
  const char *found = a.directory ? a.directory : a.file ? a.file : usual_configuration(&s->is_directory);
  service_name(s->user, found ? found : "", s->name, sizeof s->name);
  if (a.elsewhere)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_WRITER,
                     "process %d has another root directory (-r): its files are not found", (int)pid);
  if (!found || found[0] != '/')
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND,
                     "process %d: where its configuration is cannot be seen (-F or -f with an absolute path)",
                     (int)pid);
  s->configuration = strdup(found);
  return s->configuration ? 1 : error_code(err, -ENOMEM, "describing process %d", (int)pid);
}

/* ---- keys, which are what the interview answers, too ---- */

static json_t *describe(const struct server *s) {
  CLEANUP_JSON json_t *databases = json_array();
  for (size_t i = 0; i < s->databases.count; i++) {
    const struct database *d = &s->databases.list[i];
    (void)json_array_append_new(databases, json_pack("{s:o, s:o, s:b}", "name", json_path(d->name), "directory",
                                                     json_path(d->directory), "unsynced", d->unsynced));
  }
  return json_pack("{s:i, s:I, s:I, s:I, s:o, s:o, s:b, s:O}", "pid", (int)s->pid, "start",
                   (json_int_t)s->start_ticks, "user", (json_int_t)s->user, "group", (json_int_t)s->group, "unit",
                   s->unit ? json_path(s->unit) : json_null(), "configuration", json_path(s->configuration),
                   "is_directory", s->is_directory, "databases", databases);
}

static int take_database(const json_t *one, struct database *ret) {
  CLEANUP_FREE char *name = NULL, *directory = NULL;
  if (json_path_value(json_object_get(one, "name"), &name) < 0 ||
      json_path_value(json_object_get(one, "directory"), &directory) < 0 || directory[0] != '/')
    return -EINVAL;
  (void)snprintf(ret->name, sizeof ret->name, "%s", name);
  ret->directory = take_pointer(directory);
  ret->unsynced = json_get_boolean_or(one, "unsynced", false);
  return 0;
}

static int take_databases(const json_t *json, struct databases *ret, struct umbra_error *err) {
  const json_t *list = json_object_get(json, "databases"), *one;
  size_t i;
  bool sound = json_is_array(list) && json_array_size(list) <= DATABASES_MAX;
  if (sound)
    json_array_foreach(list, i, one) {
      sound = take_database(one, &ret->list[ret->count]) == 0;
      if (!sound)
        break;
      ret->count++;
    }
  return sound ? 0 : error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the server does not say where its databases are");
}

/* In a process of the server's user: {"databases": […]}, or {"failure": "…", "code": …}. */
static json_t *interview(const void *subject) {
  struct server s = *(const struct server *)subject;
  struct umbra_error err = {0};
  int r = geteuid() == 0 ? umbra_writer_become(s.user, s.group) : 0;
  if (r < 0)
    (void)error_code(&err, r, "becoming the server's user");
  else
    r = databases_read(s.program, s.configuration, s.is_directory, &s.databases, &err);
  return r < 0 ? json_pack("{s:o, s:i}", "failure", json_path(err.message), "code", r) : describe(&s);
}

static int learn_databases(struct server *s, struct umbra_error *err) {
  CLEANUP_JSON json_t *answer = NULL;
  CLEANUP_FREE char *words = NULL;
  int r = apart_ask(interview, s, APART_S, &answer, err);
  if (r < 0)
    return r;
  if (json_path_value(json_object_get(answer, "failure"), &words) == 0)
    return error_set(err, -EIO, UMBRA_REASON_WRITER, "%s", words);
  return take_databases(answer, &s->databases, err);
}

/* Anybody may call a program slapd: what it says counts only for what is its own. 1, 0: its files are not ours. */
static int check_directories(const struct server *s, struct umbra_error *err) {
  for (size_t i = 0; i < s->databases.count; i++) {
    const char *directory = s->databases.list[i].directory;
    char path[PATH_MAX];
    struct stat its, ours;
    if ((size_t)snprintf(path, sizeof path, "/proc/%d/root%s", (int)s->pid, directory) >= sizeof path ||
        stat(path, &its) < 0 || stat(directory, &ours) < 0 || its.st_ino != ours.st_ino || its.st_dev != ours.st_dev)
      return 0;
    if (s->user != 0 && ours.st_uid != s->user)
      return error_set(err, -EPERM, UMBRA_REASON_ACCESS,
                       "process %d says that a database is in '%s', which is not its user's", (int)s->pid, directory);
  }
  return 1;
}

int server_examine(pid_t pid, struct server *ret, struct umbra_error *failure) {
  *ret = (struct server){.pid = pid};
  if (process_start_ticks(pid, &ret->start_ticks) < 0)
    return 0;
  int r = identify_process(pid, ret, failure);
  if (r > 0)
    r = find_configuration(pid, ret, failure);
  if (r == 0)
    return 0;
  ret->unit = service_unit(pid);
  if (r > 0)
    r = learn_databases(ret, failure);
  if (r >= 0)
    r = ret->databases.count > 0 ? check_directories(ret, failure) : 0;
  return r < 0 ? service_failure_counts("openldap", ret->name, ret->user, failure) : r;
}

char *server_key(const struct server *s) {
  CLEANUP_JSON json_t *key = describe(s);
  return key ? json_dumps(key, JSON_COMPACT) : NULL;
}

int server_from_key(const char *key, const char *name, struct server *ret, struct umbra_error *err) {
  *ret = (struct server){0};
  CLEANUP_JSON json_t *json = NULL;
  int r = json_parse(key, strlen(key), "the instance's key", &json, err);
  if (r == 0)
    r = take_databases(json, &ret->databases, err);
  if (r < 0)
    return error_prefix(err, r, "the instance's key");
  json_int_t user = json_get_integer_or(json, "user", -1), group = json_get_integer_or(json, "group", -1);
  const json_t *unit = json_object_get(json, "unit");
  if (user < 0 || group < 0 || user >= UINT32_MAX || group >= UINT32_MAX ||
      json_path_value(json_object_get(json, "configuration"), &ret->configuration) < 0 ||
      (json_is_string(unit) && json_path_value(unit, &ret->unit) < 0))
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the instance's key is not what identify said");
  (void)snprintf(ret->name, sizeof ret->name, "%s", name);
  ret->pid = (pid_t)json_get_integer_or(json, "pid", 0);
  ret->start_ticks = (uint64_t)json_get_integer_or(json, "start", 0);
  ret->user = (uid_t)user;
  ret->group = (gid_t)group;
  ret->is_directory = json_get_boolean_or(json, "is_directory", false);
  return 0;
}

/* ---- who has it open ---- */

struct user_search {
  char data[PATH_MAX]; /* the database's file, without links */
  pid_t found;
};

static int look_at(pid_t pid, void *userdata) {
  struct user_search *search = userdata;
  char path[64], target[PATH_MAX];
  size_t length = strlen(search->data);
  (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
  CLEANUP_CLOSEDIR DIR *dir = opendir(path);
  for (const struct dirent *e; dir && search->found == 0 && (e = readdir(dir));) {
    ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    /* One that was deleted since has more words after its path. */
    if (strncmp(target, search->data, length) == 0 && (target[length] == '\0' || target[length] == ' '))
      search->found = pid;
  }
  return 0;
}

pid_t server_that_uses(const char *directory) {
  struct user_search search = {0};
  CLEANUP_FREE char *real = realpath(directory, NULL);
  if (!real || (size_t)snprintf(search.data, sizeof search.data, "%s/data.mdb", real) >= sizeof search.data)
    return 0;
  (void)service_each(server_programs, look_at, &search, NULL);
  return search.found;
}
