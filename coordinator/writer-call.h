/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Telling one writer one event: a process with a deadline, its output within limits, its end reported through the
 * event loop.  A writer past its deadline, or one that prints without end, is killed with its whole process group.
 */
#ifndef COORDINATOR_WRITER_CALL_H
#define COORDINATOR_WRITER_CALL_H

#include "coordinator/writer.h"

#include <systemd/sd-event.h>

/* The call has ended; a failure is recorded in the writer. */
typedef void (*writer_called)(struct writer *w, enum writer_event event, void *context);

struct writer_call;

/*
 * Tells one event: to a session as its next line (writer-session.h), to others by starting `PATH EVENT` with the
 * document (a memory file; each call reads it from its beginning) on standard input and UMBRA_SET, UMBRA_EVENT and the
 * instance in the environment.  done is always called, exactly once, from the event loop, even if the program cannot be
 * started.  Hooks hear freeze and thaw; abort reaches them as thaw; other events end at once.  The call frees itself.
 * *ret may be kept until done is called, for writer_call_cancel().
 */
int writer_call(struct writer *w, enum writer_event event, sd_event *loop, const char *set_id, int document_fd,
                int64_t limit_ms, writer_called done, void *context, struct writer_call **ret,
                struct umbra_error *err);

enum writer_event writer_call_event(const struct writer_call *call);

/* Kills the process and reports the call as failed with reason. */
void writer_call_cancel(struct writer_call *call, enum umbra_reason reason, const char *why);

/*
 * The same without an event loop, blocking: for the guardian and for recovery. Returns 0 or negative.  A session ends
 * with the coordinator, and undoes by itself what is not ended in time: there is nobody to call.
 */
int writer_call_now(const struct writer *w, enum writer_event event, const char *set_id, int document_fd, int limit_ms);

/* What programs of writers find in their environment; event NULL: not said. *environment grows, the caller's. */
int writer_environment(const struct writer *w, const char *set_id, const char *event, char ***environment);

#endif
