/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libumbra, stream part: a file as one flat sequence of bytes, as BackupRead gave it, and back.
 *
 *     struct umbra_stream *s = NULL;
 *     size_t n;
 *     do {
 *       r = umbra_backup_read(fd, buffer, sizeof buffer, &n, 0, 1, &s);
 *       …write n bytes somewhere…
 *     } while (r == 0 && n > 0);
 *     umbra_backup_read(fd, NULL, 0, &n, 1, 1, &s);     // the context is gone
 *
 * The bytes are WIN32_STREAM_ID headers, each with its name and data, little-endian and without padding ([MS-BKUP]);
 * what becomes which stream is in docs/STREAMS.md.  File attributes, times and the name are not in it, as they never
 * were; owner, mode and device numbers are.  A file of the live system and one of a shadow copy are read alike.
 *
 * Results are 0 or a negative errno; umbra_stream_message() says more, as long as the context lives.  A context is
 * one file's, read or written, and belongs to one thread at a time.  All calls block on the file.
 */
#ifndef UMBRA_STREAM_H
#define UMBRA_STREAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct umbra_stream;

/* What becomes of a stream, in what is written, that has no counterpart on Linux. */
enum umbra_stream_unknown {
  UMBRA_STREAM_UNKNOWN_FAILS = 0, /* -EOPNOTSUPP, as [MS-BKUP] wants it of streams that it does not name */
  UMBRA_STREAM_UNKNOWN_KEPT = 1,  /* as an extended attribute, from which reading makes it again */
  UMBRA_STREAM_UNKNOWN_SKIPPED = 2,
};

/* All of it may be left out. Descriptors and strings stay the caller's, and must live as long as the context. */
struct umbra_stream_options {
  enum umbra_stream_unknown unknown;
  const char *link; /* reading: this is one more name of the file called so, whose data is elsewhere: a LINK stream
                       says that, and nothing else */
  /* Writing: where the file is, which a symbolic link, a FIFO, a socket, a device or one more name of another file
   * takes the place of. Without a name such streams fail. */
  int directory_fd;
  const char *name;
  int root_fd; /* what a LINK stream's path starts from; it never leads out of it. Negative: LINK streams fail */
};

/* Makes a context other than the default's, which the first call of the others makes where there is none. */
int umbra_stream_new(const struct umbra_stream_options *options, struct umbra_stream **context);

/* Of the last failure; "" if none, or no context. The context's. */
const char *umbra_stream_message(const struct umbra_stream *context);

/*
 * Fills buffer with what comes next: *ret_bytes less than room_bytes only near the end, 0 at it.  fd: open for
 * reading; a symbolic link, a socket or a device by O_PATH | O_NOFOLLOW.  Its offset is used.  security: owner, mode
 * and access control lists, too.  A file that becomes shorter meanwhile is -ESTALE: its length was told already.
 * abort: the context is freed, nothing else is done.
 */
int umbra_backup_read(int fd, void *buffer, size_t room_bytes, size_t *ret_bytes, int abort, int security,
                      struct umbra_stream **context);

/*
 * Passes over wanted_bytes of the data of the present stream, e.g. because they cannot be read: after a failed read,
 * or between reads.  Never over a header: where there are fewer, as after a header that is not read to its end, it
 * stops before the next one, *ret_bytes are those passed over, and the result is -ENXIO.
 */
int umbra_backup_seek(int fd, uint64_t wanted_bytes, uint64_t *ret_bytes, struct umbra_stream **context);

/*
 * Takes the next bytes of such a sequence, cut anywhere; *ret_bytes are all of them unless it fails. fd: a regular
 * file open for writing, which should be empty, or a directory.  abort: it has ended: umbra_stream_finish(), unless
 * it was called or a call has failed, whose result is returned, and the context is freed in any case.
 */
int umbra_backup_write(int fd, const void *buffer, size_t bytes, size_t *ret_bytes, int abort, int security,
                       struct umbra_stream **context);

/*
 * Sets what has to be set after the data: owner, mode, attributes.  -EBADMSG if the bytes have ended in the midst of
 * a stream: nothing is set then.  What cannot be set does not keep the others: the first failure is returned, and
 * umbra_stream_message() names it.
 */
int umbra_stream_finish(int fd, struct umbra_stream **context);

#ifdef __cplusplus
}
#endif

#endif
