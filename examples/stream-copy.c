/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stream-copy FROM TO: copies a file with all that belongs to it, as a program did that was written to BackupRead and
 * BackupWrite.
 */
#include <umbra/stream.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int failed(const char *file, const struct umbra_stream *context) {
  fprintf(stderr, "stream-copy: '%s': %s\n", file, umbra_stream_message(context));
  return 1;
}

int main(int argc, char **argv) {
  static char buffer[65536];
  struct umbra_stream *reading = NULL, *writing = NULL;
  size_t got, taken;
  if (argc != 3)
    return 2;
  int from = open(argv[1], O_RDONLY), to = open(argv[2], O_RDWR | O_CREAT | O_EXCL, 0600);
  if (from < 0 || to < 0) {
    perror("stream-copy");
    return 1;
  }
  do {
    if (umbra_backup_read(from, buffer, sizeof buffer, &got, 0, 1, &reading) < 0)
      return failed(argv[1], reading);
    if (umbra_backup_write(to, buffer, got, &taken, 0, 1, &writing) < 0)
      return failed(argv[2], writing);
  } while (got > 0);
  if (umbra_stream_finish(to, &writing) < 0)
    return failed(argv[2], writing);
  umbra_backup_read(from, NULL, 0, &got, 1, 1, &reading);
  umbra_backup_write(to, NULL, 0, &taken, 1, 1, &writing);
  return 0;
}
