/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a writer's session is made of, for writer.c, which leads it, and writer-components.c, which answers what
 * callbacks ask of components. */
#ifndef LIBUMBRA_WRITER_SESSION_H
#define LIBUMBRA_WRITER_SESSION_H

#include "umbra/writer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct umbra_writer_session {
  const struct umbra_writer *writer;
  const char *instance, *key, *set_id; /* of the environment */
  char *saved_key;                     /* what key is then: a session's from its line, at a restore the backup's; NULL */
  json_t *document;                    /* of the present event; NULL */
  json_t *own;                         /* what umbra knows of this instance; NULL */
  char *document_text;
  json_t *answer;    /* what the present event answers */
  char message[512]; /* why it fails */
  void *userdata;
  bool begun;         /* something that an abort would have to undo */
  int64_t thaw_by_ns; /* monotonic; 0: not frozen */
  char *input;        /* read and not yet a whole line */
  size_t input_bytes, input_room_bytes;
};

/* Its own entry in a document's list of writers, borrowed; NULL. */
const json_t *session_own_entry(const struct umbra_writer_session *s, const json_t *list);

/* The present answer, to be added to, borrowed; NULL: out of memory. */
json_t *session_answer(struct umbra_writer_session *s);

#endif
