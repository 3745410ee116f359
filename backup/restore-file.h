/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Puts one file into its directory.  Content goes to a new file always, never through what is there: where the name
 * is taken, into one with another name that replaces it when it is complete and right.
 */
#ifndef BACKUP_RESTORE_FILE_H
#define BACKUP_RESTORE_FILE_H

#include "backup/metadata.h"
#include "backup/temporary.h"

struct restore_file {
  int dir_fd, fd;                       /* dir_fd: the caller's */
  const char *name;                     /* the caller's */
  char temporary[TEMPORARY_NAME_BYTES]; /* "": it has its own name already */
  dev_t device;                         /* which file it became; set by finish */
  ino_t inode;
};

/* -EEXIST with keep if something has the name. flags: those to be (file-flags.h), one of which only an empty file
 * takes. */
int restore_file_begin(struct restore_file *f, int dir_fd, const char *name, bool keep, uint32_t flags,
                       struct umbra_error *err);
/* Attributes, then its name; not the flags that lock it, with which it could get no other name. On failure it is
 * gone. */
int restore_file_finish(struct restore_file *f, const struct basics *basics, const struct metadata *a,
                        bool privileged, unsigned *skipped, struct umbra_error *err);
void restore_file_abandon(struct restore_file *f);

/* A symbolic link, fifo or device node. Replaces what has the name, but no directory that holds something. */
int restore_file_special(int dir_fd, const char *name, const struct index_record *record, const struct metadata *a,
                         bool keep, bool privileged, unsigned *skipped, struct umbra_error *err);

/* Another name of a file that is there already. */
int restore_file_link(int from_dir_fd, const char *from_name, int dir_fd, const char *name, struct umbra_error *err);

/* Makes room for a name: removes a file, or a directory that is empty, locked or not. -ENOENT is fine. */
int restore_file_remove(int dir_fd, const char *name, struct umbra_error *err);

#endif
