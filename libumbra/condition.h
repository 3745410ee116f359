/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has become of shadow copies since they were made, as their providers know it (providers/provider.h, look). */
#ifndef LIBUMBRA_CONDITION_H
#define LIBUMBRA_CONDITION_H

#include "umbra/umbra.h"

#include <jansson.h>

/*
 * made: {shadow id: {"provider", "record", …}}, as a catalogue entry's "records". {id: {"state", "why"}} of those
 * that are not as they were; the caller's. Each provider is asked once; that may take seconds.
 */
json_t *condition_find(const json_t *made);

/*
 * Gives each shadow copy of the set's document its "state" and "why" (null: nothing is wrong), by what
 * condition_find() found; and the set its "state": usual if all is well, what all its shadow copies are if they are
 * alike, else "incomplete".
 */
void condition_note(json_t *set, const char *usual, const json_t *found);

/* Fails if this one can be shown no more, with why. -EIO: dropped, -ENOENT: lost. */
int condition_check(struct umbra_client *client, const json_t *made, const char *shadow_id);

#endif
