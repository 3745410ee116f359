/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/free-space/free-space.h"

#include "cow/free-space/filesystem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { XFS_MAGIC_OFFSET = 0, EXT4_MAGIC_OFFSET = 1080, LOOKED_AT_BYTES = 2048 };
enum { COMPLAINT_BYTES = 200 };

int free_space_read(struct free_space *f, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  if (offset_bytes > f->source->volume_bytes || length_bytes > f->source->volume_bytes - offset_bytes)
    return free_space_damaged(f, "something points outside, to byte %" PRIu64, offset_bytes);
  int r = f->source->read(f->source->context, buffer, length_bytes, offset_bytes);
  if (r == 0)
    return 0;
  f->read_error = r;
  return error_code(f->err, r, "reading what is free: byte %" PRIu64, offset_bytes);
}

int free_space_damaged(struct free_space *f, const char *format, ...) {
  char complaint[COMPLAINT_BYTES];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(complaint, sizeof complaint, format, arguments);
  va_end(arguments);
  return error_set(f->err, -EUCLEAN, UMBRA_REASON_DAMAGED, "reading what is free: %s", complaint);
}

int free_space_refuse(struct free_space *f, const char *format, ...) {
  char complaint[COMPLAINT_BYTES];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(complaint, sizeof complaint, format, arguments);
  va_end(arguments);
  return error_set(f->err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "what is free is not known: %s",
                   complaint);
}

int free_space_visit(const struct free_space_source *source, free_space_visit_fn visit, void *visit_context,
                     struct umbra_error *err) {
  struct free_space f = {.source = source, .visit = visit, .visit_context = visit_context, .err = err};
  unsigned char start[LOOKED_AT_BYTES];
  if (source->volume_bytes < sizeof start)
    return free_space_refuse(&f, "the volume is too small for a filesystem");
  int r = free_space_read(&f, start, sizeof start, 0);
  if (r < 0)
    return r;
  bool xfs = memcmp(start + XFS_MAGIC_OFFSET, "XFSB", 4) == 0;
  bool ext4 = start[EXT4_MAGIC_OFFSET] == 0x53 && start[EXT4_MAGIC_OFFSET + 1] == 0xef;
  if (xfs && ext4)
    return free_space_refuse(&f, "the volume begins like two filesystems");
  if (!xfs && !ext4)
    return free_space_refuse(&f, "the volume holds neither ext4 nor XFS");
  return xfs ? free_space_xfs(&f) : free_space_ext4(&f);
}
