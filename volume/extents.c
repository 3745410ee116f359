/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two questions to the filesystem, asked in batches: what is free (FS_IOC_GETFSMAP) and where a file lies
 * (FS_IOC_FIEMAP).
 *
 * Only what the filesystem calls free is left out.  Whatever it does not mention, or reports with an owner that we do
 * not know, counts as in use: a mistake here then costs time and never data.
 */
#include "volume/extents.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/fsmap.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>

enum { FSMAP_RECORDS = 1024, FIEMAP_RECORDS = 256 };

struct free_run {
  uint64_t begin_bytes, end_bytes;
};

struct marking {
  struct bitmap *allocated;
  unsigned granule_shift;
  uint64_t done_granules; /* everything below is decided */
  struct free_run run;    /* free space not yet applied: adjacent records are one run */
};

/* The run is known to its end: what lies between the last one and it is in use, and so are granules it only touches.
 */
static void apply_run(struct marking *m) {
  uint64_t granule_bytes = UINT64_C(1) << m->granule_shift;
  uint64_t first = m->run.begin_bytes / granule_bytes + (m->run.begin_bytes % granule_bytes != 0);
  uint64_t end = m->run.end_bytes / granule_bytes;
  if (first < end && end > m->done_granules) {
    if (first > m->done_granules)
      bitmap_set_range(m->allocated, m->done_granules, first - m->done_granules);
    m->done_granules = end;
  }
  m->run = (struct free_run){0};
}

static void add_free(struct marking *m, uint64_t begin_bytes, uint64_t end_bytes) {
  if (end_bytes <= begin_bytes)
    return;
  if (m->run.end_bytes != begin_bytes || m->run.end_bytes == 0) {
    apply_run(m);
    m->run.begin_bytes = begin_bytes;
  }
  m->run.end_bytes = end_bytes;
}

static bool on_device(const struct fsmap_head *head, const struct fsmap *record, dev_t device) {
  /* Both are the kernel's 32-bit encoding of a device number. Without the flag there is only one device. */
  return !(head->fmh_oflags & FMH_OF_DEV_T) || record->fmr_device == (uint32_t)device;
}

static bool is_free(const struct fsmap *record) {
  return record->fmr_flags & FMR_OF_SPECIAL_OWNER && record->fmr_owner == FMR_OWN_FREE;
}

int extents_allocated(int fd, dev_t device, unsigned granule_shift, struct bitmap *allocated,
                      struct umbra_error *err) {
  CLEANUP_FREE struct fsmap_head *head = calloc(1, fsmap_sizeof(FSMAP_RECORDS));
  if (!head)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "asking what is allocated");
  struct marking m = {.allocated = allocated, .granule_shift = granule_shift};
  head->fmh_keys[1] = (struct fsmap){.fmr_device = UINT32_MAX,
                                     .fmr_flags = UINT32_MAX,
                                     .fmr_physical = UINT64_MAX,
                                     .fmr_owner = UINT64_MAX,
                                     .fmr_offset = UINT64_MAX};
  for (;;) {
    head->fmh_count = FSMAP_RECORDS;
    head->fmh_entries = 0;
    if (ioctl(fd, FS_IOC_GETFSMAP, head) < 0) {
      if (errno == EINTR)
        continue;
      if (errno == ENOTTY || errno == EOPNOTSUPP || errno == EINVAL)
        return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                         "the filesystem cannot tell what is allocated");
      return error_errno(err, "asking what is allocated");
    }
    if (head->fmh_entries == 0)
      break;
    for (uint32_t i = 0; i < head->fmh_entries && i < FSMAP_RECORDS; i++) {
      const struct fsmap *record = &head->fmh_recs[i];
      if (on_device(head, record, device) && is_free(record) &&
          record->fmr_length <= UINT64_MAX - record->fmr_physical)
        add_free(&m, record->fmr_physical, record->fmr_physical + record->fmr_length);
    }
    struct fsmap *last = &head->fmh_recs[head->fmh_entries - 1];
    if (last->fmr_flags & FMR_OF_LAST)
      break;
    fsmap_advance(head);
  }
  apply_run(&m);
  if (m.done_granules < allocated->bits)
    bitmap_set_range(allocated, m.done_granules, allocated->bits - m.done_granules);
  return 0;
}

static int report_extent(const struct fiemap_extent *extent, extents_found found, void *context,
                         struct umbra_error *err) {
  const uint32_t nowhere_yet = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC;
  if (extent->fe_flags & nowhere_yet)
    return error_set(err, -EAGAIN, UMBRA_REASON_BUSY, "the file is being written: its data has no place on disk yet");
  if (extent->fe_flags & FIEMAP_EXTENT_ENCODED)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "the file is compressed or encrypted by its filesystem");
  /* Kept within the inode or shared with other files' tails: it has no blocks of its own. */
  if (extent->fe_flags & (FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL))
    return 0;
  return found(context, extent->fe_physical, extent->fe_logical, extent->fe_length);
}

int extents_of_file(int fd, extents_found found, void *context, struct umbra_error *err) {
  CLEANUP_FREE struct fiemap *map = calloc(1, sizeof *map + FIEMAP_RECORDS * sizeof map->fm_extents[0]);
  if (!map)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "asking where a file lies");
  uint64_t next_bytes = 0;
  for (;;) {
    map->fm_start = next_bytes;
    map->fm_length = FIEMAP_MAX_OFFSET - next_bytes;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = FIEMAP_RECORDS;
    map->fm_mapped_extents = 0;
    if (ioctl(fd, FS_IOC_FIEMAP, map) < 0) {
      if (errno == EINTR)
        continue;
      if (errno == ENOTTY || errno == EOPNOTSUPP)
        return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                         "the filesystem cannot tell where a file lies");
      return error_errno(err, "asking where a file lies");
    }
    for (uint32_t i = 0; i < map->fm_mapped_extents && i < FIEMAP_RECORDS; i++) {
      const struct fiemap_extent *extent = &map->fm_extents[i];
      int r = report_extent(extent, found, context, err);
      if (r < 0)
        return r;
      if (extent->fe_flags & FIEMAP_EXTENT_LAST)
        return 0;
      if (extent->fe_length == 0 || extent->fe_length > FIEMAP_MAX_OFFSET - extent->fe_logical)
        return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "the filesystem gave a senseless extent at %" PRIu64,
                         (uint64_t)extent->fe_logical);
      next_bytes = extent->fe_logical + extent->fe_length;
    }
    if (map->fm_mapped_extents == 0)
      return 0;
  }
}
