/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/context.h"

#include <errno.h>
#include <stdlib.h>

int umbra_stream_new(const struct umbra_stream_options *options, struct umbra_stream **context) {
  struct umbra_stream *s = calloc(1, sizeof *s);
  if (!s)
    return -ENOMEM;
  s->options = options ? *options : (struct umbra_stream_options){.directory_fd = -1, .root_fd = -1};
  *context = s;
  return 0;
}

int context_take(struct umbra_stream **context) { return *context ? 0 : umbra_stream_new(NULL, context); }

void context_free(struct umbra_stream **context) {
  if (!*context)
    return;
  stream_reader_free((*context)->reader);
  stream_writer_free((*context)->writer);
  free(*context);
  *context = NULL;
}

uint64_t context_file_part(const struct umbra_stream *s, uint64_t *ret_offset_bytes) {
  *ret_offset_bytes = 0;
  return s->reader   ? stream_reader_file_part(s->reader, ret_offset_bytes)
         : s->writer ? stream_writer_file_part(s->writer, ret_offset_bytes)
                     : 0;
}

void context_passed(struct umbra_stream *s, uint64_t bytes) {
  if (s->reader)
    stream_reader_passed(s->reader, bytes);
  else if (s->writer)
    stream_writer_passed(s->writer, bytes);
}

const char *umbra_stream_message(const struct umbra_stream *context) { return context ? context->error.message : ""; }
