/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies the data of one file.  A write(2) to the source that is under way meanwhile must show in the copy or in the
 * source's ctime: the caller noted the ctime before, and the first thing done here (SEEK_DATA on ext4 and btrfs, a
 * read on XFS) waits for the inode's lock, which such a write holds from before it stamps the ctime until all its
 * data are in.
 */
#include "providers/files/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

int copier_init(struct copier *c) {
  *c = (struct copier){0};
  if (posix_memalign((void **)&c->from, COPY_GRAIN_BYTES, COPY_BUFFER_BYTES) != 0 ||
      posix_memalign((void **)&c->to, COPY_GRAIN_BYTES, COPY_BUFFER_BYTES) != 0) {
    copier_done(c);
    return -ENOMEM;
  }
  return 0;
}

void copier_done(struct copier *c) {
  free(c->from);
  free(c->to);
  *c = (struct copier){0};
}

/* 1: cloned; 0: cannot be; negative: failed. */
static int try_clone(struct copier *c, int from_fd, int to_fd, uint64_t to_bytes, struct umbra_error *err) {
  if (c->no_clone)
    return 0;
  if (to_bytes > 0 && ftruncate(to_fd, 0) < 0)
    return error_errno(err, "emptying the old copy in the storage");
  if (ioctl(to_fd, FICLONE, from_fd) == 0)
    return 1;
  if (errno == EXDEV || errno == EOPNOTSUPP || errno == ENOTTY)
    c->no_clone = true;
  if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
    return error_errno(err, "cloning into the storage");
  return 0;
}

static int write_piece(struct copier *c, int to_fd, const char *data, size_t length_bytes, uint64_t offset_bytes,
                       struct umbra_error *err) {
  c->stored_bytes += length_bytes;
  if (c->limit_bytes && c->stored_bytes > c->limit_bytes)
    return error_set(err, -EDQUOT, UMBRA_REASON_STORAGE, "the storage limit of %llu bytes is reached",
                     (unsigned long long)c->limit_bytes);
  while (length_bytes > 0) {
    ssize_t n = pwrite(to_fd, data, length_bytes, (off_t)offset_bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return error_errno(err, "writing to the storage");
    data += n;
    length_bytes -= (size_t)n;
    offset_bytes += (uint64_t)n;
  }
  return 0;
}

/* Writes what differs from what is there, grain by grain; zeros past the end of what is there stay a hole. */
static int merge_piece(struct copier *c, int to_fd, uint64_t to_bytes, size_t length_bytes, uint64_t offset_bytes,
                       bool sparse, struct umbra_error *err) {
  size_t there = 0;
  while (offset_bytes < to_bytes && there < length_bytes) {
    ssize_t n = pread(to_fd, c->to + there, length_bytes - there, (off_t)(offset_bytes + there));
    if (n < 0 && errno != EINTR)
      return error_errno(err, "reading the old copy in the storage");
    if (n == 0)
      break;
    there += n > 0 ? (size_t)n : 0;
  }
  memset(c->to + there, 0, length_bytes - there);
  for (size_t at = 0; at < length_bytes;) {
    size_t end = at;
    while (end < length_bytes) {
      size_t grain = length_bytes - end < COPY_GRAIN_BYTES ? length_bytes - end : COPY_GRAIN_BYTES;
      bool same = (sparse || end + grain <= there) && memcmp(c->from + end, c->to + end, grain) == 0;
      if (same && end > at)
        break;
      end += grain;
      if (same)
        at = end;
    }
    if (end > at) {
      int r = write_piece(c, to_fd, c->from + at, end - at, offset_bytes + at, err);
      if (r < 0)
        return r;
    }
    at = end;
  }
  return 0;
}

/* Copies [begin, end). *ret_end: where the source ended if before. */
static int copy_range(struct copier *c, int from_fd, int to_fd, uint64_t to_bytes, bool sparse, uint64_t begin_bytes,
                      uint64_t end_bytes, uint64_t *ret_end_bytes, struct umbra_error *err) {
  for (uint64_t at = begin_bytes; at < end_bytes;) {
    if (c->cancelled && atomic_load(c->cancelled))
      return error_set(err, -ECANCELED, UMBRA_REASON_CANCELLED, "cancelled");
    size_t want = end_bytes - at < COPY_BUFFER_BYTES ? (size_t)(end_bytes - at) : COPY_BUFFER_BYTES;
    /* Whole grains: a borrowed descriptor may be one for direct I/O. */
    ssize_t n = pread(from_fd, c->from, (want + COPY_GRAIN_BYTES - 1) & ~(size_t)(COPY_GRAIN_BYTES - 1), (off_t)at);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return error_errno(err, "reading");
    if (n == 0) {
      *ret_end_bytes = at;
      return 0;
    }
    size_t got = (size_t)n < want ? (size_t)n : want;
    int r = at < to_bytes || sparse ? merge_piece(c, to_fd, to_bytes, got, at, sparse, err)
                                    : write_piece(c, to_fd, c->from, got, at, err);
    if (r < 0)
      return r;
    if (c->copied)
      c->copied(c->context, got);
    at += got;
  }
  *ret_end_bytes = end_bytes;
  return 0;
}

/* The old copy has to have a hole where the source has one. */
static int punch(int to_fd, uint64_t to_bytes, uint64_t begin_bytes, uint64_t end_bytes, struct umbra_error *err) {
  if (begin_bytes >= to_bytes || end_bytes <= begin_bytes)
    return 0;
  off_t data = lseek(to_fd, (off_t)begin_bytes, SEEK_DATA);
  if (data < 0 || (uint64_t)data >= end_bytes)
    return 0;
  if (fallocate(to_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)begin_bytes,
                (off_t)(end_bytes - begin_bytes)) < 0)
    return error_errno(err, "making a hole in the old copy in the storage");
  return 0;
}

static int copy_extents(struct copier *c, int from_fd, bool shared, int to_fd, uint64_t to_bytes, uint64_t size_bytes,
                        struct umbra_error *err) {
  uint64_t at = 0, end_bytes = 0;
  while (at < size_bytes) {
    off_t data = (off_t)at, hole = (off_t)size_bytes;
    if (!shared) {
      data = lseek(from_fd, (off_t)at, SEEK_DATA);
      if (data < 0 && errno == ENXIO)
        data = (off_t)size_bytes; /* only a hole is left */
      else if (data < 0)
        data = (off_t)at; /* the filesystem cannot tell */
      if ((uint64_t)data > size_bytes)
        data = (off_t)size_bytes;
      hole = (uint64_t)data < size_bytes ? lseek(from_fd, data, SEEK_HOLE) : data;
      if (hole < 0 || (uint64_t)hole > size_bytes)
        hole = (off_t)size_bytes;
    }
    int r = punch(to_fd, to_bytes, at, (uint64_t)data, err);
    if (r < 0)
      return r;
    if ((uint64_t)data >= size_bytes)
      break;
    r = copy_range(c, from_fd, to_fd, to_bytes, shared, (uint64_t)data, (uint64_t)hole, &end_bytes, err);
    if (r < 0)
      return r;
    if (end_bytes < (uint64_t)hole) /* cut off meanwhile: its ctime says so */
      return ftruncate(to_fd, (off_t)end_bytes) < 0 ? error_errno(err, "cutting off the copy in the storage") : 0;
    at = (uint64_t)hole;
  }
  /* A file of data to its end has its length already. */
  if ((to_bytes > size_bytes || end_bytes != size_bytes || shared) && ftruncate(to_fd, (off_t)size_bytes) < 0)
    return error_errno(err, "giving a file of %llu bytes its length in the storage", (unsigned long long)size_bytes);
  return 0;
}

/*
 * Waits until every write(2) that had begun has ended: each filesystem has its own call that takes the inode's lock.
 * None of these moves the offset of a borrowed descriptor.
 */
static void wait_for_writers(struct copier *c, int from_fd, bool shared) {
  struct fiemap map = {.fm_length = FIEMAP_MAX_OFFSET};
  if (shared)
    (void)ioctl(from_fd, FS_IOC_FIEMAP, &map);
  else
    (void)lseek(from_fd, 0, SEEK_DATA);
  (void)!pread(from_fd, c->from, COPY_GRAIN_BYTES, 0);
}

int copy_data(struct copier *c, int from_fd, bool shared, int to_fd, struct copy_result *ret,
              struct umbra_error *err) {
  struct stat from, to;
  wait_for_writers(c, from_fd, shared);
  if (fstat(to_fd, &to) < 0)
    return error_errno(err, "looking at the copy in the storage");
  if (fstat(from_fd, &from) < 0)
    return error_errno(err, "looking at it");
  *ret = (struct copy_result){.size_bytes = (uint64_t)from.st_size};
  if (from.st_size > 0) {
    int r = try_clone(c, from_fd, to_fd, (uint64_t)to.st_size, err);
    if (r < 0)
      return r;
    if (fstat(to_fd, &to) < 0)
      return error_errno(err, "looking at the copy in the storage");
    if (r == 1) {
      *ret = (struct copy_result){.size_bytes = (uint64_t)to.st_size, .cloned = true};
      return 0;
    }
  }
  return copy_extents(c, from_fd, shared, to_fd, (uint64_t)to.st_size, (uint64_t)from.st_size, err);
}
