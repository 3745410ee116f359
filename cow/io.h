/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transfers side by side: several reads and writes handed to the kernel in one call, all done when it returns.
 *
 * Through io_submit(2) (libaio): each transfer holds the open file that it was started on, and with it that file's
 * lock, until it has ended, also when its process has not lived so long. That is how the next server knows when it
 * may start (DESIGN.md, E12).
 */
#ifndef COW_IO_H
#define COW_IO_H

#include <libaio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COW_IO_TRANSFERS_MAX = 128 }; /* in one run */

struct cow_transfer {
  int fd; /* side by side only where it is O_DIRECT: else one after the other */
  bool write;
  void *buffer;
  size_t length_bytes;
  uint64_t offset_bytes;
  int result; /* 0 or negative errno; -ENODATA: past the end */
};

/* For one thread at a time. */
struct cow_io {
  io_context_t context; /* NULL: the kernel had none left (fs.aio-max-nr); transfers then go one after the other */
  struct iocb iocbs[COW_IO_TRANSFERS_MAX];
};

/* Never fails. Allocates in the kernel; cow_io_run() does not. */
void cow_io_init(struct cow_io *io);
void cow_io_done(struct cow_io *io); /* fine on a zeroed one */

/* Blocks until each of count (at most COW_IO_TRANSFERS_MAX) has its result. */
void cow_io_run(struct cow_io *io, struct cow_transfer *transfers, size_t count);

#endif
