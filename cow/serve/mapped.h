/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two device-mapper devices of an attached volume NAME (DESIGN.md, M1, M5, M7). directory is
 * RUNTIME/attached/NAME.
 *
 * umbra-NAME is what is used as the volume. Its table is one linear piece, over the front's block device or over the
 * origin (route.h).
 *
 * umbra-NAME:origin is the guard: read-only, a sector of each of the two, which nobody reads.
 *
 * Their uuids, UMBRA-VOLUME-SUM-NAME and UMBRA-ORIGIN-SUM-NAME, have a sum of the directory: nobody takes those of
 * another runtime directory for his own.
 */
#ifndef COW_SERVE_MAPPED_H
#define COW_SERVE_MAPPED_H

#include "cow/serve/mapper.h"

struct mapped_names {
  char volume[MAPPER_NAME_BYTES], volume_uuid[MAPPER_NAME_BYTES], guard[MAPPER_NAME_BYTES],
      guard_uuid[MAPPER_NAME_BYTES];
};
void mapped_names(const char *directory, struct mapped_names *ret);

/*
 * Makes both, the volume over the front. *ret: the volume's. -EBUSY: a name is taken, or somebody has one of the
 * devices below. On failure none is left.
 */
int mapped_make(const char *directory, dev_t origin, dev_t front, uint64_t volume_bytes, uint32_t sector_bytes,
                dev_t *ret, struct umbra_error *err);

/* 1: there are devices of the volume, 0: none, or this machine has no device-mapper. */
int mapped_there(const char *directory);

/* Both; those that are there. -EBUSY: the volume is open. */
int mapped_remove(const char *directory, struct umbra_error *err);

#endif
