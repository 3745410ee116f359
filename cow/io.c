/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/io.h"

#include "common/fd.h"

#include <assert.h>
#include <errno.h>

void cow_io_init(struct cow_io *io) {
  io->context = NULL;
  if (io_setup(COW_IO_TRANSFERS_MAX, &io->context) < 0)
    io->context = NULL;
}

void cow_io_done(struct cow_io *io) {
  if (io->context)
    (void)io_destroy(io->context);
  io->context = NULL;
}

/* From done_bytes on, alone. */
static int finish(const struct cow_transfer *t, size_t done_bytes) {
  unsigned char *buffer = (unsigned char *)t->buffer + done_bytes;
  size_t length_bytes = t->length_bytes - done_bytes;
  return t->write ? fd_pwrite_all(t->fd, buffer, length_bytes, t->offset_bytes + done_bytes)
                  : fd_pread_all(t->fd, buffer, length_bytes, t->offset_bytes + done_bytes);
}

static void take_event(const struct io_event *event) {
  struct cow_transfer *t = event->data;
  long transferred = (long)event->res;
  if (transferred < 0)
    t->result = (int)transferred;
  else
    t->result = (size_t)transferred == t->length_bytes ? 0 : finish(t, (size_t)transferred);
}

static void wait_for(struct cow_io *io, size_t count) {
  struct io_event events[COW_IO_TRANSFERS_MAX];
  while (count > 0) {
    int n = io_getevents(io->context, (long)count, (long)count, events, NULL);
    for (int i = 0; i < n; i++)
      take_event(&events[i]);
    count -= n > 0 ? (size_t)n : 0;
  }
}

void cow_io_run(struct cow_io *io, struct cow_transfer *transfers, size_t count) {
  assert(count <= COW_IO_TRANSFERS_MAX);
  struct iocb *ready[COW_IO_TRANSFERS_MAX];
  size_t submitted = 0;
  for (size_t i = 0; i < count; i++) {
    struct cow_transfer *t = &transfers[i];
    ready[i] = &io->iocbs[i];
    if (t->write)
      io_prep_pwrite(ready[i], t->fd, t->buffer, t->length_bytes, (long long)t->offset_bytes);
    else
      io_prep_pread(ready[i], t->fd, t->buffer, t->length_bytes, (long long)t->offset_bytes);
    ready[i]->data = t;
  }
  /* One alone is cheaper without; and what the kernel does not take now goes the plain way. */
  while (io->context && count > 1 && submitted < count) {
    int n = io_submit(io->context, (long)(count - submitted), ready + submitted);
    if (n <= 0 && n != -EINTR)
      break;
    submitted += n > 0 ? (size_t)n : 0;
  }
  for (size_t i = submitted; i < count; i++)
    transfers[i].result = finish(&transfers[i], 0);
  wait_for(io, submitted);
}
