/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stream-tree FROM TO STREAMS SEED: copies a tree by umbra_backup_read and umbra_backup_write alone, through buffers
 * of changing length, and leaves each file's streams in STREAMS/N, and N NUL path NUL in STREAMS/list.  What has more
 * than one name is written once.  STREAMS "-": nothing is left, buffers are as long as can be, and what they hold
 * goes through a pipe.
 */
#include "umbra/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_MAX = 70000, LINKS_MAX = 100000, PIPE_BYTES = 65536 };

static const char *from, *to, *streams;
static int to_fd;
static unsigned seed, number;
static FILE *list; /* NULL: nothing is left */
static int through[2];
static struct {
  ino_t inode;
  char *path;
} links[LINKS_MAX];
static size_t link_count;

static void fail(const char *what, const char *path, int code, const struct umbra_stream *s) {
  fprintf(stderr, "stream-tree: %s '%s': %s (%s)\n", what, path, umbra_stream_message(s), strerror(-code));
  exit(1);
}

static size_t piece(void) {
  if (!list)
    return PIPE_BYTES;
  seed = seed * 1103515245 + 12345;
  return seed >> 16 & 3 ? (seed >> 18) % 40 + 1 : (seed >> 8) % PIECE_MAX + 1;
}

/* The path of another name of the same file, below the tree; NULL: this is the first. */
static const char *other_name(const struct stat *st, const char *path) {
  if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
    return NULL;
  for (size_t i = 0; i < link_count; i++)
    if (links[i].inode == st->st_ino)
      return links[i].path;
  if (link_count < LINKS_MAX) {
    links[link_count].inode = st->st_ino;
    links[link_count++].path = strdup(path);
  }
  return NULL;
}

static void copy(int in, int out, int keep, const struct umbra_stream_options *options, const char *path) {
  static unsigned char bytes[PIECE_MAX];
  struct umbra_stream *reading = NULL, *writing = NULL;
  size_t got = 1, taken;
  int r = umbra_stream_new(options, &reading);
  if (r == 0)
    r = umbra_stream_new(options, &writing);
  while (r == 0 && got > 0) {
    r = umbra_backup_read(in, bytes, piece(), &got, 0, 1, &reading);
    if (r < 0)
      fail("reading", path, r, reading);
    if (write(list ? keep : through[1], bytes, got) != (ssize_t)got ||
        (!list && got > 0 && read(through[0], bytes, got) != (ssize_t)got))
      fail("keeping", path, -errno, NULL);
    r = umbra_backup_write(out, bytes, got, &taken, 0, 1, &writing);
  }
  if (r == 0)
    r = umbra_stream_finish(out, &writing);
  if (r < 0)
    fail("writing", path, r, writing);
  umbra_backup_read(in, NULL, 0, &got, 1, 1, &reading);
  umbra_backup_write(out, NULL, 0, &got, 1, 1, &writing);
}

static int visit(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  const char *relative = path + strlen(from) + (path[strlen(from)] == '/');
  char there[8192], kept[8192];
  int kind = S_ISREG(st->st_mode) || S_ISDIR(st->st_mode);
  (void)flag;
  if (!*relative)
    return 0;
  snprintf(there, sizeof there, "%s/%s", to, relative);
  snprintf(kept, sizeof kept, "%s/%u", streams, number);
  if (list)
    fprintf(list, "%s%c%s%c", kept, 0, path, 0);
  int in = open(path, O_NOFOLLOW | (kind ? O_RDONLY : O_PATH));
  int out = S_ISDIR(st->st_mode) ? (mkdir(there, 0700), open(there, O_RDONLY | O_DIRECTORY))
                                 : open(there, O_RDWR | O_CREAT | O_EXCL, 0600);
  int keep = list ? open(kept, O_WRONLY | O_CREAT | O_EXCL, 0600) : dup(through[1]);
  there[strlen(to) + 1 + (size_t)(ftw->base - (int)(relative - path))] = 0;
  int directory = open(there, O_RDONLY | O_DIRECTORY);
  if (in < 0 || out < 0 || keep < 0 || directory < 0)
    fail("opening", path, -errno, NULL);
  const struct umbra_stream_options options = {
      .link = other_name(st, relative), .directory_fd = directory, .name = path + ftw->base, .root_fd = to_fd};
  copy(in, out, keep, &options, path);
  close(in), close(out), close(keep), close(directory);
  number++;
  return 0;
}

int main(int argc, char **argv) {
  char path[4096];
  if (argc != 5)
    return 2;
  from = argv[1], to = argv[2], streams = argv[3], seed = (unsigned)atoi(argv[4]);
  snprintf(path, sizeof path, "%s/list", streams);
  to_fd = open(to, O_RDONLY | O_DIRECTORY);
  int leaves = strcmp(streams, "-") != 0;
  list = leaves ? fopen(path, "w") : NULL;
  if (to_fd < 0 || leaves == !list || pipe(through) < 0 || nftw(from, visit, 64, FTW_PHYS) != 0)
    fail("walking", from, -errno, NULL);
  return list ? fclose(list) : 0;
}
