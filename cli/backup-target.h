/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the commands on backup set directories share: DIR@BACKUP, progress and warnings of backup/, its errors. */
#ifndef CLI_BACKUP_TARGET_H
#define CLI_BACKUP_TARGET_H

#include "backup/backup.h"
#include "cli/cli.h"

struct backup_target {
  struct set_directory directory;
  const struct backup_entry *backup; /* NULL: none was named and none was asked for */
};

/* Opens DIR[@BACKUP]. need: without @BACKUP it is the latest. 0 or negative with err. */
int backup_target_open(const char *text, bool need, struct backup_target *ret, struct umbra_error *err);
void backup_target_close(struct backup_target *t);

/*
 * Progress to the progress of cli, warnings to standard error, and from now on signals that end a program stop the
 * work: a backup that is stopped leaves nothing.
 */
struct backup_listener backup_target_listener(struct cli *cli);

/* "umbra: WHAT: MESSAGE"; returns STATUS_FAILED. */
int backup_target_failed(const struct cli *cli, const struct umbra_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
