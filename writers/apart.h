/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A question asked in a process of its own, so that what answers, whoever runs it, is listened to as its own user and
 * cannot keep us: the process becomes that user, for good, and ends after APART_S.
 */
#ifndef WRITERS_APART_H
#define WRITERS_APART_H

#include "common/error.h"

#include <jansson.h>

enum { APART_S = 20, APART_BYTES_MAX = 64 * 1024 };

/* Runs in the process. Returns the answer, which it hands over; NULL: out of memory. */
typedef json_t *(*apart_question)(const void *subject);

/* Blocks until it is answered. *ret is the caller's; what it holds is to be checked. */
int apart_ask(apart_question ask, const void *subject, json_t **ret, struct umbra_error *err);

#endif
