/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One entry within a round.  The copy shares an inode between two names if and only if the live tree did when each
 * was copied: so a file is written in place only while its record has the same inode, and a name whose inode is
 * another is removed from the copy first.
 */
#include "providers/files/entry.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "providers/files/tree.h"
#include "providers/files/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int entry_place_open(struct walk *w, struct entry_place *place, struct umbra_error *err) {
  place->live_fd = tree_open_directory(w->live_fd, w->path, w->path_bytes, O_RDONLY);
  if (place->live_fd == -ENOENT || place->live_fd == -ENOTDIR || place->live_fd == -ELOOP || place->live_fd == -EXDEV)
    return 0;
  if (place->live_fd < 0)
    return error_code(err, place->live_fd, "opening the directory '%s'", w->path);
  int r = tree_stat(place->live_fd, "", &place->directory);
  if (r < 0)
    return error_code(err, r, "looking at the directory '%s'", w->path);
  place->copy_fd = tree_open_directory(w->copy_fd, w->path, w->path_bytes, O_RDONLY);
  if (place->copy_fd < 0)
    return error_code(err, place->copy_fd, "opening the copy of the directory '%s'", w->path);
  place->way = scope_place(w->scope, w->path, w->path_bytes) == SCOPE_WAY;
  return 1;
}

void entry_place_close(struct entry_place *place) {
  if (place->live_fd >= 0)
    (void)close(place->live_fd);
  if (place->copy_fd >= 0)
    (void)close(place->copy_fd);
}

bool entry_is_wanted(const struct walk *w, const struct entry_place *place, const char *name) {
  if (walk_is_store(w, &place->directory, name))
    return false;
  if (!place->way)
    return true;
  char *end = w->path + w->path_bytes;
  size_t length = strlen(name), separator = w->path_bytes > 0;
  if (w->path_bytes + separator + length > TABLE_PATH_BYTES_MAX)
    return false;
  /* Joined behind the path under way, and taken off again. */
  *end = '/';
  memcpy(end + separator, name, length);
  bool wanted = scope_place(w->scope, w->path, w->path_bytes + separator + length) != SCOPE_OUTSIDE;
  *end = 0;
  return wanted;
}

int entry_remove(struct entry_place *place, const char *name) {
  place->touched = true;
  return fd_remove_tree(place->copy_fd, name);
}

int entry_make_special(int copy_fd, const char *name, const struct statx *sx, const char *target,
                       struct umbra_error *err) {
  int r = S_ISLNK(sx->stx_mode) ? symlinkat(target, copy_fd, name)
                                : mknodat(copy_fd, name, (sx->stx_mode & S_IFMT) | 0600,
                                          makedev(sx->stx_rdev_major, sx->stx_rdev_minor));
  return r < 0 ? error_errno(err, "making it in the storage") : 0;
}

/* Vanished, or become something else, between two looks. */
static bool is_gone(int r) {
  return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -ENXIO || r == -ENODEV || r == -ESTALE || r == -EISDIR;
}

/* Sets the attributes of the copy to those of the live entry. 0: it is gone. */
static int copy_attributes(struct walk *w, struct entry_place *place, const char *name, const struct statx *sx,
                           struct umbra_error *err) {
  int r = attributes_read(&w->room, place->live_fd, name);
  if (is_gone(r))
    return 0;
  if (r < 0)
    return error_code(err, r, "reading its extended attributes");
  r = attributes_apply(&w->room, place->copy_fd, name, sx, w->room.block, (size_t)r, err);
  return r < 0 ? r : 1;
}

static int copy_regular(struct walk *w, struct entry_place *place, const char *name, const struct statx *sx,
                        struct table_entry_head *record, struct umbra_error *err) {
  enum lease_access access;
  CLEANUP_CLOSE int from = lease_open(&w->leases, place->live_fd, name, w->device, sx->stx_ino, &access);
  if (is_gone(from))
    return 0;
  if (from == -EWOULDBLOCK || (from >= 0 && access == LEASE_FOR_WRITING)) {
    /* A lease in the way: the next round tries again, and under the hold there is one way more. */
    record->flags |= TABLE_UNSURE;
    return 1;
  }
  if (from < 0)
    return error_code(err, from, "opening it");
  struct stat opened;
  if (fstat(from, &opened) < 0)
    return error_errno(err, "looking at it");
  if (!S_ISREG(opened.st_mode) || opened.st_ino != sx->stx_ino)
    return 0;
  CLEANUP_CLOSE int to = openat(place->copy_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
  if (to < 0)
    return error_errno(err, "making it in the storage");
  struct copy_result result;
  int r = copy_data(&w->copier, from, access == LEASE_SHARED, to, &result, err);
  if (r < 0)
    return r;
  record->size_bytes = result.size_bytes;
  if (result.cloned)
    record->flags |= TABLE_CLONED;
  return copy_attributes(w, place, name, sx, err);
}

static int copy_special(struct walk *w, struct entry_place *place, const char *name, const struct statx *sx,
                        struct umbra_error *err) {
  char target[PATH_MAX];
  if (S_ISLNK(sx->stx_mode)) {
    ssize_t n = readlinkat(place->live_fd, name, target, sizeof target - 1);
    if (n < 0 && (errno == ENOENT || errno == EINVAL))
      return 0;
    if (n < 0)
      return error_errno(err, "reading the symlink");
    target[n] = 0;
  }
  int r = entry_remove(place, name);
  if (r < 0)
    return error_code(err, r, "removing its old copy");
  r = entry_make_special(place->copy_fd, name, sx, target, err);
  return r < 0 ? r : copy_attributes(w, place, name, sx, err);
}

static int copy_directory(struct entry_place *place, const char *name, struct umbra_error *err) {
  if (mkdirat(place->copy_fd, name, 0700) == 0) {
    place->touched = true;
    return 1;
  }
  struct stat st;
  if (errno != EEXIST || fstatat(place->copy_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
    return error_errno(err, "making the directory in the storage");
  if (S_ISDIR(st.st_mode))
    return 1;
  int r = entry_remove(place, name);
  if (r < 0)
    return error_code(err, r, "removing its old copy");
  return mkdirat(place->copy_fd, name, 0700) < 0 ? error_errno(err, "making the directory in the storage") : 1;
}

/* 1: the copy is now a further name of the first one's copy; 0: this is the first, or no more links are possible. */
static int link_to_first(struct walk *w, struct entry_place *place, const char *name, const struct statx *sx,
                         struct umbra_error *err) {
  const struct link_slot *slot = links_find(&w->links, tree_device(sx), sx->stx_ino);
  const char *path, *first;
  size_t path_bytes;
  if (!slot)
    return 0;
  int r = links_path(slot, &w->new, w->block_buffer, &path, &path_bytes);
  if (r < 0)
    return error_code(err, r, "reading the table of the copy");
  CLEANUP_CLOSE int parent = tree_open_parent(w->copy_fd, path, path_bytes, &first);
  if (parent < 0)
    return error_code(err, parent, "opening the directory of its other name in the storage");
  char first_name[TABLE_NAME_BYTES_MAX + 1];
  size_t first_bytes = path_bytes - (size_t)(first - path);
  memcpy(first_name, first, first_bytes);
  first_name[first_bytes] = 0;
  struct stat mine, theirs;
  if (fstatat(parent, first_name, &theirs, AT_SYMLINK_NOFOLLOW) < 0)
    return 0; /* not copied after all (a lease in the way) */
  if (fstatat(place->copy_fd, name, &mine, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_ino == theirs.st_ino)
    return 1;
  r = entry_remove(place, name);
  if (r < 0)
    return error_code(err, r, "removing its old copy");
  if (linkat(parent, first_name, place->copy_fd, name, 0) == 0)
    return 1;
  return errno == EMLINK ? 0 : error_errno(err, "linking it to its other name in the storage");
}

/* The copy has to be made, or made again. */
static int copy_changed(struct walk *w, struct entry_place *place, const char *name,
                        const struct table_entry_head *old, const struct statx *sx, struct table_entry_head *record,
                        struct umbra_error *err) {
  bool in_place =
      old && old->inode == sx->stx_ino && S_ISREG(sx->stx_mode) && (old->flags & TABLE_TYPE_MASK) == S_IFREG >> 12;
  if (!in_place && (old || place->unsure)) {
    int r = entry_remove(place, name);
    if (r < 0)
      return error_code(err, r, "removing its old copy");
  }
  if (!in_place)
    place->touched = true;
  int r =
      S_ISREG(sx->stx_mode) ? copy_regular(w, place, name, sx, record, err) : copy_special(w, place, name, sx, err);
  w->changed_files++;
  w->changed_bytes += sx->stx_size;
  if (r == 0) {
    r = entry_remove(place, name);
    return r < 0 ? error_code(err, r, "removing its copy") : 0;
  }
  return r;
}

int entry_copy(struct walk *w, struct entry_place *place, const char *name, const struct table_entry_head *old,
               struct table_entry_head *ret, struct umbra_error *err) {
  struct statx sx;
  int r = tree_stat(place->live_fd, name, &sx);
  if (is_gone(r)) {
    r = old || place->unsure ? entry_remove(place, name) : 0;
    return r < 0 ? error_code(err, r, "removing its copy") : 0;
  }
  if (r < 0)
    return error_code(err, r, "looking at it");
  *ret = (struct table_entry_head){.inode = sx.stx_ino,
                                   .size_bytes = sx.stx_size,
                                   .ctime_ns = tree_time_ns(sx.stx_ctime),
                                   .mtime_ns = tree_time_ns(sx.stx_mtime),
                                   .flags = (uint8_t)((sx.stx_mode & S_IFMT) >> 12),
                                   .name_bytes = (uint8_t)strlen(name)};
  place->entry_device = tree_device(&sx);
  if (S_ISDIR(sx.stx_mode))
    return copy_directory(place, name, err);
  bool same = old && !(old->flags & TABLE_UNSURE) && walk_is_same(old, &sx);
  if (same)
    ret->flags = old->flags & (uint8_t)~TABLE_LINKED;
  else if (walk_is_unsure(w, ret->ctime_ns))
    ret->flags |= TABLE_UNSURE;
  if (sx.stx_nlink > 1) {
    ret->flags |= TABLE_LINKED;
    r = link_to_first(w, place, name, &sx, err);
    if (r != 0)
      return r;
  }
  r = same ? 1 : copy_changed(w, place, name, old, &sx, ret, err);
  if (r > 0 && !(ret->flags & TABLE_CLONED) && S_ISREG(sx.stx_mode))
    w->kept_bytes += sx.stx_blocks * 512;
  w->copier.stored_bytes = w->kept_bytes;
  if (ret->flags & TABLE_UNSURE)
    w->unsure_bytes += sx.stx_size;
  return r;
}

int entry_record(struct walk *w, const struct entry_place *place, const struct table_entry_head *record,
                 const char *name) {
  int r = table_writer_add(&w->new, record, name);
  if (r >= 0 && record->flags & TABLE_LINKED) {
    r = links_add(&w->links, place->entry_device, record->inode, &w->new);
  }
  return r;
}
