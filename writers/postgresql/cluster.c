/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding clusters. See cluster.h. */
#include "writers/postgresql/cluster.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEBIAN_CONFIG "/etc/postgresql"
#define DEBIAN_DATA "/var/lib/postgresql"

enum { SMALL_FILE_BYTES_MAX = 1024 * 1024, NAME_BYTES_MAX = 64 };

void cluster_free(struct cluster *c) {
  free(c->name);
  free(c->data_directory);
  free(c->unit);
  free(c->socket_directory);
  *c = (struct cluster){0};
}

void clusters_free(struct cluster *list, size_t count) {
  for (size_t i = 0; i < count; i++)
    cluster_free(&list[i]);
  free(list);
}

/* ---- postmaster.pid ---- */

static bool same_directory(const char *a, const char *b) {
  struct stat x, y;
  return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Each server process has its data directory as working directory, and only the postmaster is in postmaster.pid. */
static bool works_in(pid_t pid, const char *directory) {
  char cwd[64];
  (void)snprintf(cwd, sizeof cwd, "/proc/%d/cwd", (int)pid);
  return same_directory(cwd, directory);
}

/* Lines: pid, data directory, start time, port, first socket directory, first listen address, shared memory, status.
 */
static int read_postmaster_file(const char *directory, char **ret) {
  size_t length_bytes;
  CLEANUP_CLOSE int fd = fd_open_directory(directory);
  return fd < 0 ? fd : fd_read_file(fd, "postmaster.pid", SMALL_FILE_BYTES_MAX, ret, &length_bytes);
}

static pid_t running_pid(const char *first_line, const char *directory) {
  long pid = labs(strtol(first_line, NULL, 10)); /* negative: a server of a single user, which is one all the same */
  /* Left behind by a machine that lost power, the number may be somebody else's by now. */
  return pid > 0 && pid <= INT_MAX && works_in((pid_t)pid, directory) ? (pid_t)pid : 0;
}

pid_t cluster_postmaster(const char *data_directory) {
  CLEANUP_FREE char *text = NULL;
  return read_postmaster_file(data_directory, &text) < 0 ? 0 : running_pid(text, data_directory);
}

int cluster_look(struct cluster *c) {
  struct stat st;
  CLEANUP_FREE char *text = NULL;
  free(c->socket_directory);
  c->socket_directory = NULL;
  c->postmaster = 0;
  c->port = 0;
  c->exists = stat(c->data_directory, &st) == 0 && S_ISDIR(st.st_mode);
  if (!c->exists)
    return 0;
  c->owner = st.st_uid;
  c->group = st.st_gid;
  int r = read_postmaster_file(c->data_directory, &text);
  if (r < 0)
    return r == -ENOENT ? 0 : r;
  char *rest = text, *line;
  for (unsigned number = 1; (line = strsep(&rest, "\n")) && number <= 5; number++) {
    if (number == 1 && (c->postmaster = running_pid(line, c->data_directory)) == 0)
      return 0;
    if (number == 4)
      c->port = (unsigned)strtoul(line, NULL, 10);
    if (number == 5 && line[0] == '/' && !(c->socket_directory = strdup(line)))
      return -ENOMEM;
  }
  return 0;
}

/* ---- all of them ---- */

struct found {
  struct cluster *list;
  size_t count;
};

static struct cluster *known(const struct found *found, const char *directory) {
  for (size_t i = 0; i < found->count; i++)
    if (strcmp(found->list[i].data_directory, directory) == 0 ||
        same_directory(found->list[i].data_directory, directory))
      return &found->list[i];
  return NULL;
}

/* What an instance may be called (umbra-writers(7)). */
static bool fits_name(const char *text) {
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/@:";
  return strlen(text) <= NAME_BYTES_MAX && text[strspn(text, allowed)] == '\0';
}

/* name NULL: to be called after its data directory, as several may have one port, or after its port if that cannot
 * be. */
static int note(struct found *found, const char *name, const char *directory, const char *unit) {
  CLEANUP_FREE char *real = realpath(directory, NULL);
  if (!real && !(real = strdup(directory)))
    return -ENOMEM;
  if (known(found, real))
    return 0;
  if (found->count == CLUSTERS_MAX)
    return -E2BIG;
  struct cluster *larger = realloc(found->list, (found->count + 1) * sizeof *larger);
  if (!larger)
    return -ENOMEM;
  found->list = larger;
  struct cluster *c = &larger[found->count];
  *c = (struct cluster){.data_directory = take_pointer(real)};
  found->count++;
  int r = cluster_look(c);
  if (r >= 0 && unit && !(c->unit = strdup(unit)))
    r = -ENOMEM;
  if (!name && fits_name(c->data_directory))
    name = c->data_directory;
  if (r >= 0 && (name ? !(c->name = strdup(name)) : asprintf(&c->name, "%u", c->port) < 0)) {
    c->name = NULL;
    r = -ENOMEM;
  }
  return r;
}

/* The value of a line data_directory = 'PATH' of postgresql.conf; NULL: none. */
static char *configured_data_directory(const char *config_directory) {
  CLEANUP_CLOSE int fd = fd_open_directory(config_directory);
  CLEANUP_FREE char *text = NULL;
  size_t length_bytes;
  char *value = NULL, *rest;
  if (fd < 0 || fd_read_file(fd, "postgresql.conf", SMALL_FILE_BYTES_MAX, &text, &length_bytes) < 0)
    return NULL;
  rest = text;
  for (char *line; (line = strsep(&rest, "\n"));) {
    static const char key[] = "data_directory";
    line += strspn(line, " \t");
    if (strncasecmp(line, key, strlen(key)) != 0)
      continue;
    line += strlen(key);
    line += strspn(line, " \t=");
    char *end = *line == '\'' ? strchr(line + 1, '\'') : NULL;
    if (!end)
      continue;
    free(value); /* the last one counts */
    value = strndup(line + 1, (size_t)(end - line - 1));
  }
  return value;
}

static int note_debian(struct found *found, const char *version, const char *name) {
  CLEANUP_FREE char *config = NULL, *directory = NULL, *full = NULL, *unit = NULL;
  if (asprintf(&config, DEBIAN_CONFIG "/%s/%s", version, name) < 0 || asprintf(&full, "%s/%s", version, name) < 0 ||
      asprintf(&unit, "postgresql@%s-%s.service", version, name) < 0)
    return -ENOMEM;
  struct stat st;
  if (stat(config, &st) < 0 || !S_ISDIR(st.st_mode))
    return 0;
  directory = configured_data_directory(config);
  if (!directory && asprintf(&directory, DEBIAN_DATA "/%s/%s", version, name) < 0)
    return -ENOMEM;
  return note(found, full, directory, unit);
}

/* Calls each(version, name) for the directories two levels below DEBIAN_CONFIG. */
static int find_debian(struct found *found) {
  CLEANUP_CLOSEDIR DIR *versions = opendir(DEBIAN_CONFIG);
  int r = 0;
  for (struct dirent *version; versions && r >= 0 && (version = readdir(versions));) {
    CLEANUP_FREE char *path = NULL;
    if (!isdigit((unsigned char)version->d_name[0]))
      continue;
    if (asprintf(&path, DEBIAN_CONFIG "/%s", version->d_name) < 0) {
      path = NULL;
      return -ENOMEM;
    }
    CLEANUP_CLOSEDIR DIR *names = opendir(path);
    for (struct dirent *name; names && r >= 0 && (name = readdir(names));)
      if (name->d_name[0] != '.')
        r = note_debian(found, version->d_name, name->d_name);
  }
  return r;
}

static bool is_postgres(const char *pid) {
  char path[64], name[32] = "";
  (void)snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
  CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
  return n > 0 && strcmp(name, "postgres\n") == 0;
}

static int find_running(struct found *found) {
  CLEANUP_CLOSEDIR DIR *processes = opendir("/proc");
  if (!processes)
    return -errno;
  int r = 0;
  for (struct dirent *e; r >= 0 && (e = readdir(processes));) {
    char link[64], directory[PATH_MAX];
    if (!isdigit((unsigned char)e->d_name[0]) || !is_postgres(e->d_name))
      continue;
    (void)snprintf(link, sizeof link, "/proc/%.20s/cwd", e->d_name);
    ssize_t n = readlink(link, directory, sizeof directory - 1);
    if (n <= 0)
      continue;
    directory[n] = '\0';
    /* In a container the path is another directory here, or the pid another number there: not this machine's. */
    if (same_directory(link, directory) && cluster_postmaster(directory) == atoi(e->d_name))
      r = note(found, NULL, directory, NULL);
  }
  return r;
}

int clusters_find(const struct config *config, struct cluster **ret, size_t *ret_count) {
  struct found found = {0};
  int r = 0;
  for (size_t i = 0; i < config->cluster_count && r >= 0; i++)
    r = note(&found, config->clusters[i].name, config->clusters[i].directory, config->clusters[i].unit);
  if (r >= 0)
    r = find_debian(&found);
  if (r >= 0)
    r = find_running(&found);
  if (r < 0) {
    clusters_free(found.list, found.count);
    return r;
  }
  *ret = found.list;
  *ret_count = found.count;
  return 0;
}

int cluster_find(const struct config *config, const char *name, const char *data_directory, struct cluster *ret) {
  struct cluster *list = NULL;
  size_t count = 0;
  int r = clusters_find(config, &list, &count);
  if (r < 0)
    return r;
  r = -ENOENT;
  for (size_t i = 0; i < count && r < 0; i++)
    if (strcmp(list[i].data_directory, data_directory) == 0 && (!name || strcmp(list[i].name, name) == 0)) {
      *ret = list[i];
      list[i] = (struct cluster){0};
      r = 0;
    }
  clusters_free(list, count);
  return r;
}

/* ---- where its files are ---- */

void cluster_paths_free(struct cluster_paths *p) {
  for (size_t i = 0; i < p->count; i++) {
    free(p->list[i].component);
    free(p->list[i].path);
  }
  free(p->list);
  *p = (struct cluster_paths){0};
}

int cluster_paths_add(struct cluster_paths *p, char *component, char *path) {
  struct cluster_path *larger =
      component && path && p->count < CLUSTER_PATHS_MAX ? realloc(p->list, (p->count + 1) * sizeof *larger) : NULL;
  if (!larger) {
    free(component);
    free(path);
    return p->count < CLUSTER_PATHS_MAX ? -ENOMEM : -E2BIG;
  }
  p->list = larger;
  larger[p->count++] = (struct cluster_path){component, path};
  return 0;
}

static int add_link(struct cluster_paths *p, const char *directory, const char *name, char *component) {
  CLEANUP_FREE char *path = NULL;
  struct stat st;
  if (asprintf(&path, "%s/%s", directory, name) < 0)
    path = NULL;
  if (!path || lstat(path, &st) < 0 || !S_ISLNK(st.st_mode)) {
    free(component);
    return path ? 0 : -ENOMEM;
  }
  char *target = realpath(path, NULL);
  if (!target && errno == ENOENT) { /* of a volume that is not mounted: nothing to copy, and the server's trouble */
    free(component);
    return 0;
  }
  return cluster_paths_add(p, component, target);
}

int cluster_paths(const char *data_directory, struct cluster_paths *ret) {
  struct cluster_paths p = {0};
  CLEANUP_FREE char *links = NULL;
  int r = asprintf(&links, "%s/pg_tblspc", data_directory) < 0 ? -ENOMEM : 0;
  if (r < 0)
    links = NULL;
  else
    r = cluster_paths_add(&p, strdup("data"), strdup(data_directory));
  if (r >= 0)
    r = add_link(&p, data_directory, "pg_wal", strdup("wal"));
  CLEANUP_CLOSEDIR DIR *tablespaces = r < 0 ? NULL : opendir(links);
  for (struct dirent *e; tablespaces && r >= 0 && (e = readdir(tablespaces));) {
    char *component = NULL;
    if (!isdigit((unsigned char)e->d_name[0]))
      continue;
    r = asprintf(&component, "tablespace-%s", e->d_name) < 0 ? -ENOMEM : add_link(&p, links, e->d_name, component);
  }
  if (r < 0)
    cluster_paths_free(&p);
  else
    *ret = p;
  return r;
}

bool cluster_paths_contain(const struct cluster_paths *p, const char *path) {
  for (size_t i = 0; i < p->count; i++)
    if (strcmp(p->list[i].path, path) == 0)
      return true;
  return false;
}

bool cluster_paths_spread(const struct cluster_paths *p) {
  struct stat first, st;
  for (size_t i = 0; i < p->count; i++)
    if (stat(p->list[i].path, i == 0 ? &first : &st) < 0 || (i > 0 && st.st_dev != first.st_dev))
      return true;
  return false;
}
