/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What lies behind the opaque context: it belongs to one file, and is a reader's or a writer's from its first use on.
 */
#ifndef STREAM_CONTEXT_H
#define STREAM_CONTEXT_H

#include "common/error.h"
#include "umbra/stream.h"

struct umbra_stream {
  struct umbra_stream_options options;
  struct umbra_error error;
  struct stream_reader *reader; /* reader.c's; NULL */
  struct stream_writer *writer; /* writer.c's; NULL */
};

/* Makes the context where there is none yet. */
int context_take(struct umbra_stream **context);

/*
 * What of the sequence comes next is the file's own bytes: how many, from where in the file; 0: it is not.  They may
 * be moved past us (splice(2)): those that were, read from the file or written to it, are told with context_passed().
 */
uint64_t context_file_part(const struct umbra_stream *context, uint64_t *ret_offset_bytes);
void context_passed(struct umbra_stream *context, uint64_t bytes);

uint64_t stream_reader_file_part(const struct stream_reader *reader, uint64_t *ret_offset_bytes);
uint64_t stream_writer_file_part(const struct stream_writer *writer, uint64_t *ret_offset_bytes);
void stream_reader_passed(struct stream_reader *reader, uint64_t bytes);
void stream_writer_passed(struct stream_writer *writer, uint64_t bytes);
void stream_reader_free(struct stream_reader *reader); /* NULL is fine */
void stream_writer_free(struct stream_writer *writer);
void context_free(struct umbra_stream **context);

#endif
