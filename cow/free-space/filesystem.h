/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between free-space.c, which tells filesystems apart, and those that know how each keeps its free space (ext4.c,
 * xfs.c).
 */
#ifndef COW_FREE_SPACE_FILESYSTEM_H
#define COW_FREE_SPACE_FILESYSTEM_H

#include "cow/free-space/free-space.h"

/* One visit. */
struct free_space {
  const struct free_space_source *source;
  free_space_visit_fn visit;
  void *visit_context;
  struct umbra_error *err;
  int read_error; /* the source's, once it has failed: libext2fs only says that something did */
};

/* Outside of the volume is -EUCLEAN: some number led there. */
int free_space_read(struct free_space *f, void *buffer, size_t length_bytes, uint64_t offset_bytes);

int free_space_damaged(struct free_space *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
int free_space_refuse(struct free_space *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* free_space_visit() for a volume that begins like one of theirs. */
int free_space_ext4(struct free_space *f);
int free_space_xfs(struct free_space *f);

#endif
