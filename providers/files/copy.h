/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The data of one regular file into the copy: cloned where the filesystem can, else read and written with holes kept.
 */
#ifndef PROVIDERS_FILES_COPY_H
#define PROVIDERS_FILES_COPY_H

#include "common/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { COPY_BUFFER_BYTES = 256 * 1024, COPY_GRAIN_BYTES = 4096 };

struct copier {
  char *from, *to;       /* COPY_BUFFER_BYTES each, aligned for descriptors opened with O_DIRECT */
  bool no_clone;         /* storage and volume cannot share blocks; found out at the first file */
  uint64_t limit_bytes;  /* of storage; 0: none */
  uint64_t stored_bytes; /* counted against it by the caller between files, by the copier within one */
  const atomic_bool *cancelled;
  void (*copied)(void *context, uint64_t bytes); /* progress; may be NULL */
  void *context;
};

int copier_init(struct copier *c);
void copier_done(struct copier *c);

struct copy_result {
  uint64_t size_bytes; /* of the source, as copied */
  bool cloned;         /* the copy has no blocks of its own */
};

/*
 * Makes the file at to_fd (open for reading and writing) have the data that from_fd has now.  What to_fd holds
 * already is kept where it is the same.  shared: from_fd is somebody else's open file (lease.h): its offset must not
 * be moved, so holes are found as zeros.  Waits for writes to the source that are under way.  -ECANCELED when
 * cancelled, -EDQUOT with a message when the limit is reached; messages name neither file.
 */
int copy_data(struct copier *c, int from_fd, bool shared, int to_fd, struct copy_result *ret,
              struct umbra_error *err);

#endif
