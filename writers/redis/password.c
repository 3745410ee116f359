/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/redis/password.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

static const char separators[] = " \t\r";

static int set(struct password *p, const char *user, const char *word) {
  free(p->user);
  free(p->word);
  p->user = user ? strdup(user) : NULL;
  p->word = strdup(word);
  return p->word && (p->user || !user) ? 0 : -ENOMEM;
}

/* "INSTANCE PASSWORD" or "INSTANCE USER PASSWORD"; INSTANCE may be a pattern; the first that fits. */
static int find_ours(const char *config_dir, const char *instance, struct password *ret, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL, *text = NULL;
  if (asprintf(&path, "%s/writers/redis.conf", config_dir) < 0)
    return error_code(err, -ENOMEM, "reading redis.conf");
  CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return errno == ENOENT ? 0 : error_errno(err, "opening '%s'", path);
  struct stat st;
  if (fstat(fd, &st) < 0 || (st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & 077)
    return error_set(err, -EPERM, UMBRA_REASON_ACCESS, "'%s' has passwords in it: it must be root's alone (mode 600)",
                     path);
  size_t length;
  int r = fd_read_to_end(fd, PASSWORD_CONF_BYTES_MAX, &text, &length);
  if (r < 0)
    return error_code(err, r, "reading '%s'", path);
  char *rest = text;
  for (char *line; (line = strsep(&rest, "\n"));) {
    char *save, *name = strtok_r(line, separators, &save), *first = strtok_r(NULL, separators, &save),
                *second = strtok_r(NULL, separators, &save);
    if (!name || name[0] == '#')
      continue;
    if (!first)
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s': '%s' has no password", path, name);
    if (fnmatch(name, instance, 0) == 0)
      return set(ret, second ? first : NULL, second ? second : first);
  }
  return 0;
}

static bool may_read(const struct stat *st, uid_t user, gid_t group) {
  return st->st_uid == user    ? st->st_mode & S_IRUSR
         : st->st_gid == group ? st->st_mode & S_IRGRP
                               : st->st_mode & S_IROTH;
}

static char *unquoted(char *word) {
  size_t length = word ? strlen(word) : 0;
  if (length < 2 || (word[0] != '"' && word[0] != '\'') || word[length - 1] != word[0])
    return word;
  word[length - 1] = '\0';
  return word + 1;
}

/* redis.conf: "requirepass WORD", if it is the configuration of this listener. */
static int find_in_file(const char *path, const char *listener, uid_t user, gid_t group, struct password *ret) {
  CLEANUP_FREE char *text = NULL;
  CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  size_t length;
  if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !may_read(&st, user, group) ||
      fd_read_to_end(fd, PASSWORD_SERVER_CONF_BYTES_MAX, &text, &length) < 0)
    return 0;
  const char *word = NULL;
  bool its_own = false;
  char *rest = text;
  for (char *line; (line = strsep(&rest, "\n"));) {
    char *save, *name = strtok_r(line, separators, &save), *value = unquoted(strtok_r(NULL, separators, &save));
    if (!name || !value)
      continue;
    if (strcmp(name, "port") == 0 || strcmp(name, "unixsocket") == 0)
      its_own = its_own || strcmp(value, listener) == 0;
    else if (strcmp(name, "requirepass") == 0)
      word = value;
  }
  return its_own && word ? set(ret, NULL, word) : 0;
}

int password_find(const char *config_dir, const char *instance, uid_t user, gid_t group, struct password *ret,
                  struct umbra_error *err) {
  *ret = (struct password){0};
  int r = find_ours(config_dir, instance, ret, err);
  const char *listener = strchr(instance, '@');
  if (r < 0 || ret->word || !listener)
    return r;
  glob_t names = {0};
  (void)glob("/etc/redis/*.conf", 0, NULL, &names);
  (void)glob("/etc/valkey/*.conf", GLOB_APPEND, NULL, &names);
  for (size_t i = 0; r == 0 && !ret->word && i < names.gl_pathc; i++)
    r = find_in_file(names.gl_pathv[i], listener + 1, user, group, ret);
  globfree(&names);
  return r < 0 ? error_code(err, r, "looking for the server's password") : 0;
}

void password_done(struct password *p) {
  if (p->word)
    explicit_bzero(p->word, strlen(p->word));
  free(p->user);
  free(p->word);
  *p = (struct password){0};
}
