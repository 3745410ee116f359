/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Block devices as sysfs shows them: size, sectors, node in /dev, what lies below.  Internal to volume/.  Nothing
 * here opens a device, so it works where device nodes are missing or forbidden. Source:
 * Documentation/ABI/stable/sysfs-block, Documentation/admin-guide/sysfs-rules.rst.
 */
#ifndef VOLUME_BLOCK_H
#define VOLUME_BLOCK_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where to look: the machine's own, or a folder that a unit test made. */
struct places {
  const char *sysfs, *proc, *dev; /* "/sys", "/proc", "/dev" */
  bool live;                      /* this machine: paths mean what the kernel says they do */
};
extern const struct places places_live;

enum { BLOCK_TEXT_BYTES = 512, BLOCK_BELOW_MAX = 256 };

/* Reads FILE of a device below /sys/dev/block, without its newline. 0 or negative errno (-ENOENT: no such attribute).
 */
int block_attribute(const struct places *places, dev_t device, const char *file, char ret[BLOCK_TEXT_BYTES]);

bool block_exists(const struct places *places, dev_t device);
/* The kernel's name: "vda1", "dm-0". -ENOENT if there is no such device. */
int block_name(const struct places *places, dev_t device, char ret[BLOCK_TEXT_BYTES]);
uint64_t block_bytes(const struct places *places, dev_t device);        /* 0 if unknown */
unsigned block_sector_bytes(const struct places *places, dev_t device); /* 512 if unknown */

/* The node for device: hint if it is one, then by name, then by looking through /dev. NULL if there is none. Caller
 * frees. */
char *block_node(const struct places *places, dev_t device, const char *hint);

/* Devices directly below: the disk of a partition, the slaves of dm and md. Returns how many, at most
 * BLOCK_BELOW_MAX. */
size_t block_below(const struct places *places, dev_t device, dev_t ret[BLOCK_BELOW_MAX]);

/* The file below a loop device; false if it is none (or nothing is bound). Caller frees *ret_path. */
bool block_backing_file(const struct places *places, dev_t device, char **ret_path);

/* Every device of the btrfs that one device belongs to, itself included. Returns how many; 0: not found. */
size_t block_btrfs_members(const struct places *places, dev_t device, dev_t ret[BLOCK_BELOW_MAX]);

#endif
