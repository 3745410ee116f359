/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "providers/exec/exec-program.h"

#include "common/cleanup.h"
#include "common/strv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool name_is_possible(const char *name) {
  return name[0] != 0 && name[0] != '.' && !strchr(name, '/') && strlen(name) < EXEC_NAME_BYTES_MAX;
}

static int directory_path(const char *config_dir, char ret[PATH_MAX], struct umbra_error *err) {
  int n = snprintf(ret, PATH_MAX, "%s/providers.d", config_dir);
  return n < 0 || n >= PATH_MAX ? error_code(err, -ENAMETOOLONG, "'%s/providers.d'", config_dir) : 0;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int exec_program_list(const char *config_dir, char ***ret, struct umbra_error *err) {
  char directory[PATH_MAX];
  CLEANUP_STRV char **names = NULL;
  int r = directory_path(config_dir, directory, err);
  if (r < 0)
    return r;
  *ret = NULL;
  CLEANUP_CLOSEDIR DIR *dir = opendir(directory);
  if (!dir)
    return errno == ENOENT ? 0 : error_errno(err, "listing '%s'", directory);
  const struct dirent *entry;
  struct stat st;
  while ((entry = readdir(dir))) {
    if (!name_is_possible(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 || !S_ISREG(st.st_mode) ||
        (st.st_mode & 0111) == 0)
      continue;
    if (strv_count(names) == EXEC_PROGRAMS_MAX)
      return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d executables in '%s'", EXEC_PROGRAMS_MAX,
                       directory);
    r = strv_append(&names, entry->d_name);
    if (r < 0)
      return error_code(err, r, "listing '%s'", directory);
  }
  if (names)
    qsort(names, strv_count(names), sizeof *names, compare_names);
  *ret = take_pointer(names);
  return 0;
}

static int check_owner(const char *path, const struct stat *st, struct umbra_error *err) {
  if (st->st_uid != 0 && st->st_uid != geteuid())
    return error_set(err, -EPERM, UMBRA_REASON_ACCESS, "'%s' is not run: it belongs to user %u and not to root", path,
                     (unsigned)st->st_uid);
  if ((st->st_mode & 022) != 0)
    return error_set(err, -EPERM, UMBRA_REASON_ACCESS,
                     "'%s' is not run: others than its owner may write to it (mode %04o)", path,
                     (unsigned)(st->st_mode & 07777));
  return 0;
}

int exec_program_path(const char *config_dir, const char *name, char **ret, struct umbra_error *err) {
  char directory[PATH_MAX];
  struct stat st;
  CLEANUP_FREE char *path = NULL;
  int r = directory_path(config_dir, directory, err);
  if (r < 0)
    return r;
  if (!name_is_possible(name))
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "'%s' cannot be the name of a provider", name);
  if (asprintf(&path, "%s/%s", directory, name) < 0) {
    path = NULL;
    return error_code(err, -ENOMEM, "provider '%s'", name);
  }
  if (stat(directory, &st) < 0)
    return error_errno(err, "provider '%s': '%s'", name, directory);
  r = check_owner(directory, &st, err);
  if (r < 0)
    return r;
  if (stat(path, &st) < 0)
    return error_errno(err, "provider '%s'", path);
  r = check_owner(path, &st, err);
  if (r < 0)
    return r;
  if (!S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0)
    return error_set(err, -EACCES, UMBRA_REASON_ACCESS, "'%s' is not run: it is not an executable file", path);
  *ret = take_pointer(path);
  return 0;
}
