/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attached volumes that are device-mapper devices: made, taken away, and what is left of them when both programs
 * died.
 */
#include "libumbra/attached-device.h"
#include "libumbra/attached.h"
#include "libumbra/handles.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/serve/client.h"
#include "cow/serve/mapped.h"
#include "cow/serve/seat.h"
#include "view/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { ROUTE_TIMEOUT_MS = 30000 };

/* Its node is the kernel's own (devtmpfs), there at once; udev's names come later or never. */
static int name_device(struct seat *seat, dev_t device, struct umbra_error *err) {
  struct stat st;
  (void)snprintf(seat->device, sizeof seat->device, "/dev/dm-%u", minor(device));
  if (stat(seat->device, &st) < 0)
    return error_errno(err, "looking for '%s' (is /dev a devtmpfs?)", seat->device);
  return st.st_rdev == device
             ? 0
             : error_set(err, -ENODEV, UMBRA_REASON_INTERNAL, "'%s' is another device", seat->device);
}

/* The server takes it from here: the way to the origin is tried at once, before anybody uses the volume. */
int attached_hand_over(const struct seat *seat, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = -1;
  int r = cow_client_connect(seat->directory, &fd, err);
  return r < 0 ? r : cow_client_call(fd, json_pack("{s:s}", "do", "route"), ROUTE_TIMEOUT_MS, NULL, err);
}

bool attached_map_waits(const char *directory) {
  return mapped_there(directory) > 0 && attached_device_waits(directory);
}

bool attached_map_is_over(const char *directory, dev_t origin) {
  struct mapped_names names;
  struct mapper_state state;
  mapped_names(directory, &names);
  return mapper_look(names.guard, names.guard_uuid, &state, NULL) >= 0 && state.first.device == origin;
}

int attached_map_again(struct seat *seat, struct umbra_error *err) {
  struct mapped_names names;
  struct mapper_state state;
  struct stat front;
  if (stat(seat->front_device, &front) < 0)
    return error_errno(err, "looking at '%s'", seat->front_device);
  mapped_names(seat->directory, &names);
  int r = mapper_look(names.volume, names.volume_uuid, &state, err);
  if (r >= 0)
    r = name_device(seat, state.device, err);
  if (r < 0)
    return r;
  seat->front_number = front.st_rdev;
  atomic_store(&seat->mapped, 1);
  return 0;
}

int attached_map(struct seat *seat, int origin_fd, int *alone_fd, uint64_t volume_bytes, struct umbra_error *err) {
  struct stat origin, front;
  dev_t device;
  if (fstat(origin_fd, &origin) < 0 || stat(seat->front_device, &front) < 0)
    return error_errno(err, "looking at '%s'", seat->front_device);
  seat->front_number = front.st_rdev;
  /* Device-mapper is another user than we are: it takes the origin for itself, or finds that somebody else has. */
  cleanup_close_fd(alone_fd);
  *alone_fd = -1;
  int r = mapped_make(seat->directory, origin.st_rdev, front.st_rdev, volume_bytes,
                      seat->front_seat.logical_block_bytes, &device, err);
  if (r < 0)
    return r;
  r = name_device(seat, device, err);
  if (r >= 0) {
    atomic_store(&seat->mapped, 1);
    r = attached_hand_over(seat, err);
  }
  if (r < 0) {
    atomic_store(&seat->mapped, 0);
    (void)mapped_remove(seat->directory, NULL);
    (void)snprintf(seat->device, sizeof seat->device, "%s", seat->front_device);
  }
  return r;
}

int attached_unmap(const char *directory, const char *origin, struct umbra_error *err) {
  int r = mapped_remove(directory, err);
  if (r < 0)
    return r;
  /* What somebody read of the origin meanwhile may be in its page cache, which device-mapper's I/O does not pass. */
  CLEANUP_CLOSE int fd = open(origin, O_RDONLY | O_CLOEXEC);
  if (fd >= 0)
    (void)ioctl(fd, BLKFLSBUF, 0);
  return 0;
}

int attached_clear_left(const char *name, const char *directory, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = -1;
  char mount[PATH_MAX];
  if (mapped_there(directory) <= 0)
    return 0;
  if (cow_client_connect(directory, &fd, NULL) >= 0)
    return error_set(err, -EEXIST, UMBRA_REASON_BUSY, "a volume is attached as '%s' already", name);
  int r = mapped_remove(directory, err);
  if (r == -EBUSY)
    return error_set(
        err, r, UMBRA_REASON_BUSY,
        "the volume that was attached as '%s' is in use, and both its programs are gone: unmount it first", name);
  if (r < 0)
    return r;
  (void)snprintf(mount, sizeof mount, "%s/mnt", directory);
  loop_drop_below(mount);
  while (umount2(mount, MNT_DETACH) == 0)
    ;
  return 1;
}
