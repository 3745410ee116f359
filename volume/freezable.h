/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What cannot be frozen or copied as an image, and why, in words for an admin at night.  Internal to volume/.
 *
 * Whether somebody else has frozen a volume already cannot be asked: Linux has no such query. It is found at the
 * freeze itself (FIFREEZE says EBUSY), so it is not here.
 */
#ifndef VOLUME_FREEZABLE_H
#define VOLUME_FREEZABLE_H

#include "volume/block.h"
#include "volume/mounts.h"
#include "volume/volume.h"

/* Whether this process has the right to freeze anything. Reads files: ask once. */
bool freezable_by_us(const struct places *places);

/*
 * The words, or NULL when FIFREEZE can work. all: for naming the volume below an overlay. by_us: freezable_by_us().
 * *ret is the caller's. -ENOMEM.
 */
int freezable_why_not(const struct mount_entry *mount, const struct mounts *all, bool by_us, char **ret);

/* Why a copy of block_device alone would not be the filesystem, or NULL when it would. *ret is the caller's. -ENOMEM.
 */
int freezable_image_why_not(const struct mount_entry *mount, dev_t block_device, const struct places *places,
                            char **ret);

/* True for types whose files live on another machine: nothing may be asked of them without need, they may hang. */
bool freezable_is_network(const char *fs_type);

#endif
