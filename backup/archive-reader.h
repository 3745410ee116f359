/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads members of files.tar.zst where the index says they are, and checks each against it: kind, name, size,
 * metadata and content.  Nothing in an archive is trusted: a member is data of the record that asked for it, never a
 * place to write to.
 */
#ifndef BACKUP_ARCHIVE_READER_H
#define BACKUP_ARCHIVE_READER_H

#include "backup/metadata.h"
#include "backup/frames.h"

struct archive_reader;

/* fd: the caller's. name: for messages. *ret_table_damaged: the seek table was not usable and was rebuilt. */
int archive_reader_new(int fd, const char *name, struct archive_reader **ret, bool *ret_table_damaged,
                       struct umbra_error *err);
void archive_reader_free(struct archive_reader *r);

/*
 * Reads the head of the record's member. Records in ascending order of offset are read as one stream. ret: the caller
 * frees it with metadata_done(). -EBADMSG: damaged, the next one may be fine.
 */
int archive_reader_open(struct archive_reader *r, const struct index_record *record, struct metadata *ret,
                        struct umbra_error *err);

/*
 * The data of an INDEX_FILE: 1: a piece, the reader's until the next call; 0: all of it was read and its checksum is
 * right; negative: it is not.
 */
int archive_reader_data(struct archive_reader *r, const void **ret, size_t *ret_bytes, uint64_t *ret_offset_bytes,
                        struct umbra_error *err);

#endif
