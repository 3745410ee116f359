/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the calls for attached volumes share. */
#ifndef LIBUMBRA_ATTACHED_H
#define LIBUMBRA_ATTACHED_H

#include "umbra/umbra.h"

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* RUNTIME/attached/NAME, whether there is such a volume or not. Caller frees. -EINVAL for what is no name. */
int attached_directory_of(struct umbra_client *client, const char *name, char **ret);

/*
 * Opens the block device of an attached volume: nobody else uses it, and nobody can as long as *ret_fd (the caller's)
 * is open. -EBUSY.
 */
int attached_open_alone(struct umbra_client *client, const char *device, int flags, int *ret_fd);

/* Of the device, or of the filesystem that holds the file or directory. 0 or negative errno. */
int attached_storage_size(int fd, uint64_t *ret_bytes);

/*
 * Opens what is to keep old chunks of the volume `name` with sectors of sector_bytes: a block device, exclusively, or
 * a new file without a name in a directory. *ret_fd is the caller's. -EINVAL: neither, or a device whose sectors are
 * too large; -EEXIST: there are persistent shadow copies.
 */
int attached_open_storage(struct umbra_client *client, const char *where, const char *name, uint32_t sector_bytes,
                          int *ret_fd);

/* Persistent storage: the device, or WHERE/umbra-NAME.storage, made if it is not there. *ret_path is the caller's.
 * -EBUSY. */
int attached_open_kept(struct umbra_client *client, const char *where, const char *name, uint32_t sector_bytes,
                       int *ret_fd, char **ret_path);
char *attached_kept_path(const char *where, const char *name); /* the caller's; NULL: no memory */

/*
 * Brings persistent storage and origin together: recovers what the storage holds, or makes it new. wanted_*: 0 if the
 * user said nothing; what he said must be what the storage has. Warns of all that was dropped. The arena is the
 * caller's; *ret_start_bytes and *ret_limit_bytes are those of the slots.
 */
struct attached_keeping {
  int storage_fd, origin_fd;
  const char *path;
  uint64_t volume_bytes, limit_bytes; /* limit: used for new storage */
  uint64_t wanted_limit_bytes;
  uint32_t chunk_bytes, wanted_chunk_bytes;
};
struct cow_arena;
int attached_recover(struct umbra_client *client, const struct attached_keeping *k, struct cow_arena *arena,
                     uint64_t *ret_start_bytes, uint64_t *ret_limit_bytes);

/*
 * The volume becomes a device-mapper device over the front's block device (seat->front_device), whose server then
 * sends its I/O past itself while it can: seat->device. *alone_fd, which has the origin exclusively, is closed, and
 * device-mapper has it. -EBUSY: somebody was faster. On failure nothing of it is left but that.
 */
struct seat;
int attached_map(struct seat *seat, int origin_fd, int *alone_fd, uint64_t volume_bytes, struct umbra_error *err);
/* Makes the server look which way the volume is to go, now. */
int attached_hand_over(const struct seat *seat, struct umbra_error *err);
/*
 * When both programs died: is it a device-mapper device over a front's that waits for programs? Then it is not made
 * but taken, before they start, if it is over that origin.
 */
bool attached_map_waits(const char *directory);
bool attached_map_is_over(const char *directory, dev_t origin);
int attached_map_again(struct seat *seat, struct umbra_error *err);
/* The end of it. -EBUSY: the volume is in use. */
int attached_unmap(const char *directory, const char *origin, struct umbra_error *err);
/* When both programs died: removes the devices that are left, if nobody uses them. 1: there were some. -EEXIST: they
 * live. */
int attached_clear_left(const char *name, const char *directory, struct umbra_error *err);

/* Before a detach: gives back the devices over persistent shadow copies of this volume, which stay. -EBUSY: one is in
 * use. */
int attached_let_go(struct umbra_client *client, const char *directory);

#endif
