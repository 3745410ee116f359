/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attaching with persistent storage: whose it is, what it holds, what became of it. */
#include "libumbra/attached.h"
#include "libumbra/handles.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"
#include "coordinator/catalog.h"
#include "cow/ledger-read.h"
#include "cow/ledger.h"
#include "cow/recover.h"
#include "view/loop.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>

/* What libblkid calls the content by: "ext4 UUID", or "" if it is nothing that it knows. It does not read directly.
 */
static void identify(int direct_fd, char ret[COW_DISK_IDENTITY_BYTES]) {
  const char *type = NULL, *uuid = NULL;
  char path[FD_PROC_PATH_BYTES];
  CLEANUP_CLOSE int fd = open(fd_proc_path(direct_fd, path), O_RDONLY | O_CLOEXEC);
  ret[0] = '\0';
  blkid_probe probe = fd >= 0 ? blkid_new_probe() : NULL;
  if (!probe)
    return;
  if (blkid_probe_set_device(probe, fd, 0, 0) == 0 && blkid_probe_enable_superblocks(probe, 1) == 0 &&
      blkid_probe_enable_partitions(probe, 1) == 0 &&
      blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE) == 0 &&
      blkid_do_safeprobe(probe) == 0) {
    if (blkid_probe_lookup_value(probe, "TYPE", &type, NULL) < 0 &&
        blkid_probe_lookup_value(probe, "PTTYPE", &type, NULL) < 0)
      type = "unknown";
    if (blkid_probe_lookup_value(probe, "UUID", &uuid, NULL) < 0)
      uuid = "";
    (void)snprintf(ret, COW_DISK_IDENTITY_BYTES, "%s %s", type, uuid);
  }
  blkid_free_probe(probe);
}

static int check_wanted(struct umbra_client *client, const struct attached_keeping *k,
                        const struct cow_disk_super *super) {
  const struct cow_geometry geometry = {.volume_bytes = super->volume_bytes, .chunk_bytes = super->chunk_bytes};
  if (k->wanted_chunk_bytes && k->wanted_chunk_bytes != super->chunk_bytes)
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID,
                     "storage '%s' was made with chunks of %u bytes: attach without --chunk, or remove it", k->path,
                     super->chunk_bytes);
  if (k->wanted_limit_bytes && k->wanted_limit_bytes / super->chunk_bytes != super->slots_max &&
      cow_disk_slots_for(&geometry, k->wanted_limit_bytes) != super->slots_max)
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID,
                     "storage '%s' was made for %llu bytes: attach without --limit, or remove it", k->path,
                     (unsigned long long)super->slots_max * super->chunk_bytes);
  return 0;
}

/* A device that holds something else is not overwritten for shadow copies that are to last. */
static int make_new(struct umbra_client *client, const struct attached_keeping *k) {
  char content[COW_DISK_IDENTITY_BYTES] = "";
  struct stat st;
  uint64_t bytes = k->limit_bytes, device_bytes = 0;
  if (fstat(k->storage_fd, &st) < 0)
    return error_errno(&client->error, "storage '%s'", k->path);
  if (S_ISBLK(st.st_mode)) {
    if (ioctl(k->storage_fd, BLKGETSIZE64, &device_bytes) < 0)
      return error_errno(&client->error, "asking '%s' for its size", k->path);
    bytes = device_bytes < bytes ? device_bytes : bytes;
    identify(k->storage_fd, content);
  } else if (st.st_size > 0)
    (void)snprintf(content, sizeof content, "a file of %lld bytes", (long long)st.st_size);
  if (content[0] != '\0')
    return error_set(&client->error, -EEXIST, UMBRA_REASON_INVALID,
                     "storage '%s' holds something else (%s): remove or wipe it (wipefs(8)) if it may go", k->path,
                     content);
  const struct cow_geometry geometry = {.volume_bytes = k->volume_bytes, .chunk_bytes = k->chunk_bytes};
  struct cow_disk_super super = {.volume_bytes = k->volume_bytes,
                                 .chunk_bytes = k->chunk_bytes,
                                 .slots_max = S_ISBLK(st.st_mode) ? cow_disk_slots_for(&geometry, bytes)
                                              : bytes / k->chunk_bytes < COW_SLOTS_MAX
                                                  ? (uint32_t)(bytes / k->chunk_bytes)
                                                  : COW_SLOTS_MAX,
                                 .next_number = 1,
                                 .created_ns = clock_realtime_ns()};
  if (super.slots_max == 0)
    return error_set(&client->error, -ENOSPC, UMBRA_REASON_STORAGE, "storage '%s' has no room for a chunk", k->path);
  super.holes_max = cow_disk_holes_for(&geometry, super.slots_max);
  if (getrandom(&super.seed, sizeof super.seed, 0) < 0 || getrandom(super.uuid, sizeof super.uuid, 0) < 0)
    return error_errno(&client->error, "getting random numbers");
  identify(k->origin_fd, super.identity);
  int r = cow_ledger_format(k->storage_fd, &super, &client->error);
  return r < 0 ? error_prefix(&client->error, r, "storage '%s'", k->path) : 0;
}

int attached_recover(struct umbra_client *client, const struct attached_keeping *k, struct cow_arena *arena,
                     uint64_t *ret_start_bytes, uint64_t *ret_limit_bytes) {
  struct cow_disk_super super;
  struct cow_recovery found;
  char identity[COW_DISK_IDENTITY_BYTES];
  int r = cow_ledger_read_super(k->storage_fd, &super, &client->error);
  if (r == -ENODATA) {
    r = make_new(client, k);
    if (r >= 0)
      r = cow_ledger_read_super(k->storage_fd, &super, &client->error);
  } else if (r >= 0)
    r = check_wanted(client, k, &super);
  if (r < 0)
    return r;
  identify(k->origin_fd, identity);
  r = cow_recover(k->storage_fd, k->origin_fd, k->volume_bytes, identity, arena, &found, &client->error);
  if (r < 0)
    return error_prefix(&client->error, r, "storage '%s'", k->path);
  if (found.why_dropped[0] != '\0')
    coordinator_warn(client->coordinator, "all shadow copies in '%s' are dropped: %s", k->path, found.why_dropped);
  *ret_start_bytes = cow_disk_slots_start(cow_disk_cells(&super));
  *ret_limit_bytes = (uint64_t)super.slots_max * super.chunk_bytes;
  return 0;
}

static int let_set_go(struct umbra_client *client, const json_t *entry, const char *directory) {
  size_t i;
  json_t *shadow;
  int r = 0;
  json_array_foreach(json_object_get(json_object_get(entry, "set"), "shadows"), i, shadow) {
    const char *id = json_get_string_or(shadow, "id", ""), *device = json_get_string_or(shadow, "device", NULL);
    const json_t *record = json_object_get(json_object_get(json_object_get(entry, "records"), id), "record");
    const char *image = json_get_string_or(json_object_get(record, "view"), "path", NULL);
    CLEANUP_FREE char *its = NULL, *mounted = mount_directory_of(client, id);
    if (json_path_value(json_object_get(record, "directory"), &its) < 0 || strcmp(its, directory) != 0)
      continue;
    if (mounted && r >= 0)
      r = error_set(&client->error, -EBUSY, UMBRA_REASON_BUSY, "shadow copy %s is mounted at '%s': unmount it first",
                    id, mounted);
    if (device && image && r >= 0 && (r = loop_drop_alone(device, image, &client->error)) < 0)
      (void)error_prefix(&client->error, r, "shadow copy %s", id);
  }
  return r;
}

int attached_let_go(struct umbra_client *client, const char *directory) {
  CLEANUP_JSON json_t *entries = NULL;
  size_t i;
  const json_t *entry;
  int r = catalog_load(client->coordinator->state_dir, &entries, NULL, &client->error);
  json_array_foreach(entries, i, entry) {
    if (r >= 0 && json_get_boolean_or(entry, "persistent", false))
      r = let_set_go(client, entry, directory);
  }
  return r;
}
