/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files, links and nodes of a restore. See restore-file.h. */
#include "backup/restore-file.h"

#include "backup/file-flags.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

int restore_file_remove(int dir_fd, const char *name, struct umbra_error *err) {
  if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
    return 0;
  if (errno == EISDIR || errno == EPERM) {
    file_flags_unlock(dir_fd, name);
    if (unlinkat(dir_fd, name, 0) == 0)
      return 0;
  }
  if (errno == EISDIR || errno == EPERM) {
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
      return 0;
    if (errno == ENOTEMPTY || errno == EEXIST)
      return error_set(err, -ENOTEMPTY, UMBRA_REASON_BUSY,
                       "a directory with files that the backup does not know is in its place; move it away");
  }
  return error_errno(err, "removing what is in its place");
}

int restore_file_begin(struct restore_file *f, int dir_fd, const char *name, bool keep, uint32_t flags,
                       struct umbra_error *err) {
  *f = (struct restore_file){.dir_fd = dir_fd, .name = name};
  f->fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  int r = f->fd < 0 ? -errno : 0;
  if (r == -EEXIST && keep)
    return r;
  if (r == -EEXIST)
    r = f->fd = temporary_make(dir_fd, f->temporary);
  if (r < 0)
    return error_code(err, r, "making the file");
  /* What it cannot have is counted at the end, with the others. */
  if (flags & FS_NOCOW_FL)
    (void)file_flags_set(f->fd, FS_NOCOW_FL, flags);
  return 0;
}

void restore_file_abandon(struct restore_file *f) {
  if (f->fd < 0)
    return;
  (void)close(f->fd);
  f->fd = -1;
  (void)unlinkat(f->dir_fd, f->temporary[0] ? f->temporary : f->name, 0);
}

static int take_place(struct restore_file *f, struct umbra_error *err) {
  if (f->temporary[0] == '\0')
    return 0;
  if (renameat(f->dir_fd, f->temporary, f->dir_fd, f->name) == 0)
    return 0;
  if (errno != EISDIR && errno != EPERM)
    return error_errno(err, "giving the file its name");
  int r = restore_file_remove(f->dir_fd, f->name, err);
  if (r < 0)
    return r;
  return renameat(f->dir_fd, f->temporary, f->dir_fd, f->name) < 0 ? error_errno(err, "giving the file its name") : 0;
}

int restore_file_finish(struct restore_file *f, const struct basics *basics, const struct metadata *a,
                        bool privileged, unsigned *skipped, struct umbra_error *err) {
  int r = metadata_apply(basics, a, f->fd, -1, NULL, privileged, skipped, err);
  if (r == 0)
    r = take_place(f, err);
  if (r < 0) {
    restore_file_abandon(f);
    return r;
  }
  struct stat st;
  if (fstat(f->fd, &st) == 0) {
    f->device = st.st_dev;
    f->inode = st.st_ino;
  }
  r = close(f->fd) < 0 ? error_errno(err, "closing the file") : 0;
  f->fd = -1;
  return r;
}

static int make_special(int dir_fd, const char *name, const struct index_record *record) {
  switch (record->kind) {
  case INDEX_SYMLINK:
    return symlinkat(record->target, dir_fd, name) < 0 ? -errno : 0;
  case INDEX_FIFO:
    return mknodat(dir_fd, name, S_IFIFO | 0600, 0) < 0 ? -errno : 0;
  case INDEX_CHARACTER:
  case INDEX_BLOCK:
    return mknodat(dir_fd, name, (record->kind == INDEX_BLOCK ? S_IFBLK : S_IFCHR) | 0600,
                   makedev(record->device_major, record->device_minor)) < 0
               ? -errno
               : 0;
  default:
    return -EINVAL;
  }
}

int restore_file_special(int dir_fd, const char *name, const struct index_record *record, const struct metadata *a,
                         bool keep, bool privileged, unsigned *skipped, struct umbra_error *err) {
  struct basics basics = basics_of(record);
  int r = make_special(dir_fd, name, record);
  if (r == -EEXIST && keep)
    return r;
  if (r == -EEXIST) {
    r = restore_file_remove(dir_fd, name, err);
    if (r < 0)
      return r;
    r = make_special(dir_fd, name, record);
  }
  if (r < 0)
    return error_code(err, r, "making it");
  return metadata_apply(&basics, a, -1, dir_fd, name, privileged, skipped, err);
}

int restore_file_link(int from_dir_fd, const char *from_name, int dir_fd, const char *name, struct umbra_error *err) {
  if (linkat(from_dir_fd, from_name, dir_fd, name, 0) == 0)
    return 0;
  if (errno == EEXIST) {
    struct stat from, to;
    if (fstatat(from_dir_fd, from_name, &from, AT_SYMLINK_NOFOLLOW) == 0 &&
        fstatat(dir_fd, name, &to, AT_SYMLINK_NOFOLLOW) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
      return 0;
    int r = restore_file_remove(dir_fd, name, err);
    if (r < 0)
      return r;
    if (linkat(from_dir_fd, from_name, dir_fd, name, 0) == 0)
      return 0;
  }
  return error_errno(err, "linking it");
}
