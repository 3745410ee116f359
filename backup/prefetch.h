/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads files ahead of the one who writes the archive: items go in in tree order, threads read them (attributes, link
 * target, small contents with their checksum), and they come out in the order they went in.  Memory is bounded by the
 * number of items and by the bytes of their contents.
 */
#ifndef BACKUP_PREFETCH_H
#define BACKUP_PREFETCH_H

#include "backup/metadata.h"
#include "backup/directory.h"
#include "backup/index.h"

#include <sys/stat.h>

enum {
  PREFETCH_ITEMS_MAX = 256,
  PREFETCH_SMALL_BYTES = 256 * 1024, /* contents up to this are read ahead; others are only opened */
  PREFETCH_BYTES_MAX = 12 * 1024 * 1024,
  PREFETCH_THREADS = 2,
};

enum prefetch_need {
  PREFETCH_NOTHING, /* the base backup has it, or there is nothing to read */
  PREFETCH_COMPARE, /* may be the same as in the base backup */
  PREFETCH_STORE,
};

/* What the base backup knows of a path. */
struct earlier {
  uint32_t position;
  uint64_t offset_bytes;
  struct digest metadata, content;
  bool sparse;
};

struct prefetch_item {
  enum prefetch_need need;
  enum index_kind kind;
  char *path;
  char *target;                /* of links; of symbolic ones read by the thread, unless need is NOTHING */
  struct directory *directory; /* NULL: nothing to read */
  char name[TREE_NAME_BYTES_MAX + 1];
  struct statx status;
  struct earlier earlier;
  bool copied; /* see backup.h: no file flags */
  /* read: */
  int fd;     /* of a file whose content is not in data; -1 otherwise */
  char *data; /* the whole content, status.stx_size bytes; NULL: not read ahead */
  struct metadata attributes;
  struct digest metadata, content; /* content: only with data */
  struct umbra_error error;        /* code < 0: it could not be read */
};

/* Fills the record from the item, all but position, offset and content. */
void prefetch_item_record(const struct prefetch_item *item, struct index_record *ret);

/* A file that may have holes: its layout has to be looked at. */
bool prefetch_item_may_be_sparse(const struct prefetch_item *item);

struct prefetch;
int prefetch_new(struct prefetch **ret, struct umbra_error *err);
void prefetch_free(struct prefetch *p);

/* A place for the next item, zeroed; NULL while there is no room for it: take one out first. content_bytes: what it
 * will hold. */
struct prefetch_item *prefetch_place(struct prefetch *p, uint64_t content_bytes);
/* The item just placed is complete: path, target, directory belong to it now. */
void prefetch_put(struct prefetch *p);

/* The oldest item, read; NULL: there is none. It stays until prefetch_release(). */
struct prefetch_item *prefetch_take(struct prefetch *p);
void prefetch_release(struct prefetch *p);

#endif
