/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes what takes a file's streams apart: the input is written by umbra_backup_write to a file in memory, in a
 * directory of its own, in pieces whose length its first byte gives.  What is accepted must be read again, and be
 * accepted again.  With replay.c it is a program that runs each file of the corpus once.
 */
#include "umbra/stream.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READ_BYTES_MAX = 1 << 20 };

static int directory = -1;
static char directory_path[] = "/tmp/umbra-fuzz-stream.XXXXXX";

static void clean_up(void) {
  (void)unlinkat(directory, "file", 0);
  (void)rmdir(directory_path);
}

static void set_up(void) {
  if (directory >= 0)
    return;
  if (!mkdtemp(directory_path) || (directory = open(directory_path, O_RDONLY | O_DIRECTORY)) < 0)
    abort();
  (void)atexit(clean_up);
}

/* With security off, so that owner and mode of the input's choice are set by nobody. */
static int write_all(const uint8_t *data, size_t size, size_t piece, enum umbra_stream_unknown unknown) {
  const struct umbra_stream_options options = {
      .unknown = unknown, .directory_fd = directory, .name = "file", .root_fd = directory};
  struct umbra_stream *s = NULL;
  size_t taken;
  (void)unlinkat(directory, "file", 0);
  int fd = openat(directory, "file", O_RDWR | O_CREAT | O_EXCL, 0600);
  int r = fd < 0 ? -1 : umbra_stream_new(&options, &s);
  while (r == 0 && size > 0) {
    size_t n = piece < size ? piece : size;
    r = umbra_backup_write(fd, data, n, &taken, 0, 0, &s);
    if (r == 0 && taken != n)
      abort();
    data += n;
    size -= n;
  }
  if (r == 0)
    r = umbra_stream_finish(fd, &s);
  (void)umbra_backup_write(fd, NULL, 0, &taken, 1, 0, &s);
  if (fd >= 0)
    (void)close(fd);
  return r;
}

static void read_again(void) {
  static uint8_t bytes[READ_BYTES_MAX];
  struct umbra_stream *s = NULL;
  size_t got = 0, length = 0;
  struct stat st;
  int fd = openat(directory, "file", O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0)
    fd = openat(directory, "file", O_PATH | O_NOFOLLOW);
  /* What claims to be long has holes; all of it is not read. */
  if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > READ_BYTES_MAX / 2) {
    (void)close(fd);
    return;
  }
  do {
    if (umbra_backup_read(fd, bytes + length, sizeof bytes - length, &got, 0, 0, &s) < 0)
      abort();
    length += got;
  } while (got > 0 && length < sizeof bytes);
  (void)umbra_backup_read(fd, NULL, 0, &got, 1, 0, &s);
  (void)close(fd);
  if (length < sizeof bytes && write_all(bytes, length, length + 1, UMBRA_STREAM_UNKNOWN_KEPT) < 0)
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2)
    return 0;
  set_up();
  if (write_all(data + 1, size - 1, data[0] % 64U + 1, (enum umbra_stream_unknown)(data[0] >> 6 & 1)) == 0)
    read_again();
  return 0;
}
