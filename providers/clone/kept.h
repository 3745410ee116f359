/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images that outlive their shadow copy.  Where the user named the storage, a removed clone of a whole volume stays
 * there as kept-MAJOR-MINOR.image (one a volume), its tracking pinned, and the next clone of that volume starts from
 * it and copies only what was written since.
 */
#ifndef PROVIDERS_CLONE_KEPT_H
#define PROVIDERS_CLONE_KEPT_H

#include "common/error.h"

#include <jansson.h>

struct clone;

/*
 * Looks in the storage for a kept image of the volume and takes it: 1, with image and tracking open, and the record
 * naming it; 0: none that fits (one that never will is removed). path is what the image is called from now on.
 */
int kept_take(struct clone *c, const char *path, struct umbra_error *err);

/* The image is whole: pins its tracking and describes it beside it, so that remove can keep it. */
int kept_describe(struct clone *c, struct umbra_error *err);

/* What remove does with a record: keeps or unlinks the image. Idempotent. */
int kept_remove(const json_t *record, struct umbra_error *err);

/* Unlinks the kept image whose files are called prefix.image and prefix.json, and ends its tracking. */
int kept_drop(const char *prefix, struct umbra_error *err);

#endif
