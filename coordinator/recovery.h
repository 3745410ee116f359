/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * After a crash: thaws what was held, tells writers, removes half-made shadow copies and those that should have gone
 * with their owner.  Works from the journal alone, in any process: the dead coordinator's guardian, or the next
 * command.
 */
#ifndef COORDINATOR_RECOVERY_H
#define COORDINATOR_RECOVERY_H

#include "coordinator/coordinator.h"

#include <stddef.h>

/* All dead entries. *ret_count (may be NULL): how many were cleaned up. What fails is warned of and stays for next
 * time. */
int recovery_run(const struct coordinator *c, size_t *ret_count, struct umbra_error *err);

/* In a guardian, which holds the entry's lock: the same for one set. */
void recovery_of_set(const char *state_dir, const char *runtime_dir, const char *id);

/* In a guardian: abort to every writer that the journal says was told something. */
void recovery_abort_writers(const char *runtime_dir, const char *id, int document_fd, int limit_ms);

#endif
