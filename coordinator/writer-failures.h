/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How each writer failed last, for `umbra writers`: STATE/writer-failures.json, {"failures": [{"name", "instance",
 * "state", "reason", "failure", "set", "when"}]}, the newest last.  Written when nobody is frozen.
 */
#ifndef COORDINATOR_WRITER_FAILURES_H
#define COORDINATOR_WRITER_FAILURES_H

#include "coordinator/writer.h"

enum { WRITER_FAILURES_MAX = 256 }; /* instances; the oldest failures go */

/*
 * Adds those of writers that have failed and are not there yet. set_id may be NULL. Nothing to add: nothing is
 * written. Waits for others that write it.
 */
int writer_failures_keep(const char *state_dir, const char *set_id, struct writer *const *writers, size_t count,
                         struct umbra_error *err);

/* *ret: the array, the caller's; empty if there is none, or none that can be read. */
int writer_failures_load(const char *state_dir, json_t **ret, struct umbra_error *err);

/* Borrowed from the array; NULL: it has not failed yet. */
const json_t *writer_failures_find(const json_t *failures, const char *name, const char *instance);

#endif
