/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Places in the write-ahead log, and the files (segments) that they are in. */
#ifndef WRITERS_POSTGRESQL_SEGMENT_H
#define WRITERS_POSTGRESQL_SEGMENT_H

#include <stdint.h>

enum { SEGMENT_NAME_BYTES = 25 };

struct segments {
  uint32_t timeline;
  uint64_t size_bytes;
  uint64_t first, last; /* numbers; first > last: none */
};

/* "16/B374D848". 0 or -EINVAL. */
int segment_parse_lsn(const char *text, uint64_t *ret);

/* Those in which the log from begin up to, and without, end lies. */
struct segments segments_between(uint32_t timeline, uint64_t size_bytes, uint64_t begin, uint64_t end);

const char *segment_name(const struct segments *of, uint64_t number, char ret[SEGMENT_NAME_BYTES]);

/* Copies them all, whole, and makes that durable. 0 or negative errno; *ret_number: the one that failed. */
int segments_copy(const struct segments *of, int from_directory_fd, int to_directory_fd, uint64_t *ret_number);

#endif
