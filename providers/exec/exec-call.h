/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One run of an executable: `PATH VERB`, a JSON document in, a JSON document out, within a deadline and within
 * limits.  Past either it is killed with its whole process group.  What it says on standard error is the message of
 * its failure.
 */
#ifndef PROVIDERS_EXEC_EXEC_CALL_H
#define PROVIDERS_EXEC_EXEC_CALL_H

#include "common/error.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { EXEC_OUTPUT_BYTES_MAX = 1024 * 1024, EXEC_MESSAGE_BYTES_MAX = 600, EXEC_EXIT_AGAIN = 75 };

struct exec_call;

/*
 * Starts it. The document is written to its standard input, which ends there, or with stay_open stays open for
 * exec_call_tell(). path and verb must outlive the call.
 */
int exec_call_start(const char *path, const char *verb, const json_t *input, bool stay_open, struct exec_call **ret,
                    struct umbra_error *err);

/* Writes one more line to its standard input, at most PIPE_BUF long, and closes that. Allocates nothing. */
int exec_call_tell(struct exec_call *call, const char *line, struct umbra_error *err);

/*
 * Waits for its end. 0: exit status 0; -EAGAIN: EXEC_EXIT_AGAIN; -ETIMEDOUT, -ECANCELED, -EFBIG (printed too much):
 * killed; -EIO: any other end, with its message. Allocates nothing, opens nothing. cancelled may be NULL.
 */
int exec_call_wait(struct exec_call *call, int timeout_ms, const atomic_bool *cancelled, struct umbra_error *err);

/* What it printed, after exec_call_wait(): a JSON object, empty if nothing. The caller owns it. */
int exec_call_output(const struct exec_call *call, json_t **ret, struct umbra_error *err);

void exec_call_free(struct exec_call *call); /* NULL is fine. Kills what still runs. */

static inline void cleanup_exec_call(struct exec_call **call) { exec_call_free(*call); }

#endif
