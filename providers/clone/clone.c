/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The provider `clone`: what the coordinator asks for, in terms of rounds.c.  It adds what a shadow copy needs
 * besides its content: a place, a record, and an end.
 */
#include "providers/clone/clone.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "providers/clone/kept.h"
#include "providers/clone/rounds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_device(const struct volume *volume, struct umbra_error *err) {
  if (volume->block_device == 0 || !volume->block_path)
    return error_set(err, -ENOTBLK, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "'%s' lies on no block device",
                     volume->mount_point);
  int fd = open(volume->block_path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0)
    return error_errno(err, "opening device '%s' for reading past the page cache", volume->block_path);
  return fd;
}

static int clone_can_shadow(const struct volume *volume, const char *config_dir, struct umbra_error *why) {
  (void)config_dir;
  if (strcmp(volume->fs_type, "btrfs") == 0)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "a second device with the same btrfs on it confuses the kernel");
  if (!volume->can_freeze)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "%s", volume->freeze_why);
  CLEANUP_CLOSE int fd = open_device(volume, why);
  if (fd < 0)
    return fd;
  return track_possible(volume->block_device, why);
}

static int record_path(struct shadow *s, const char *key, const char *value, struct umbra_error *err) {
  if (json_object_set_new(s->record, key, json_path(value)) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the shadow copy");
  return 0;
}

/*
 * A name only where it is needed: without one nothing can be left behind.  What may be kept for the next clone needs
 * one. NULL in *ret: none.
 */
static int name_image(struct shadow *s, char **ret, struct umbra_error *err) {
  if (s->auto_release && !s->storage_named)
    return 0;
  if (asprintf(ret, "%s/%s.image", s->storage_dir, s->id) < 0)
    return error_code(err, -ENOMEM, "naming the image");
  int r = record_path(s, "image", *ret, err);
  return r < 0 ? r : s->services->save(s, err);
}

/* From a kept image of this volume, or from nothing. */
static int start(struct clone *c, struct umbra_error *err) {
  struct shadow *s = c->s;
  CLEANUP_FREE char *path = NULL;
  int r = name_image(s, &path, err);
  if (r < 0)
    return r;
  c->image.storage_dir = s->storage_dir;
  c->image.bytes_max = s->storage_bytes_max;
  r = path && s->storage_named ? kept_take(c, path, err) : 0;
  if (r > 0)
    return rounds_resume(c, err);
  if (r >= 0)
    r = partial_open(c, err);
  if (r >= 0)
    r = rounds_start(c, err);
  c->image.granule_shift = c->granule_shift;
  return r < 0 ? r : image_create(&c->image, path, c->device_bytes, c->todo.bits, s->volume->device, err);
}

static int open_copier(struct clone *c, struct umbra_error *err) {
  c->copier.device_fd = c->device_fd;
  c->copier.image_fd = c->image.fd;
  c->copier.device_name = c->s->volume->block_path;
  c->copier.image_name = c->s->storage_dir;
  c->copier.size_bytes = c->device_bytes;
  c->copier.granule_shift = c->granule_shift;
  c->copier.cancelled = &c->s->cancelled;
  return copier_open(&c->copier, err);
}

static int clone_prepare(struct shadow *s, struct umbra_error *err) {
  struct clone *c = calloc(1, sizeof *c);
  if (!c)
    return error_code(err, -ENOMEM, "starting a clone");
  *c = (struct clone){.s = s, .device_fd = -1};
  image_init(&c->image);
  s->state = c;
  /* A copy of what paths need has no structures for a filesystem that writes; to copy all would take too long. */
  s->repair = s->repair && (!s->paths || s->read_write);
  track_collect();
  int r = c->device_fd = open_device(s->volume, err);
  if (r >= 0)
    r = start(c, err);
  if (r >= 0)
    r = open_copier(c, err);
  if (r >= 0)
    r = rounds_run(c, err);
  return r;
}

static int clone_precommit(struct shadow *s, struct umbra_error *err) { return rounds_prepare_hold(s->state, err); }

static int clone_commit(struct shadow *s, struct umbra_error *err) { return rounds_hold(s->state, err); }

static int describe_view(struct clone *c, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL;
  if (c->image.path)
    path = strdup(c->image.path);
  else if (asprintf(&path, "/proc/%d/fd/%d", (int)getpid(), c->image.fd) < 0)
    path = NULL;
  json_t *view = path ? json_pack("{s:s, s:o, s:s, s:I, s:b}", "kind", "image", "path", json_path(path), "filesystem",
                                  c->s->volume->fs_type, "sector_bytes", (json_int_t)c->s->volume->sector_bytes,
                                  "read_write", shadow_is_changed(c->s))
                      : NULL;
  if (!view || json_object_set_new(c->s->record, "view", view) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the shadow copy");
  return 0;
}

static int clone_postcommit(struct shadow *s, struct umbra_error *err) {
  struct clone *c = s->state;
  int r = rounds_finish(c, err);
  if (r < 0)
    return r;
  /* A partial image is of no use to the next clone, which may want other paths; one that is written to is no image of
   * the volume. */
  bool keep = s->storage_named && !c->partial.on && !shadow_is_changed(s);
  if ((s->persistent || keep) && fsync(c->image.fd) < 0)
    return error_errno(err, "flushing image '%s'", c->image.path);
  if (keep && (r = kept_describe(c, err)) < 0)
    return r;
  c->track = track_stop(c->track);
  copier_close(&c->copier);
  last_round_done(&c->last);
  s->storage_bytes = image_storage_bytes(&c->image);
  return describe_view(c, err);
}

static int clone_seal(struct shadow *s, struct umbra_error *err) {
  const struct clone *c = s->state;
  if (s->persistent && fsync(c->image.fd) < 0)
    return error_errno(err, "flushing image '%s'", c->image.path);
  s->storage_bytes = image_storage_bytes(&c->image);
  return shadow_seal_view(s, err);
}

static void clone_release_state(struct shadow *s) {
  struct clone *c = s->state;
  if (!c)
    return;
  copier_close(&c->copier);
  last_round_done(&c->last);
  c->track = track_stop(c->track);
  image_done(&c->image);
  partial_done(&c->partial);
  bitmap_done(&c->todo);
  bitmap_done(&c->marks);
  cleanup_close_fd(&c->device_fd);
  free(c);
  s->state = NULL;
}

static int clone_remove(const json_t *record, struct umbra_error *err) {
  int r = kept_remove(record, err);
  track_collect();
  return r;
}

const struct provider clone_provider = {
    .name = "clone",
    .summary = "a copy of the volume's block device, made while it is in use",
    .hold = PROVIDER_HOLD_NEEDED,
    .instant = true,
    .catches_up = true,
    .can_persist = true,
    .can_read_write = true,
    .can_shadow = clone_can_shadow,
    .prepare = clone_prepare,
    .precommit = clone_precommit,
    .commit = clone_commit,
    .postcommit = clone_postcommit,
    .seal = clone_seal,
    .release_state = clone_release_state,
    .remove = clone_remove,
};
