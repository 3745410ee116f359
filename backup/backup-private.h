/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The backup that is being made. Private to backup.c and save.c. */
#ifndef BACKUP_BACKUP_PRIVATE_H
#define BACKUP_BACKUP_PRIVATE_H

#include "backup/backup.h"
#include "backup/excludes.h"
#include "backup/frames.h"
#include "backup/tree-path.h"

#include "common/id.h"

struct backup {
  /* configuration, fixed by backup_new() */
  struct set_directory directory;
  enum manifest_type type;
  const struct backup_entry *base; /* in directory; NULL: none */
  int base_index_fd;
  char **sources;
  char *label;
  int level;
  struct excludes *excludes;
  json_t *exclude_list, *source_list;
  struct backup_listener listener;
  /* the folder */
  char id[ID_TEXT_BYTES];
  int64_t time_ns;
  char name[SET_DIRECTORY_NAME_BYTES];
  char partial[SET_DIRECTORY_NAME_BYTES + 16];
  bool partial_made;
  int folder_fd, archive_fd, index_fd;
  /* results of backup_save() */
  struct backup_totals totals;
  struct manifest_file archive_file, index_file;
};

#endif
