/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is on disk, in the storage folder:
 *
 *     ID.image                    a shadow copy's image, being made or whole
 *     ID.json                     written when it is whole: what it is an image of, its tracking, the image's inode
 * and time kept-MAJOR-MINOR.image      an image whose shadow copy was removed kept-MAJOR-MINOR.json       …and its
 * description; without it the image counts for nothing
 *
 * A description is taken by renaming it, which only one can, and unlinked before the first mark is taken or the first
 * byte of the image is changed: whoever dies after that leaves an image without a description, which the next remove
 * unlinks.
 *
 * It is believed only if everything is as it was (K1): boot, disk (by the kernel's sequence number: a loop device set
 * up anew is another disk), partition, size, filesystem UUID, tracking's generation, and the image's inode, size and
 * time.
 */
#include "providers/clone/kept.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/json.h"
#include "common/log.h"
#include "providers/clone/rounds.h"

#include <blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xxhash.h>

enum { LAYOUT = 1, SMALL_FILE_BYTES_MAX = 64 };

static int read_boot_id(char **ret) {
  int r = fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", SMALL_FILE_BYTES_MAX, ret, NULL);
  if (r >= 0)
    (*ret)[strcspn(*ret, "\n")] = 0;
  return r;
}

/* Which disk this is since boot: another one, or the same one with another medium, has another number. 0: not known.
 */
static uint64_t disk_sequence(dev_t device) {
  char path[96];
  CLEANUP_FREE char *text = NULL;
  (void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u/diskseq", major(device), minor(device));
  if (fd_read_file(AT_FDCWD, path, SMALL_FILE_BYTES_MAX, &text, NULL) < 0) {
    (void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u/../diskseq", major(device), minor(device));
    if (fd_read_file(AT_FDCWD, path, SMALL_FILE_BYTES_MAX, &text, NULL) < 0)
      return 0;
  }
  return strtoull(text, NULL, 10);
}

/* "" where it has none. Caller frees. */
static char *filesystem_uuid(const char *device_path) {
  char *uuid = NULL;
  const char *value = NULL;
  blkid_probe probe = blkid_new_probe_from_filename(device_path);
  if (probe && blkid_probe_enable_superblocks(probe, 1) == 0 &&
      blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_UUID) == 0 && blkid_do_safeprobe(probe) == 0 &&
      blkid_probe_lookup_value(probe, "UUID", &value, NULL) == 0)
    uuid = strdup(value);
  blkid_free_probe(probe);
  return uuid ? uuid : strdup("");
}

/* A description of the clone as it is now. NULL: no memory, or something cannot be read. */
static json_t *describe(const struct clone *c, const char *track_id, uint64_t generation) {
  struct stat st;
  CLEANUP_FREE char *boot = NULL;
  CLEANUP_FREE char *uuid = filesystem_uuid(c->s->volume->block_path);
  if (!uuid || fstat(c->image.fd, &st) < 0 || read_boot_id(&boot) < 0)
    return NULL;
  char number[24];
  (void)snprintf(number, sizeof number, "%016" PRIx64, generation);
  dev_t device = c->s->volume->block_device;
  return json_pack("{s:i, s:s, s:i, s:i, s:I, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "layout", LAYOUT, "boot",
                   boot, "major", (int)major(device), "minor", (int)minor(device), "disk_sequence",
                   (json_int_t)disk_sequence(device), "device_bytes", (json_int_t)track_bytes(c->track), "filesystem",
                   c->s->volume->fs_type, "uuid", uuid, "track", track_id, "generation", number, "image_inode",
                   (json_int_t)st.st_ino, "image_bytes", (json_int_t)st.st_size, "image_changed_ns",
                   (json_int_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
}

static uint64_t checksum(const json_t *description) {
  CLEANUP_FREE char *text = json_dumps(description, JSON_COMPACT | JSON_SORT_KEYS);
  return text ? XXH3_64bits(text, strlen(text)) : 0;
}

static int write_description(const char *path, json_t *description, struct umbra_error *err) {
  char sum[24];
  (void)snprintf(sum, sizeof sum, "%016" PRIx64, checksum(description));
  const char *slash = strrchr(path, '/');
  CLEANUP_FREE char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  if (!directory || json_object_set_new(description, "checksum", json_string(sum)) < 0)
    return error_code(err, -ENOMEM, "describing image '%s'", path);
  CLEANUP_CLOSE int fd = fd_open_directory(directory);
  if (fd < 0)
    return error_code(err, fd, "opening storage '%s'", directory);
  /* After a reboot it is worth nothing, so it need not survive a crash. */
  return json_write_file(fd, slash ? slash + 1 : path, description, 0600, false, err);
}

/* -EBADMSG: damaged. */
static int read_description(const char *path, json_t **ret, struct umbra_error *err) {
  CLEANUP_JSON json_t *description = NULL;
  int r = json_read_file(AT_FDCWD, path, &description, err);
  if (r < 0)
    return r;
  char sum[24];
  CLEANUP_FREE char *said = strdup(json_get_string_or(description, "checksum", ""));
  if (!said)
    return error_code(err, -ENOMEM, "reading '%s'", path);
  (void)json_object_del(description, "checksum");
  (void)snprintf(sum, sizeof sum, "%016" PRIx64, checksum(description));
  if (strcmp(sum, said) != 0 || !id_valid(json_get_string_or(description, "track", "")))
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "'%s' is damaged", path);
  *ret = take_pointer(description);
  return 0;
}

static int beside(const char *path, const char *from, const char *to, char **ret) {
  size_t length = strlen(path) - strlen(from);
  return asprintf(ret, "%.*s%s", (int)length, path, to) < 0 ? -ENOMEM : 0;
}

static int unlink_if_there(const char *path, struct umbra_error *err) {
  if (unlink(path) < 0 && errno != ENOENT)
    return error_errno(err, "removing '%s'", path);
  return 0;
}

int kept_drop(const char *prefix, struct umbra_error *err) {
  CLEANUP_FREE char *json_path_text = NULL;
  CLEANUP_FREE char *image_path = NULL;
  if (asprintf(&json_path_text, "%s.json", prefix) < 0 || asprintf(&image_path, "%s.image", prefix) < 0)
    return error_code(err, -ENOMEM, "removing '%s'", prefix);
  CLEANUP_JSON json_t *description = NULL;
  int r = read_description(json_path_text, &description, NULL);
  if (r >= 0)
    r = track_unpin(json_get_string_or(description, "track", ""), err);
  if (r < 0 && description)
    return r;
  r = unlink_if_there(json_path_text, err);
  return r < 0 ? r : unlink_if_there(image_path, err);
}

static int kept_prefix(const struct clone *c, char **ret) {
  dev_t device = c->s->volume->block_device;
  return asprintf(ret, "%s/kept-%u-%u", c->s->storage_dir, major(device), minor(device)) < 0 ? -ENOMEM : 0;
}

/* Opens tracking and image, and compares the description with what a new one would say. */
static int open_kept(struct clone *c, const json_t *description, const char *path, struct umbra_error *err) {
  const char *track_id = json_get_string_or(description, "track", "");
  uint64_t generation = strtoull(json_get_string_or(description, "generation", ""), NULL, 16);
  int r = track_open_pinned(track_id, generation, c->device_fd, &c->track, err);
  if (r < 0)
    return r;
  c->granule_shift = c->image.granule_shift = track_granule_shift(c->track);
  c->device_bytes = track_bytes(c->track);
  r = image_open(&c->image, path, c->device_bytes, track_granules(c->track), c->s->volume->device, err);
  if (r < 0)
    return r;
  CLEANUP_JSON json_t *now = describe(c, track_id, generation);
  if (!now || !json_equal(now, description) || json_get_integer_or(now, "disk_sequence", 0) == 0)
    return error_set(err, -ESTALE, UMBRA_REASON_STORAGE, "the kept image is not one of this volume as it is now");
  return 0;
}

/* The description has our name: nobody else will use these files. */
static int take_claimed(struct clone *c, const char *prefix, const char *path, const char *description_path,
                        struct umbra_error *err) {
  CLEANUP_JSON json_t *description = NULL;
  CLEANUP_FREE char *image_path = NULL;
  int r = read_description(description_path, &description, err);
  if (r < 0)
    return r;
  if (asprintf(&image_path, "%s.image", prefix) < 0)
    return error_code(err, -ENOMEM, "taking a kept image");
  if (json_object_set_new(c->s->record, "track", json_string(json_get_string_or(description, "track", ""))) < 0)
    return error_code(err, -ENOMEM, "taking a kept image");
  r = c->s->services->save(c->s, err);
  if (r < 0)
    return r;
  if (rename(image_path, path) < 0)
    return error_errno(err, "taking kept image '%s'", image_path);
  r = open_kept(c, description, path, err);
  if (r >= 0 && unlink(description_path) < 0)
    r = error_errno(err, "taking kept image '%s'", image_path);
  if (r >= 0)
    (void)snprintf(c->track_id, sizeof c->track_id, "%s", json_get_string_or(description, "track", ""));
  return r;
}

int kept_take(struct clone *c, const char *path, struct umbra_error *err) {
  CLEANUP_FREE char *prefix = NULL;
  CLEANUP_FREE char *kept_description = NULL;
  CLEANUP_FREE char *description_path = NULL;
  if (kept_prefix(c, &prefix) < 0 || asprintf(&kept_description, "%s.json", prefix) < 0 ||
      beside(path, ".image", ".json", &description_path) < 0)
    return error_code(err, -ENOMEM, "looking for a kept image");
  if (rename(kept_description, description_path) < 0)
    return errno == ENOENT ? 0 : error_errno(err, "taking '%s'", kept_description);
  struct umbra_error why = {0};
  int r = take_claimed(c, prefix, path, description_path, &why);
  if (r >= 0)
    return 1;
  log_debug("not using kept image '%s.image': %s", prefix, why.message);
  /* It never will be of use: room for the new one. */
  c->track = track_stop(c->track);
  image_done(&c->image);
  const char *track_id = json_get_string_or(c->s->record, "track", NULL);
  if (track_id && id_valid(track_id))
    (void)track_unpin(track_id, NULL);
  (void)json_object_del(c->s->record, "track");
  (void)unlink(description_path);
  (void)unlink(path);
  return 0;
}

/* The tracking is there for the description: it ends by itself when somebody removes that. */
static int pin_for(const char *track_id, const char *path, struct umbra_error *err) {
  CLEANUP_FREE char *absolute = realpath(path, NULL);
  if (!absolute)
    return error_errno(err, "finding '%s'", path);
  return track_pin_for(track_id, absolute, err);
}

int kept_describe(struct clone *c, struct umbra_error *err) {
  struct shadow *s = c->s;
  CLEANUP_FREE char *prefix = NULL;
  CLEANUP_FREE char *path = NULL;
  if (kept_prefix(c, &prefix) < 0 || beside(c->image.path, ".image", ".json", &path) < 0)
    return error_code(err, -ENOMEM, "describing image '%s'", c->image.path);
  if (c->track_id[0] == 0)
    (void)snprintf(c->track_id, sizeof c->track_id, "%s", s->id);
  if (json_object_set_new(s->record, "track", json_string(c->track_id)) < 0 ||
      json_object_set_new(s->record, "kept", json_path(prefix)) < 0)
    return error_code(err, -ENOMEM, "describing image '%s'", c->image.path);
  int r = s->services->save(s, err);
  if (r >= 0)
    r = track_pin(c->track, c->track_id, err);
  if (r < 0)
    return r;
  CLEANUP_JSON json_t *description = describe(c, c->track_id, track_generation(c->track));
  if (!description)
    return error_code(err, -ENOMEM, "describing image '%s'", c->image.path);
  r = write_description(path, description, err);
  return r < 0 ? r : pin_for(c->track_id, path, err);
}

/* Is it whole, and of this boot, so that its tracking is still there? *ret_description is the caller's in any case.
 */
static bool worth_keeping(const char *description_path, json_t **ret_description) {
  CLEANUP_FREE char *boot = NULL;
  return read_description(description_path, ret_description, NULL) >= 0 && read_boot_id(&boot) >= 0 &&
         strcmp(json_get_string_or(*ret_description, "boot", ""), boot) == 0;
}

static int keep(const char *path, const char *description_path, const char *prefix, const char *track_id,
                struct umbra_error *err) {
  CLEANUP_FREE char *kept_image = NULL;
  CLEANUP_FREE char *kept_description = NULL;
  if (asprintf(&kept_image, "%s.image", prefix) < 0 || asprintf(&kept_description, "%s.json", prefix) < 0)
    return error_code(err, -ENOMEM, "keeping image '%s'", path);
  /* Image first, description last: it is what makes the image count. A first try may have come as far as the image.
   */
  if (access(path, F_OK) == 0) {
    int r = kept_drop(prefix, err);
    if (r < 0)
      return r;
    if (rename(path, kept_image) < 0)
      return error_errno(err, "keeping image '%s'", path);
  }
  if (rename(description_path, kept_description) < 0)
    return error_errno(err, "keeping image '%s'", path);
  return pin_for(track_id, kept_description, err);
}

int kept_remove(const json_t *record, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL;
  CLEANUP_FREE char *prefix = NULL;
  CLEANUP_FREE char *description_path = NULL;
  const json_t *image = json_object_get(record, "image"), *kept = json_object_get(record, "kept");
  if (!image)
    return 0;
  int r = json_path_value(image, &path);
  if (r >= 0 && kept)
    r = json_path_value(kept, &prefix);
  if (r >= 0)
    r = beside(path, ".image", ".json", &description_path);
  if (r < 0)
    return error_code(err, r, "reading where the shadow copy's image is");
  CLEANUP_JSON json_t *description = NULL;
  if (prefix && worth_keeping(description_path, &description))
    return keep(path, description_path, prefix, json_get_string_or(description, "track", ""), err);
  const char *track_id = json_get_string_or(record, "track", NULL);
  /* Gone already, and then the tracking is the kept image's. */
  if (access(path, F_OK) < 0 && errno == ENOENT && prefix)
    return unlink_if_there(description_path, err);
  if (track_id) {
    r = track_unpin(track_id, err);
    if (r < 0)
      return r;
  }
  r = unlink_if_there(description_path, err);
  return r < 0 ? r : unlink_if_there(path, err);
}
