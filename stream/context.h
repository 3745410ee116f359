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

void stream_reader_free(struct stream_reader *reader); /* NULL is fine */
void stream_writer_free(struct stream_writer *writer);
void context_free(struct umbra_stream **context);

#endif
