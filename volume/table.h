/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inside of a volume table, for volume/ and its unit tests: they give it the mounts and the sysfs of another
 * machine. */
#ifndef VOLUME_TABLE_H
#define VOLUME_TABLE_H

#include "volume/block.h"
#include "volume/mounts.h"
#include "volume/volume.h"

#include <stdio.h>

struct volume_table {
  const struct places *places;
  bool can_freeze; /* this process has the right to */
  struct mounts mounts;
  struct volume *volumes;
  size_t count;
  size_t *volume_of_mount; /* index into volumes for each of mounts.entries */
};

/* As volume_table_load(), from a text in the form of mountinfo. places must outlive the table. */
int volume_table_parse(FILE *mountinfo, const struct places *places, struct volume_table **ret,
                       struct umbra_error *err);

/* As volume_freeze_levels(), with the mounts of table. */
int volume_table_freeze_levels(const struct volume_table *table, const struct volume *const *volumes, size_t count,
                               unsigned *ret_levels, struct umbra_error *err);

/* Mount id of an open descriptor (O_PATH is enough). Negative errno. */
int volume_mount_id(int fd);

#endif
