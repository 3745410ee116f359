/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a writer's identify builds: metadata documents, as umbra-writers(7) describes them. */
#ifndef LIBUMBRA_WRITER_METADATA_H
#define LIBUMBRA_WRITER_METADATA_H

#include "umbra/writer.h"

#include <jansson.h>
#include <stdbool.h>

struct umbra_writer_list {
  const struct umbra_writer *writer;
  json_t *documents; /* array, the list's */
  bool failed;       /* out of memory */
};

int writer_list_init(struct umbra_writer_list *list, const struct umbra_writer *writer);
void writer_list_done(struct umbra_writer_list *list);

#endif
