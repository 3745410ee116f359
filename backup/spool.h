/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists that would not fit into memory: records of bytes in a file without a name, appended, then read forwards or
 * backwards.  A record is its length (u32), its bytes, its length again.  The file goes with spool_done(), or with
 * the process.
 */
#ifndef BACKUP_SPOOL_H
#define BACKUP_SPOOL_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

enum { SPOOL_BUFFER_BYTES = 64 * 1024, SPOOL_RECORD_BYTES_MAX = 2 * 1024 * 1024 };

struct spool {
  int fd;
  char *buffer; /* the end of the file that is not written yet */
  size_t buffer_bytes;
  uint64_t written_bytes;
};

/* A file without a name below the directory (dir_fd -1: none), or in /var/tmp or /tmp where that cannot be. */
int spool_open_file(int dir_fd, struct umbra_error *err); /* descriptor or negative errno */

int spool_init(struct spool *s, int dir_fd, struct umbra_error *err);
void spool_done(struct spool *s);
int spool_append(struct spool *s, const void *data, size_t length_bytes, struct umbra_error *err);

/* A position in a spool to which nothing is appended any more. */
struct spool_cursor {
  struct spool *spool;
  uint64_t position_bytes;
  char *record; /* the last one read, NUL-terminated after record_bytes */
  size_t record_bytes, capacity_bytes;
  char *buffer; /* what was read ahead: [buffer_at, buffer_at + buffer_bytes) of the file */
  size_t buffer_bytes, buffer_capacity_bytes;
  uint64_t buffer_at;
};
int spool_cursor_init(struct spool_cursor *c, struct spool *s, size_t buffer_bytes, struct umbra_error *err);
void spool_cursor_seek(struct spool_cursor *c, uint64_t position_bytes);
void spool_cursor_done(struct spool_cursor *c);
uint64_t spool_length(const struct spool *s); /* the position after the last record */

/* 1: there is a record; 0: no more; negative. */
int spool_next(struct spool_cursor *c, struct umbra_error *err);
int spool_previous(struct spool_cursor *c, struct umbra_error *err);

#endif
