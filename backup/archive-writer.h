/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes files.tar.zst: pax members by libarchive into compressed frames. GNU tar reads it. */
#ifndef BACKUP_ARCHIVE_WRITER_H
#define BACKUP_ARCHIVE_WRITER_H

#include "backup/metadata.h"
#include "backup/frames.h"

/* Extents of a sparse file that a member can list; a file with more gets its smallest holes filled. */
enum { ARCHIVE_EXTENTS_MAX = 65536 };

struct archive_extent {
  uint64_t offset_bytes, length_bytes;
};

struct archive_writer;

/* fd: the caller's. spool_dir_fd: see spool_open_file(). */
int archive_writer_new(int fd, int level, int spool_dir_fd, struct archive_writer **ret, struct umbra_error *err);
void archive_writer_free(struct archive_writer *w);

/* Uncompressed bytes so far: where the next member begins. */
uint64_t archive_writer_offset(const struct archive_writer *w);

/*
 * Begins the member of a record. extents: of a sparse file, in order, else NULL. A file's data follow: exactly
 * size_bytes of them for a plain one, exactly its extents for a sparse one, each at its offset, in order.
 */
int archive_writer_begin(struct archive_writer *w, const struct index_record *record, const struct metadata *a,
                         const struct archive_extent *extents, size_t extent_count, struct umbra_error *err);
int archive_writer_data(struct archive_writer *w, uint64_t offset_bytes, const void *data, size_t length_bytes,
                        struct umbra_error *err);
int archive_writer_end(struct archive_writer *w, struct umbra_error *err);

/* Ends the archive; the checksum and size are those of the file. */
int archive_writer_finish(struct archive_writer *w, struct digest *ret_file, uint64_t *ret_file_bytes,
                          struct umbra_error *err);

#endif
