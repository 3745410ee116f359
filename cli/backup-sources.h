/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sources of a backup as absolute paths, and the volumes mounted below them.  A backup stays on the volumes of
 * its sources, as tar --one-file-system does; what it leaves out by that is named.
 */
#ifndef CLI_BACKUP_SOURCES_H
#define CLI_BACKUP_SOURCES_H

#include "backup/backup.h"

struct backup_sources {
  char **paths;     /* absolute, without links */
  json_t *left_out; /* array of mount points below the sources that are not followed */
};

/* all_volumes: volumes on disks that are mounted below a source become sources. Links given as sources are followed.
 */
int backup_sources_find(char *const *arguments, bool all_volumes, const struct backup_listener *listener,
                        struct backup_sources *ret, struct umbra_error *err);
/*
 * A source that is reached through another mount of a shadow copy's volume (a bind mount): the part of the shadow
 * copy that this mount shows, as a volume of its own. root_fd and mount_point are the shadow copy's. 1: *ret is
 * filled, its descriptor and mount point are the caller's; 0: the source is not of that volume; negative with err.
 */
int backup_sources_bind(const char *source, const char *mount_point, int root_fd, struct backup_volume *ret,
                        struct umbra_error *err);

void backup_sources_done(struct backup_sources *s);

#endif
