/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walks the sources of a backup in tree order, over as many volumes as they lie on, one entry at a call.
 *
 * Sources are paths within volumes; a volume is a mount point and a directory that shows it as it was (a shadow copy)
 * or is (a live directory in tests).  A source that lies below another one on a different volume is walked in its
 * place: where the outer volume has only an empty directory to mount on.  One that lies below another on the same
 * volume adds nothing. Symbolic links are never followed, mounts within a volume's directory are (a provider made
 * them).
 */
#ifndef BACKUP_WALK_H
#define BACKUP_WALK_H

#include "backup/directory.h"
#include "backup/excludes.h"
#include "backup/tree-path.h"
#include "common/error.h"

#include <sys/stat.h>

enum { WALK_SOURCES_MAX = 1000 };

struct walk_volume {
  const char *mount_point; /* as tree path: "" for /, "srv" for /srv */
  int root_fd;             /* the caller's */
  bool copied;             /* see backup.h */
};

struct walk_source {
  const char *path; /* tree path, at or below its volume's mount point */
  size_t volume;    /* index */
};

struct walk_entry {
  const char *path;            /* tree path; the walk's until the next call */
  const char *name;            /* in directory; "." for a source that is its volume's root */
  struct directory *directory; /* the walk's until the next call: take a reference to keep it */
  struct statx status;         /* STATX_BASIC_STATS */
  size_t volume;               /* index into the volumes */
};

struct walk;

/* The arrays and excludes stay the caller's and must live as long as the walk. */
int walk_new(const struct walk_volume *volumes, const struct walk_source *sources, size_t source_count,
             const struct excludes *excludes, int spool_dir_fd, struct walk **ret, struct umbra_error *err);

/* 1: an entry; 0: all done; negative: a source is missing, or something could not be read (named). */
int walk_next(struct walk *w, const struct walk_entry **ret, struct umbra_error *err);
void walk_free(struct walk *w);

#endif
