/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backup set directory: one folder a backup, named by time, type and short id, so that names sort by time.
 *
 * A backup is made in a folder ".partial-NAME" which gets its name when everything in it has reached the disk: a
 * folder without that prefix is whole.  Who makes a backup holds a lock on the file ".lock"; while somebody does, a
 * partial folder is work in progress, else it is left over from one who died, and the next backup removes it.
 */
#ifndef BACKUP_SET_DIRECTORY_H
#define BACKUP_SET_DIRECTORY_H

#include "backup/manifest.h"
#include "common/cleanup.h"

enum { SET_DIRECTORY_BACKUPS_MAX = 100000, SET_DIRECTORY_NAME_BYTES = 64 };

enum backup_state {
  BACKUP_WHOLE,
  BACKUP_DAMAGED,     /* its backup.json cannot be read: `why` */
  BACKUP_IN_PROGRESS, /* partial, and somebody holds the lock */
  BACKUP_LEFTOVER,    /* partial, and nobody does */
  BACKUP_STATE_MAX
};
const char *backup_state_name(enum backup_state state);

struct backup_entry {
  char *name; /* of the folder */
  enum backup_state state;
  struct manifest manifest; /* BACKUP_WHOLE */
  struct umbra_error why;   /* BACKUP_DAMAGED */
};

struct set_directory {
  char *path; /* as the user gave it */
  int fd;
  int lock_fd;                  /* -1: not locked by us */
  struct backup_entry *entries; /* sorted by time */
  size_t count;
};

/* create: make it (0700) if it is not there. Reads what is in it. */
int set_directory_open(const char *path, bool create, struct set_directory *ret, struct umbra_error *err);
void set_directory_close(struct set_directory *d);

/* Takes the lock for making a backup, removes leftovers and reads the entries again. -EBUSY: somebody makes one now.
 */
int set_directory_lock(struct set_directory *d, struct umbra_error *err);

/*
 * Finds a whole backup: by folder name, id, unique prefix of the id (4 characters or more), label (the newest that
 * has it), or "latest"; text NULL is "latest". -EBADMSG if the one that is meant is damaged.
 */
int set_directory_find(const struct set_directory *d, const char *text, const struct backup_entry **ret,
                       struct umbra_error *err);
const struct backup_entry *set_directory_by_id(const struct set_directory *d, const char *id); /* whole; or NULL */

/* Opens a backup's folder. Descriptor or negative. */
int set_directory_open_backup(const struct set_directory *d, const struct backup_entry *e, struct umbra_error *err);

/* Opens a file in a backup's folder for reading, not following links. Descriptor or negative, named. */
int set_directory_open_file(const struct set_directory *d, const struct backup_entry *e, const char *file,
                            struct umbra_error *err);

/* The folder's name for a time, type and id. */
void set_directory_make_name(char ret[SET_DIRECTORY_NAME_BYTES], int64_t realtime_ns, enum manifest_type type,
                             const char *id);

#endif
