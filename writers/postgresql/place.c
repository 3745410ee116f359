/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turning links. See place.h. */
#include "writers/postgresql/place.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAP_BYTES_MAX = 1024 * 1024 };

/* ---- places ---- */

static bool below(const char *path, const char *directory) {
  size_t length = strcmp(directory, "/") == 0 ? 0 : strlen(directory);
  return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* True if one of the paths, of those that come back, has all of path. No paths: everything comes back. */
static bool comes_back(const json_t *paths, const char *path) {
  bool found = !paths;
  size_t i;
  const json_t *one;
  json_array_foreach(paths, i, one) {
    CLEANUP_FREE char *text = NULL;
    found = found || (json_path_value(one, &text) >= 0 && below(path, text));
  }
  return found;
}

static const json_t *saved_components(const struct umbra_writer_session *s, const json_t *document) {
  size_t i;
  const json_t *one;
  json_array_foreach(json_object_get(document, "writers"), i, one) {
    if (strcmp(json_get_string_or(one, "name", ""), "postgresql") == 0 &&
        strcmp(json_get_string_or(one, "instance", ""), umbra_writer_instance_name(s)) == 0)
      return json_object_get(json_object_get(one, "metadata"), "components");
  }
  return NULL;
}

int place_list(struct umbra_writer_session *s, struct cluster_paths *ret, bool *ret_whole) {
  const char *text = umbra_writer_document(s);
  CLEANUP_JSON json_t *document = NULL;
  struct cluster_paths list = {0};
  int r = json_parse(text, strlen(text), "backup components document", &document, NULL);
  const json_t *paths = json_object_get(json_object_get(document, "restore"), "paths");
  size_t i, k;
  const json_t *component, *set;
  *ret_whole = true;
  json_array_foreach(saved_components(s, document), i, component) {
    json_array_foreach(json_object_get(component, "files"), k, set) {
      CLEANUP_FREE char *path = NULL;
      r = r < 0 ? r : json_path_value(json_object_get(set, "path"), &path);
      if (r < 0)
        break;
      *ret_whole = *ret_whole && comes_back(paths, path);
      r = cluster_paths_add(&list, strdup(json_get_string_or(component, "name", "")),
                            umbra_writer_restore_path(s, path));
    }
  }
  if (r >= 0) {
    *ret = list;
    return 0;
  }
  cluster_paths_free(&list);
  return umbra_writer_fail(s, r, "reading which files the backup has: %s", strerror(-r));
}

/* ---- links ---- */

/* Where a directory of the original has come back to: files are saved below its real path. */
static char *new_place(const struct umbra_writer_session *s, const char *original) {
  CLEANUP_FREE char *there = umbra_writer_restore_path(s, original);
  CLEANUP_FREE char *real = realpath(original, NULL);
  struct stat st;
  if (!there || !real || stat(there, &st) == 0)
    return take_pointer(there);
  return umbra_writer_restore_path(s, real);
}

static int turn_link(struct umbra_writer_session *s, int directory_fd, const char *name) {
  char original[PATH_MAX], temporary[NAME_MAX + 1];
  struct stat st;
  ssize_t n = readlinkat(directory_fd, name, original, sizeof original - 1);
  if (n < 0)
    return errno == EINVAL || errno == ENOENT
               ? 0
               : umbra_writer_fail(s, -errno, "reading link '%s': %s", name, strerror(errno));
  original[n] = '\0';
  if (original[0] != '/')
    return 0;
  CLEANUP_FREE char *there = new_place(s, original);
  if (!there)
    return umbra_writer_fail(s, -ENOMEM, "out of memory");
  (void)snprintf(temporary, sizeof temporary, ".%.200s.new", name);
  (void)unlinkat(directory_fd, temporary, 0);
  if (symlinkat(there, directory_fd, temporary) < 0 || renameat(directory_fd, temporary, directory_fd, name) < 0)
    return umbra_writer_fail(s, -errno, "linking '%s' to '%s': %s", name, there, strerror(errno));
  return stat(there, &st) < 0 ? umbra_writer_fail(s, -errno, "'%s' has not come back: %s", there, strerror(errno))
                              : 0;
}

static int turn_tablespaces(struct umbra_writer_session *s, int data_fd) {
  int fd = openat(data_fd, "pg_tblspc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CLEANUP_CLOSEDIR DIR *links = fd < 0 ? NULL : fdopendir(fd);
  if (!links) {
    cleanup_close_fd(&fd);
    return umbra_writer_fail(s, -errno, "reading pg_tblspc: %s", strerror(errno));
  }
  int r = 0;
  /* All of them, even after one that has not come back. */
  for (struct dirent *e; (e = readdir(links));)
    if (isdigit((unsigned char)e->d_name[0])) {
      int one = turn_link(s, dirfd(links), e->d_name);
      r = r < 0 ? r : one;
    }
  return r;
}

/* Lines "OID PATH", where a backslash comes before what would end a line (read_tablespace_map()). */
static int turn_map(struct umbra_writer_session *s, int data_fd) {
  CLEANUP_FREE char *text = NULL, *turned = NULL;
  size_t length_bytes, turned_bytes;
  int r = fd_read_file(data_fd, "tablespace_map", MAP_BYTES_MAX, &text, &length_bytes);
  if (r == -ENOENT)
    return 0;
  FILE *out = r < 0 ? NULL : open_memstream(&turned, &turned_bytes);
  if (!out)
    return umbra_writer_fail(s, r < 0 ? r : -ENOMEM, "reading tablespace_map: %s", strerror(r < 0 ? -r : ENOMEM));
  char *rest = text;
  for (char *line; (line = strsep(&rest, "\n"));) {
    char *path = strchr(line, ' ');
    if (!path)
      continue;
    *path++ = '\0';
    CLEANUP_FREE char *there = new_place(s, path);
    r = there && !strpbrk(path, "\\\r") && !strpbrk(there, "\\\r\n") ? r : -EINVAL;
    (void)fprintf(out, "%s %s\n", line, there ? there : "");
  }
  if (fclose(out) != 0)
    r = -ENOMEM;
  if (r >= 0)
    r = fd_replace_file(data_fd, "tablespace_map", turned, turned_bytes, 0600, true);
  return r < 0 ? umbra_writer_fail(s, r, "writing tablespace_map: %s", strerror(-r)) : 0;
}

int place_move(struct umbra_writer_session *s, int data_fd) {
  int wal = turn_link(s, data_fd, "pg_wal");
  int tablespaces = turn_tablespaces(s, data_fd);
  int map = turn_map(s, data_fd);
  return wal < 0 ? wal : tablespaces < 0 ? tablespaces : map;
}
