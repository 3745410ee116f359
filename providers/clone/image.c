/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image on the volume that it is an image of: every block it takes there changes the volume.  So all it will take
 * is allocated before it is written (unwritten extents: metadata only), where these lie is asked (FIEMAP), and marks
 * and contents of granules that hold nothing else are left out of the copy (C5).  A shadow copy of a volume does not
 * need the shadow copy.
 */
#include "providers/clone/image.h"

#include "common/cleanup.h"
#include "providers/clone/copier.h"
#include "volume/extents.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* On the copied volume itself this part of what is free is left alone: a tenth. */
enum { VOLUME_FREE_PART_LEFT = 10 };

void image_init(struct image *image) { *image = (struct image){.fd = -1}; }

void image_done(struct image *image) {
  cleanup_close_fd(&image->fd);
  free(image->path);
  bitmap_done(&image->have);
  bitmap_done(&image->own);
  image_init(image);
}

/* Without O_DIRECT where the filesystem has none (tmpfs of old kernels): slower, as correct. */
static int open_image(const char *path, int flags) {
  int fd = open(path, flags | O_RDWR | O_DIRECT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0 && errno == EINVAL)
    fd = open(path, (flags & ~O_EXCL) | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  return fd < 0 ? -errno : fd;
}

static int open_nameless(const char *directory) {
  int fd = open_image(directory, O_TMPFILE);
  if (fd != -EOPNOTSUPP && fd != -EISDIR && fd != -ENOENT)
    return fd;
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "%s/.umbra.%d.image", directory, (int)getpid()) < 0)
    return -ENOMEM;
  fd = open_image(path, O_CREAT | O_EXCL);
  if (fd >= 0)
    (void)unlink(path);
  return fd;
}

static int set_up(struct image *image, uint64_t granules, dev_t volume_device, struct umbra_error *err) {
  struct stat st;
  if (fstat(image->fd, &st) < 0)
    return error_errno(err, "looking at an image in storage '%s'", image->storage_dir);
  image->on_volume = st.st_dev == volume_device;
  int r = bitmap_init(&image->have, granules);
  if (r >= 0)
    r = bitmap_init(&image->own, granules);
  return r < 0 ? error_code(err, r, "getting memory for an image of %" PRIu64 " granules", granules) : 0;
}

static uint64_t image_bytes(uint64_t device_bytes) {
  return (device_bytes + COPIER_ALIGNMENT_BYTES - 1) & ~(uint64_t)(COPIER_ALIGNMENT_BYTES - 1);
}

int image_create(struct image *image, const char *path, uint64_t device_bytes, uint64_t granules, dev_t volume_device,
                 struct umbra_error *err) {
  assert(image->fd < 0);
  int fd = path ? open_image(path, O_CREAT | O_EXCL) : open_nameless(image->storage_dir);
  if (fd < 0)
    return error_code(err, fd, "making an image in storage '%s'", image->storage_dir);
  image->fd = fd;
  if (path && !(image->path = strdup(path)))
    return error_code(err, -ENOMEM, "making an image in storage '%s'", image->storage_dir);
  if (ftruncate(fd, (off_t)image_bytes(device_bytes)) < 0)
    return error_errno(err, "making an image of %" PRIu64 " bytes in storage '%s'", device_bytes, image->storage_dir);
  return set_up(image, granules, volume_device, err);
}

static int note_have(void *context, uint64_t physical_bytes, uint64_t logical_bytes, uint64_t length_bytes) {
  (void)physical_bytes;
  struct image *image = context;
  uint64_t first = logical_bytes >> image->granule_shift;
  bitmap_set_range(&image->have, first, ((logical_bytes + length_bytes - 1) >> image->granule_shift) - first + 1);
  return 0;
}

/* Only granules that lie within one extent: the others hold something else as well. */
static int note_own(void *context, uint64_t physical_bytes, uint64_t logical_bytes, uint64_t length_bytes) {
  (void)logical_bytes;
  struct image *image = context;
  uint64_t granule_bytes = UINT64_C(1) << image->granule_shift;
  uint64_t first = (physical_bytes + granule_bytes - 1) >> image->granule_shift;
  uint64_t end = (physical_bytes + length_bytes) >> image->granule_shift;
  if (first < end)
    bitmap_set_range(&image->own, first, end - first);
  return 0;
}

static int learn_own(struct image *image, struct umbra_error *err) {
  if (!image->on_volume)
    return 0;
  bitmap_clear_all(&image->own);
  int r = extents_of_file(image->fd, note_own, image, err);
  return r < 0 ? error_prefix(err, r, "finding where the image in storage '%s' lies", image->storage_dir) : 0;
}

int image_open(struct image *image, const char *path, uint64_t device_bytes, uint64_t granules, dev_t volume_device,
               struct umbra_error *err) {
  assert(image->fd < 0);
  int fd = open_image(path, 0);
  if (fd < 0)
    return error_code(err, fd, "opening image '%s'", path);
  image->fd = fd;
  struct stat st;
  if (fstat(fd, &st) < 0)
    return error_errno(err, "looking at image '%s'", path);
  if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != image_bytes(device_bytes))
    return error_set(err, -ESTALE, UMBRA_REASON_STORAGE, "image '%s' is not one of %" PRIu64 " bytes", path,
                     device_bytes);
  if (!(image->path = strdup(path)))
    return error_code(err, -ENOMEM, "opening image '%s'", path);
  int r = set_up(image, granules, volume_device, err);
  if (r >= 0)
    r = extents_of_file(fd, note_have, image, err);
  return r < 0 ? r : learn_own(image, err);
}

static int check_room(const struct image *image, uint64_t missing_bytes, struct umbra_error *err) {
  uint64_t used_bytes = image_storage_bytes(image);
  if (image->bytes_max > 0 && used_bytes + missing_bytes > image->bytes_max)
    return error_set(err, -ENOSPC, UMBRA_REASON_STORAGE,
                     "the shadow copy needs %" PRIu64 " bytes in storage '%s', its limit is %" PRIu64,
                     used_bytes + missing_bytes, image->storage_dir, image->bytes_max);
  struct statvfs fs;
  if (fstatvfs(image->fd, &fs) < 0)
    return error_errno(err, "asking how much is free in storage '%s'", image->storage_dir);
  uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
  /* Whoever writes to the volume meanwhile comes first. */
  if (image->on_volume)
    free_bytes -= free_bytes / VOLUME_FREE_PART_LEFT;
  if (missing_bytes > free_bytes)
    return error_set(err, -ENOSPC, UMBRA_REASON_STORAGE,
                     "the shadow copy needs %" PRIu64 " bytes more in storage '%s', where %" PRIu64 " may be used",
                     missing_bytes, image->storage_dir, free_bytes);
  return 0;
}

int image_reserve(struct image *image, const struct bitmap *wanted, struct umbra_error *err) {
  uint64_t missing = 0;
  for (uint64_t i = 0; i < bitmap_word_count(wanted); i++)
    missing += (uint64_t)__builtin_popcountll(wanted->words[i] & ~image->have.words[i]);
  if (missing == 0)
    return 0;
  int r = check_room(image, missing << image->granule_shift, err);
  if (r < 0)
    return r;
  uint64_t at = 0, first, count;
  for (; image->on_volume && bitmap_next_run(wanted, at, UINT64_MAX, &first, &count); at = first + count)
    if (fallocate(image->fd, FALLOC_FL_KEEP_SIZE, (off_t)(first << image->granule_shift),
                  (off_t)(count << image->granule_shift)) < 0)
      return error_errno(err, "reserving %" PRIu64 " bytes in storage '%s'", missing << image->granule_shift,
                         image->storage_dir);
  bitmap_or(&image->have, wanted);
  return learn_own(image, err);
}

uint64_t image_storage_bytes(const struct image *image) {
  struct stat st;
  return image->fd >= 0 && fstat(image->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}
