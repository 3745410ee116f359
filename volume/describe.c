/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/describe.h"

#include "common/cleanup.h"
#include "volume/volume.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_DEPTH_MAX = 16, NAMED_BELOW_MAX = 8 };

/* What the kernel's names of disks begin with: Documentation/admin-guide/devices.txt and the drivers. */
static const struct {
  const char *prefix, *words;
} kinds[] = {
    {"nvme", "NVMe disk"},     {"vd", "virtio disk"},           {"sd", "SCSI, SATA or USB disk"},
    {"xvd", "Xen disk"},       {"mmcblk", "memory card"},       {"pmem", "persistent memory"},
    {"sr", "optical drive"},   {"zram", "compressed memory"},   {"ram", "memory disk"},
    {"rbd", "Ceph RBD image"}, {"nbd", "network block device"}, {"drbd", "DRBD device"},
    {"ublkb", "ublk device"},  {"bcache", "bcache device"},     {"hd", "IDE disk"},
    {"dasd", "DASD"},
};

static int describe(const struct places *places, dev_t device, unsigned depth, FILE *out);

static void write_node(const struct places *places, dev_t device, const char *name, FILE *out) {
  CLEANUP_FREE char *node = block_node(places, device, NULL);
  (void)fprintf(out, "%s", node ? node : name);
}

static void write_below(const struct places *places, dev_t device, unsigned depth, FILE *out) {
  dev_t below[BLOCK_BELOW_MAX];
  size_t count = block_below(places, device, below);
  for (size_t i = 0; i < count && i < NAMED_BELOW_MAX; i++) {
    (void)fputs(i == 0 ? " on " : i + 1 == count ? " and " : ", ", out);
    if (describe(places, below[i], depth + 1, out) < 0)
      (void)fputs("an unknown device", out);
  }
  if (count > NAMED_BELOW_MAX)
    (void)fprintf(out, " and %zu more", count - NAMED_BELOW_MAX);
}

static void write_mapped(const struct places *places, dev_t device, const char *name, FILE *out) {
  char uuid[BLOCK_TEXT_BYTES] = "", mapped[BLOCK_TEXT_BYTES];
  (void)block_attribute(places, device, "dm/uuid", uuid);
  if (block_attribute(places, device, "dm/name", mapped) < 0)
    (void)snprintf(mapped, sizeof mapped, "%s", name);
  const char *kind = strncmp(uuid, "LVM-", 4) == 0     ? "LVM volume"
                     : strncmp(uuid, "CRYPT-", 6) == 0 ? "encrypted device"
                     : strncmp(uuid, "mpath-", 6) == 0 ? "multipath device"
                     : strncmp(uuid, "VDO-", 4) == 0   ? "VDO volume"
                     : strncmp(uuid, "part", 4) == 0   ? "partition"
                                                       : "device-mapper device";
  (void)fprintf(out, "%s '%s'", kind, mapped);
}

static void write_disk(const struct places *places, dev_t device, const char *name, FILE *out) {
  char model[BLOCK_TEXT_BYTES];
  const char *words = "block device";
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) == 0) {
      words = kinds[i].words;
      break;
    }
  (void)fprintf(out, "%s ", words);
  write_node(places, device, name, out);
  if (block_attribute(places, device, "device/model", model) < 0)
    return;
  size_t length = strlen(model);
  while (length > 0 && model[length - 1] == ' ')
    model[--length] = 0;
  if (length > 0)
    (void)fprintf(out, " (%s)", model);
}

static int describe(const struct places *places, dev_t device, unsigned depth, FILE *out) {
  char name[BLOCK_TEXT_BYTES], text[BLOCK_TEXT_BYTES];
  CLEANUP_FREE char *file = NULL;
  int r = block_name(places, device, name);
  if (r < 0)
    return -ENODEV;
  if (depth == STACK_DEPTH_MAX) {
    (void)fputs("…", out);
    return 0;
  }
  if (block_attribute(places, device, "partition", text) == 0) {
    dev_t disk[BLOCK_BELOW_MAX];
    (void)fprintf(out, "partition %s of ", text);
    return block_below(places, device, disk) == 1 ? describe(places, disk[0], depth + 1, out) : -ENODEV;
  }
  if (block_backing_file(places, device, &file)) {
    (void)fputs("loop device ", out);
    write_node(places, device, name, out);
    (void)fprintf(out, " over the file '%s'", file);
    return 0;
  }
  if (strncmp(name, "dm-", 3) == 0)
    write_mapped(places, device, name, out);
  else if (block_attribute(places, device, "md/level", text) == 0) {
    (void)fprintf(out, "MD array (%s) ", text);
    write_node(places, device, name, out);
  } else
    write_disk(places, device, name, out);
  write_below(places, device, depth, out);
  return 0;
}

int describe_device(const struct places *places, dev_t device, char **ret) {
  char *text = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&text, &length);
  if (!out)
    return -ENOMEM;
  int r = describe(places, device, 0, out);
  if (fclose(out) != 0 && r >= 0)
    r = -ENOMEM;
  if (r < 0) {
    free(text);
    return r;
  }
  *ret = text;
  return 0;
}

int volume_describe_device(const struct volume *volume, char **ret) {
  dev_t members[BLOCK_BELOW_MAX];
  *ret = NULL;
  if (volume->block_device == 0)
    return -ENODEV;
  int r = describe_device(&places_live, volume->block_device, ret);
  if (r < 0 || strcmp(volume->fs_type, "btrfs") != 0)
    return r;
  size_t count = block_btrfs_members(&places_live, volume->block_device, members);
  if (count < 2)
    return 0;
  char *first = *ret;
  r = asprintf(ret, "%s and %zu more devices", first, count - 1) < 0 ? -ENOMEM : 0;
  free(first);
  if (r < 0)
    *ret = NULL;
  return r;
}
