/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The runtime journal: RUNTIME/sets/ID.json says what a set that is being made, or that goes with its owner, has left
 * to undo; RUNTIME/sets/ID.lock is locked (flock(2)) for as long as its owner or its guardian lives.  So "dead" needs
 * no guess: whoever gets the lock may clean up.  The lock is taken before the document appears.
 */
#ifndef COORDINATOR_JOURNAL_H
#define COORDINATOR_JOURNAL_H

#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>

struct journal {
  int directory_fd, lock_fd;
  char id[37];
};

/* Makes the entry's lock. The lock is inherited by fork(2): the guardian has it, too. */
int journal_open(struct journal *j, const char *runtime_dir, const char *id, struct umbra_error *err);

/* Replaces the document. Not during a hold. */
int journal_write(struct journal *j, const json_t *document, struct umbra_error *err);

/* Lets go of the entry; remove: it has nothing left to undo. Fine on a struct that was never opened (zeroed, fds -1).
 */
void journal_close(struct journal *j, bool remove);

/*
 * For each entry: found(context, id, document, alive). Entries whose owner is dead are locked during the call; if
 * found returns 1 the entry is removed. Documents that cannot be read are reported as JSON null.
 */
typedef int (*journal_found)(void *context, const char *id, const json_t *document, bool alive);
int journal_scan(const char *runtime_dir, journal_found found, void *context, struct umbra_error *err);

/* The kernel's boot id, 36 characters: what does not outlive a boot is told by it. */
int journal_boot_id(char ret[37]);

#endif
