/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attached volumes on which a revert was begun and has not ended: part of them is what it was and part what the
 * shadow copy is.  STATE/reverting/NAME says so, durably, from before the first byte is put back, so that it is known
 * after a crash, too.
 */
#ifndef LIBUMBRA_REVERTING_H
#define LIBUMBRA_REVERTING_H

#include "umbra/umbra.h"

int reverting_begin(struct umbra_client *client, const char *name, const char *shadow_id);
int reverting_end(struct umbra_client *client, const char *name); /* fine if there is none */

/* The shadow copy that the volume was to become, or NULL: it is whole. The caller's. */
char *reverting_to(const struct umbra_client *client, const char *name);

/*
 * Of a volume that was just attached, at directory: warns if it is half reverted. If the shadow copy is gone nothing
 * can end that, and perhaps the volume was made anew, or is another: the note goes then.
 */
void reverting_judge(struct umbra_client *client, const char *name, const char *directory);

#endif
