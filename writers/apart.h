/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A question asked in a process of its own, so that what answers, whoever runs it, is listened to as its own user and
 * cannot keep us: the process becomes that user, for good, and is ended after a limit, even if that user stopped it.
 */
#ifndef WRITERS_APART_H
#define WRITERS_APART_H

#include "common/error.h"

#include <jansson.h>
#include <stdint.h>

enum { APART_S = 20, APART_BYTES_MAX = 64 * 1024 };

/* Runs in the process. Returns the answer, which it hands over; NULL: out of memory. */
typedef json_t *(*apart_question)(const void *subject);

/* Blocks until it is answered, at most limit_s. *ret is the caller's; what it holds is to be checked. */
int apart_ask(apart_question ask, const void *subject, int limit_s, json_t **ret, struct umbra_error *err);

/* From now on no question is waited for after this; 0: as before. */
void apart_set_deadline(int64_t deadline_ns);

#endif
