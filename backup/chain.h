/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The backups that one backup stands on, from the full one to itself, and their files. */
#ifndef BACKUP_CHAIN_H
#define BACKUP_CHAIN_H

#include "backup/index.h"
#include "backup/set-directory.h"

struct chain {
  const struct set_directory *directory; /* the caller's */
  const struct backup_entry **entries;
  size_t count;
};

/* -ENOENT names the backup that is missing. */
int chain_init(struct chain *c, const struct set_directory *d, const struct backup_entry *backup,
               struct umbra_error *err);
void chain_done(struct chain *c);

/* An index that closes its file. */
struct chain_index {
  int fd;
  struct index_reader *reader;
};
int chain_open_index(const struct chain *c, size_t position, struct chain_index *ret, struct umbra_error *err);
void chain_close_index(struct chain_index *i);

#endif
