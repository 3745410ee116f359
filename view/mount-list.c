/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "view/mount-list.h"

#include <errno.h>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { MOUNT_LIST_MAX = 1000000 };

bool mount_path_within(const char *path, const char *directory) {
  size_t length = strlen(directory);
  if (length == 1 && directory[0] == '/')
    return path[0] == '/';
  return strncmp(path, directory, length) == 0 && (path[length] == 0 || path[length] == '/');
}

const char *mount_path_below(const char *path, const char *directory) {
  const char *rest = path + strlen(directory);
  return rest + strspn(rest, "/");
}

int mount_path_compare(const char *a, const char *b) {
  while (*a && *a == *b) {
    a++;
    b++;
  }
  /* The end sorts before a slash, a slash before everything else. */
  int left = *a == 0 ? 0 : *a == '/' ? 1 : 2 + (unsigned char)*a;
  int right = *b == 0 ? 0 : *b == '/' ? 1 : 2 + (unsigned char)*b;
  return left - right;
}

static int compare_entries(const void *a, const void *b) {
  const struct listed_mount *left = a, *right = b;
  int order = mount_path_compare(left->target, right->target);
  return order ? order : (left->id > right->id) - (left->id < right->id);
}

static int add_entry(struct mount_list *m, struct libmnt_fs *fs) {
  const char *target = mnt_fs_get_target(fs), *root = mnt_fs_get_root(fs);
  if (!target || !root)
    return 0;
  if (m->count == MOUNT_LIST_MAX)
    return -E2BIG;
  /* The room doubles at every power of two. */
  if ((m->count & (m->count - 1)) == 0) {
    struct listed_mount *larger = realloc(m->entries, (m->count ? 2 * m->count : 1) * sizeof *larger);
    if (!larger)
      return -ENOMEM;
    m->entries = larger;
  }
  const char *options = mnt_fs_get_vfs_options(fs);
  struct listed_mount entry = {.id = mnt_fs_get_id(fs), .device = mnt_fs_get_devno(fs)};
  entry.no_exec = options && mnt_optstr_get_option(options, "noexec", NULL, NULL) == 0;
  entry.no_symlinks = options && mnt_optstr_get_option(options, "nosymfollow", NULL, NULL) == 0;
  entry.target = strdup(target);
  entry.root = strdup(root);
  m->entries[m->count++] = entry;
  return entry.target && entry.root ? 0 : -ENOMEM;
}

int mount_list_load(const char *mountinfo, struct mount_list *ret, struct umbra_error *err) {
  struct mount_list m = {0};
  struct libmnt_table *table = mnt_new_table_from_file(mountinfo);
  if (!table)
    return error_errno(err, "reading '%s'", mountinfo);
  struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
  struct libmnt_fs *fs;
  int r = iter ? 0 : -ENOMEM;
  while (r == 0 && mnt_table_next_fs(table, iter, &fs) == 0)
    r = add_entry(&m, fs);
  mnt_free_iter(iter);
  mnt_unref_table(table);
  if (r < 0) {
    mount_list_done(&m);
    return error_code(err, r, "reading '%s'", mountinfo);
  }
  if (m.count > 0)
    qsort(m.entries, m.count, sizeof *m.entries, compare_entries);
  *ret = m;
  return 0;
}

static void entry_done(struct listed_mount *e) {
  free(e->target);
  free(e->root);
}

void mount_list_done(struct mount_list *m) {
  for (size_t i = 0; i < m->count; i++)
    entry_done(&m->entries[i]);
  free(m->entries);
  *m = (struct mount_list){0};
}

static bool is_visible(struct listed_mount *e) {
  struct statx st;
  if (statx(AT_FDCWD, e->target, AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_MNT_ID, &st) < 0 ||
      !(st.stx_mask & STATX_MNT_ID) || st.stx_mnt_id != (unsigned)e->id)
    return false;
  e->directory_device = makedev(st.stx_dev_major, st.stx_dev_minor);
  return true;
}

void mount_list_keep_visible(struct mount_list *m) {
  size_t kept = 0;
  for (size_t i = 0; i < m->count; i++) {
    if (is_visible(&m->entries[i]))
      m->entries[kept++] = m->entries[i];
    else
      entry_done(&m->entries[i]);
  }
  m->count = kept;
}
