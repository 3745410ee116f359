/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which blocks of XFS an inode needs, and what a mount with ro,norecovery,nouuid reads: the headers of all allocation
 * groups, the root directory's inode, and the inodes of the realtime bitmap and summary, which exist (empty) on every
 * filesystem.  The log is not read with norecovery; B+trees of free space, inodes, reverse mappings and reference
 * counts are not read before somebody writes.
 *
 * Versions 4 and 5; not: realtime and log on other devices, metadata directories, zoned filesystems.
 */
#include "providers/clone/scope-xfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

static int want_all(void *context, const struct xfs_run *run) {
  struct xfs_volume *v = context;
  scope_want(v->scope, run->block << v->block_log, run->count << v->block_log);
  return 0;
}

/* Of an unwritten extent nothing is read. */
static int want_written(void *context, const struct xfs_run *run) {
  return run->unwritten ? 0 : want_all(context, run);
}

static int visit(struct scope *s, void *state, uint64_t number) {
  struct xfs_volume *v = state;
  struct xfs_inode inode = {.number = number};
  int r = scope_xfs_inode(v, number, &inode);
  if (r < 0)
    return r;
  bool directory = S_ISDIR(inode.mode);
  r = scope_enter(s, number, directory, inode.links, v->case_insensitive);
  if (r <= 0)
    return r;
  if (inode.has_attributes) {
    r = scope_tolerate(s, scope_xfs_fork(v, number, &inode.attributes, want_all, v));
    if (r < 0)
      return r;
  }
  if (inode.realtime)
    return scope_damaged(s, "inode %" PRIu64 ": it lies in a realtime section that does not exist", number);
  return directory ? scope_xfs_directory(v, &inode)
                   : scope_xfs_fork(v, number, &inode.data, S_ISREG(inode.mode) ? want_written : want_all, v);
}

/* An inode that no directory names. */
static int want_special(struct xfs_volume *v, uint64_t number) {
  struct xfs_inode inode = {.number = number};
  if (number == 0 || number == UINT64_MAX)
    return 0;
  int r = scope_xfs_inode(v, number, &inode);
  return r < 0 ? r : scope_xfs_fork(v, number, &inode.data, want_all, v);
}

static int open_volume(struct scope *s, void **ret_state, uint64_t *ret_root) {
  struct xfs_volume *v = calloc(1, sizeof *v);
  if (!v)
    return scope_refuse(s, -ENOMEM, UMBRA_REASON_INTERNAL, "reading XFS: out of memory");
  v->scope = s;
  *ret_state = v;
  int r = scope_xfs_geometry(v);
  if (r == 0)
    r = scope_tolerate(s, scope_xfs_inode_tree(v, v->root));
  if (r == 0)
    r = scope_tolerate(s, want_special(v, v->bitmap_inode));
  if (r == 0)
    r = scope_tolerate(s, want_special(v, v->summary_inode));
  *ret_root = v->root;
  return r;
}

static const char *const names[] = {"xfs", NULL};

const struct scope_filesystem scope_xfs = {
    .names = names,
    .open = open_volume,
    .visit = visit,
    .close = free,
};
