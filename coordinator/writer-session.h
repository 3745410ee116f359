/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer that is one process for the whole of a set (`PATH session`), so that it can keep a connection, a lock or a
 * transaction from one event to the next.  It reads events from its standard input, one JSON object a line, and
 * answers each with one line; umbra-writers(7) has the protocol.  The end of its input is the end of the set: also
 * when this process dies.
 */
#ifndef COORDINATOR_WRITER_SESSION_H
#define COORDINATOR_WRITER_SESSION_H

#include "coordinator/writer.h"

#include <systemd/sd-event.h>

struct writer_session;

enum writer_session_result { WRITER_SESSION_DONE, WRITER_SESSION_FAILED, WRITER_SESSION_RETRY, WRITER_SESSION_GONE };

/* The present event has been answered. message: in words, why not ("" if it said nothing). answer: an object, or
 * NULL. */
typedef void (*writer_session_answered)(void *context, enum writer_session_result result, const char *message,
                                        json_t *answer);

/*
 * Tells one event, with the document in document_fd (-1: none); starts the process before the first.  answered is
 * called exactly once, from the event loop, unless writer_session_end() comes first.  One event at a time.
 */
int writer_session_tell(struct writer *w, enum writer_event event, sd_event *loop, const char *set_id,
                        int document_fd, int64_t limit_ms, writer_session_answered answered, void *context,
                        struct umbra_error *err);

/* Kills it, with its process group. What it held is undone by its end. */
void writer_session_end(struct writer_session *session);

/* False before the first event and after its end. */
bool writer_session_runs(const struct writer_session *session);

/* NULL is fine. */
void writer_session_free(struct writer_session *session);

#endif
