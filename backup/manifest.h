/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * backup.json: the backup components document that lies beside each backup's data.  Its own checksum is in it:
 * XXH3-128 of the document without that key, compact and with sorted keys, so that it does not depend on spaces.
 */
#ifndef BACKUP_MANIFEST_H
#define BACKUP_MANIFEST_H

#include "backup/digest.h"
#include "common/json.h"

enum manifest_type { MANIFEST_FULL, MANIFEST_INCREMENTAL, MANIFEST_DIFFERENTIAL, MANIFEST_COPY, MANIFEST_TYPE_MAX };

#define MANIFEST_NAME "backup.json"
#define MANIFEST_ARCHIVE_NAME "files.tar.zst"
#define MANIFEST_INDEX_NAME "index.zst"
/* Each backup names its whole chain, and all of them are in memory at once; a year of daily ones, then a full one is
 * due. */
enum { MANIFEST_FORMAT = 1, MANIFEST_CHAIN_MAX = 366 };

struct manifest_file {
  uint64_t bytes;
  struct digest digest;
};

struct manifest {
  json_t *json;      /* the whole document; the strings below are in it */
  const char *id;    /* UUID */
  const char *time;  /* of the instant, as clock_format() writes it */
  const char *label; /* or NULL */
  const char *base;  /* id of the backup it is against, or NULL */
  const char *consistency;
  enum manifest_type type;
  const json_t *chain;   /* array of ids: the full backup first, this one last */
  const json_t *sources; /* array of json_path() */
  struct manifest_file archive, index;
};

const char *manifest_type_name(enum manifest_type type);
int manifest_type_parse(const char *name, enum manifest_type *ret); /* 0 or -EINVAL */

/* Reads and checks dir_fd/backup.json. name: for messages. */
int manifest_read(int dir_fd, const char *name, struct manifest *ret, struct umbra_error *err);
void manifest_done(struct manifest *m);

/* Adds the checksum to the document and writes dir_fd/backup.json, synced. */
int manifest_write(int dir_fd, json_t *json, struct umbra_error *err);

/* {"bytes": …, "xxh3_128": "…"}; NULL: no memory. */
json_t *manifest_file_json(const struct manifest_file *file);

#endif
