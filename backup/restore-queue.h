/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small files on their way to the tree: made by several threads, since making a file is mostly waiting for the
 * filesystem.  Their content was checked before it came here.
 */
#ifndef BACKUP_RESTORE_QUEUE_H
#define BACKUP_RESTORE_QUEUE_H

#include "backup/metadata.h"
#include "backup/directory.h"

enum {
  RESTORE_QUEUE_ITEMS_MAX = 256,
  RESTORE_QUEUE_BYTES_MAX = 12 * 1024 * 1024,
  RESTORE_QUEUE_FILE_BYTES_MAX = 256 * 1024,
  RESTORE_QUEUE_THREADS = 2,
};

struct restore_item {
  char *path; /* for messages */
  struct directory *directory;
  char name[TREE_NAME_BYTES_MAX + 1];
  struct basics basics;
  struct metadata attributes;
  char *data;
  size_t data_bytes;
  bool keep; /* leave it if the name is taken */
  /* results: */
  bool kept;
  dev_t device; /* which file it became */
  ino_t inode;
  unsigned skipped;
  struct umbra_error error;
};

struct restore_queue;
int restore_queue_new(bool privileged, struct restore_queue **ret, struct umbra_error *err);
void restore_queue_free(struct restore_queue *q);

/* A zeroed place for an item of so many bytes; NULL while there is no room: wait for one to be done first. */
struct restore_item *restore_queue_place(struct restore_queue *q, size_t data_bytes);
void restore_queue_put(struct restore_queue *q); /* the item's parts belong to it now */

/* Waits for the oldest item: its results; NULL: there is none. Release it before the next call. */
struct restore_item *restore_queue_take(struct restore_queue *q);
void restore_queue_release(struct restore_queue *q);

#endif
