/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plan may be wrong in any way: the device changes while it is walked.  What it misses is found by the second
 * walk, which sees the volume at the hold: granules that the image has, and others that were not written since the
 * hold and so are on the device as they were (T5: read, then look for a mark).  Only when both walks are through, and
 * every granule the second one named is in the image, is the clone whole (C9).
 */
#include "providers/clone/partial.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/strv.h"
#include "providers/clone/rounds.h"
#include "providers/clone/scope.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void partial_done(struct partial *p) {
  strv_free(p->paths);
  bitmap_done(&p->wanted);
  bitmap_done(&p->copied);
  free(p->bounce);
  *p = (struct partial){0};
}

static int find_paths(struct clone *c, bool *ret_all, struct umbra_error *err) {
  *ret_all = false;
  for (char **path = c->s->paths; *path; path++) {
    char *inside = NULL;
    int r = volume_path_in_filesystem(c->s->volume, *path, &inside, err);
    if (r < 0)
      return r;
    *ret_all = *ret_all || strcmp(inside, "/") == 0;
    r = strv_append_take(&c->partial.paths, inside);
    if (r < 0)
      return error_code(err, r, "noting which paths are wanted");
  }
  return 0;
}

int partial_open(struct clone *c, struct umbra_error *err) {
  const struct shadow *s = c->s;
  bool all = true;
  if (!s->paths || s->paths[0] == NULL || s->attempt >= PARTIAL_ATTEMPTS_MAX || !scope_supports(s->volume->fs_type))
    return 0;
  /* A filesystem that writes relies on structures that were not copied. */
  if (s->read_write)
    return 0;
  int r = find_paths(c, &all, err);
  if (r < 0)
    return r;
  if (!all && posix_memalign((void **)&c->partial.bounce, COPIER_ALIGNMENT_BYTES, PARTIAL_BOUNCE_BYTES) != 0)
    return error_code(err, -ENOMEM, "getting memory to look for what paths need");
  c->partial.on = !all;
  return 0;
}

static int make_bitmaps(struct clone *c) {
  struct partial *p = &c->partial;
  int r = p->copied.bits ? 0 : bitmap_init(&p->copied, c->todo.bits);
  if (r >= 0 && p->wanted.bits == 0)
    r = bitmap_init(&p->wanted, c->todo.bits);
  return r;
}

/* One aligned read into the bounce of all that [offset, offset + length) touches. */
static int read_aligned(const struct clone *c, int fd, uint64_t offset_bytes, void *buffer, size_t length_bytes) {
  uint64_t mask = COPIER_ALIGNMENT_BYTES - 1;
  while (length_bytes > 0) {
    uint64_t begin = offset_bytes & ~mask, end = (offset_bytes + length_bytes + mask) & ~mask;
    if (end - begin > PARTIAL_BOUNCE_BYTES)
      end = begin + PARTIAL_BOUNCE_BYTES;
    if (end > c->device_bytes && fd == c->device_fd) /* the image is whole multiples of the alignment */
      end = c->device_bytes;
    if (end <= offset_bytes)
      return -ENODATA;
    int r = fd_pread_all(fd, c->partial.bounce, end - begin, begin);
    if (r < 0)
      return r;
    size_t part = end - offset_bytes < length_bytes ? (size_t)(end - offset_bytes) : length_bytes;
    memcpy(buffer, c->partial.bounce + (offset_bytes - begin), part);
    buffer = (char *)buffer + part;
    offset_bytes += part;
    length_bytes -= part;
  }
  return 0;
}

static int read_live(void *context, uint64_t offset_bytes, void *buffer, size_t length_bytes) {
  const struct clone *c = context;
  return read_aligned(c, c->device_fd, offset_bytes, buffer, length_bytes);
}

/* Copies one granule that the image lacks from the device, if it is still what it was at the hold. */
static int fetch(struct clone *c, uint64_t granule) {
  if (bitmap_test(&c->image.own, granule) || track_marked(c->track, granule))
    return -ESTALE;
  uint64_t begin = granule << c->granule_shift, end = begin + (UINT64_C(1) << c->granule_shift);
  if (end > c->device_bytes)
    end = c->device_bytes;
  static_assert((int)PARTIAL_BOUNCE_BYTES >= (int)COPIER_SLOT_BYTES_SMALL, "a granule fits the bounce");
  size_t length = end - begin, padded = (length + COPIER_ALIGNMENT_BYTES - 1) & ~(size_t)(COPIER_ALIGNMENT_BYTES - 1);
  memset(c->partial.bounce + length, 0, padded - length);
  int r = fd_pread_all(c->device_fd, c->partial.bounce, length, begin);
  if (r < 0)
    return r;
  if (track_marked(c->track, granule))
    return -ESTALE;
  r = fd_pwrite_all(c->image.fd, c->partial.bounce, padded, begin);
  if (r >= 0)
    bitmap_set(&c->partial.copied, granule);
  return r;
}

static int read_held(void *context, uint64_t offset_bytes, void *buffer, size_t length_bytes) {
  struct clone *c = context;
  if (length_bytes == 0)
    return 0;
  for (uint64_t g = offset_bytes >> c->granule_shift; g <= (offset_bytes + length_bytes - 1) >> c->granule_shift; g++)
    if (!bitmap_test(&c->partial.copied, g)) {
      int r = fetch(c, g);
      if (r < 0)
        return r;
    }
  return read_aligned(c, c->image.fd, offset_bytes, buffer, length_bytes);
}

static int walk(struct clone *c, enum scope_mode mode, struct umbra_error *err) {
  struct scope_source source = {
      .read = mode == SCOPE_LIVE ? read_live : read_held,
      .context = c,
      .size_bytes = c->device_bytes,
      .cancelled = &c->s->cancelled,
  };
  bitmap_clear_all(&c->partial.wanted);
  return scope_walk(&source, c->s->volume->fs_type, c->partial.paths, mode, c->granule_shift, &c->partial.wanted,
                    err);
}

int partial_plan(struct clone *c, struct bitmap *todo, uint64_t *ret_new, struct umbra_error *err) {
  int r = make_bitmaps(c);
  if (r < 0)
    return error_code(err, r, "getting memory to look for what paths need");
  c->s->services->progress(c->s, "plan", 0, 0);
  /* The walk reads the device; what only memory knows would be missing. */
  (void)syncfs(c->s->volume_fd);
  struct umbra_error why = {0};
  r = walk(c, SCOPE_LIVE, &why);
  if (r == -ECANCELED)
    return error_set(err, r, why.reason, "%s", why.message);
  if (r < 0) {
    log_debug("volume '%s': copying all of it: %s", c->s->volume->mount_point, why.message);
    c->partial.on = false;
    *ret_new = 0;
    return 0;
  }
  bitmap_and_not(&c->partial.wanted, &c->partial.copied);
  if (c->image.own.bits > 0)
    bitmap_and_not(&c->partial.wanted, &c->image.own);
  *ret_new = bitmap_count(&c->partial.wanted);
  bitmap_or(todo, &c->partial.wanted);
  return 0;
}

void partial_note_copied(struct clone *c, const struct bitmap *granules) {
  if (c->partial.on)
    bitmap_or(&c->partial.copied, granules);
}

/* What the second walk named and the image still lacks: file data, mostly. */
static int fetch_missing(struct clone *c, struct umbra_error *err) {
  struct partial *p = &c->partial;
  bitmap_and_not(&p->wanted, &p->copied);
  bitmap_and_not(&p->wanted, &c->image.own);
  int r = image_reserve(&c->image, &p->wanted, err);
  if (r >= 0)
    r = copier_copy(&c->copier, &p->wanted, NULL, NULL, err);
  if (r < 0)
    return r;
  uint64_t at = 0, first, count;
  for (; bitmap_next_run(&p->wanted, at, 1, &first, &count); at = first + 1)
    if (track_marked(c->track, first))
      return error_set(err, -ESTALE, UMBRA_REASON_BUSY,
                       "what the paths need at offset %" PRIu64 " of device '%s' was overwritten since the hold",
                       first << c->granule_shift, c->s->volume->block_path);
  bitmap_or(&p->copied, &p->wanted);
  return 0;
}

int partial_complete(struct clone *c, struct umbra_error *err) {
  assert(c->partial.on);
  c->s->services->progress(c->s, "check", 0, 0);
  int r = walk(c, SCOPE_EXACT, err);
  if (r >= 0)
    r = fetch_missing(c, err);
  /* Unmarked means unwritten only as long as tracking has seen everything. */
  if (r >= 0)
    r = track_check(c->track, NULL, err);
  if (r >= 0 || r == -ECANCELED || r == -ENOSPC)
    return r;
  return error_prefix(err, -EAGAIN, "volume '%s' has to be held again", c->s->volume->mount_point);
}
