/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A compressed stream of independent zstd frames with a seek table at its end (the "zstd seekable format", which any
 * zstd program reads as one stream).  Frames are compressed and decompressed by several threads, damage in one does
 * not reach the next, and reading can begin anywhere.
 */
#ifndef BACKUP_FRAMES_H
#define BACKUP_FRAMES_H

#include "backup/digest.h"
#include "common/error.h"

/*
 * Larger frames compress better, smaller ones need less memory: 4 MiB is twice the window of level 3 and costs 0 to 4 % of the
 * ratio (/usr/share/perl, /usr/include).  Memory of a writer: (threads + FRAMES_AHEAD) * 2 frames and a few MiB a
 * thread, at most 76 MiB.
 */
enum { FRAME_BYTES = 4 * 1024 * 1024, FRAMES_THREADS_MAX = 4, FRAMES_AHEAD = 4, FRAMES_LEVEL_DEFAULT = 3 };

/* ---- writing ---- */
struct frame_writer;
/* fd: the caller's. spool_dir_fd: see spool_open_file(). */
int frame_writer_new(int fd, int level, int spool_dir_fd, struct frame_writer **ret, struct umbra_error *err);
int frame_writer_add(struct frame_writer *w, const void *data, size_t length_bytes, struct umbra_error *err);
uint64_t frame_writer_offset(const struct frame_writer *w); /* uncompressed bytes so far */
int frame_writer_finish(struct frame_writer *w, struct digest *ret_file, uint64_t *ret_file_bytes,
                        struct umbra_error *err);
void frame_writer_free(struct frame_writer *w);

/* ---- reading ---- */
struct frame_reader;

/*
 * A damaged or missing seek table is rebuilt from the frames that are there, and *ret_table_damaged says so.  name is
 * for messages.
 */
int frame_reader_new(int fd, const char *name, struct frame_reader **ret, bool *ret_table_damaged,
                     struct umbra_error *err);
uint64_t frame_reader_length(const struct frame_reader *r); /* uncompressed bytes in all */
void frame_reader_seek(struct frame_reader *r, uint64_t offset_bytes);

/*
 * 1: *ret points to the bytes from the position to the end of their frame, the reader's until the next call; the
 * position is behind them.  0: the end.  Negative: that frame is damaged; others can still be read after a seek.
 */
int frame_reader_next(struct frame_reader *r, const void **ret, size_t *ret_bytes, struct umbra_error *err);

/* Where the frame begins that comes after the one at offset. */
uint64_t frame_reader_after(const struct frame_reader *r, uint64_t offset_bytes);
void frame_reader_free(struct frame_reader *r);

#endif
