/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libumbra/attached-device.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/front/fuse.h"
#include "cow/front/ublk-control.h"
#include "cow/front/ublk.h"
#include "cow/serve/client.h"
#include "view/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xxhash.h>

#define DEVICE_LINK "device"
#define FRONT_LINK "front-device"
enum { FILE_BYTES = PATH_MAX + 16, TEXT_BYTES = 64, UBLK_TIMEOUT_MS = 1000 };

/* A number below the queue of a block device, or of the disk that a partition is of; 0 if there is none. */
static unsigned long long queue_number(dev_t device, const char *file) {
  char path[128], text[TEXT_BYTES] = "";
  (void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u/queue/%s", major(device), minor(device), file);
  CLEANUP_CLOSE int whole = open(path, O_RDONLY | O_CLOEXEC);
  (void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u/../queue/%s", major(device), minor(device), file);
  CLEANUP_CLOSE int part = whole < 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (read(whole < 0 ? part : whole, text, sizeof text - 1) <= 0)
    return 0;
  return strtoull(text, NULL, 10);
}

int attached_device_describe(struct seat *seat, int origin_fd, uint64_t device_bytes, struct umbra_error *err) {
  struct front_seat *f = &seat->front_seat;
  struct stat st;
  unsigned physical_bytes = 0;
  if (fstat(origin_fd, &st) < 0)
    return error_errno(err, "looking at '%s'", seat->origin);
  bool block = S_ISBLK(st.st_mode);
  if (block && ioctl(origin_fd, BLKPBSZGET, &physical_bytes) < 0)
    return error_errno(err, "asking '%s' for its sectors", seat->origin);
  f->volume_bytes = device_bytes;
  f->physical_block_bytes = physical_bytes > f->logical_block_bytes ? physical_bytes : f->logical_block_bytes;
  f->rotational = block && queue_number(st.st_rdev, "rotational") > 0;
  f->can_zero = !block || queue_number(st.st_rdev, "write_zeroes_max_bytes") > 0;
  const uint64_t identity[] = {block, block ? st.st_rdev : st.st_dev, block ? 0 : st.st_ino, device_bytes};
  f->origin_identity = XXH3_64bits(identity, sizeof identity);
  return 0;
}

static const char *session_file(const char *directory, char buffer[FILE_BYTES]) {
  (void)snprintf(buffer, FILE_BYTES, "%.*s/mnt/" FUSE_FRONT_VOLUME, PATH_MAX - 16, directory);
  return buffer;
}

static int show_loop(struct seat *seat, struct umbra_error *err) {
  char file[FILE_BYTES];
  CLEANUP_CLOSE int loop = -1;
  CLEANUP_FREE char *device = NULL;
  int r =
      loop_open(session_file(seat->directory, file), seat->front_seat.logical_block_bytes, true, &loop, &device, err);
  if (r >= 0)
    r = loop_keep(loop, err);
  if (r >= 0)
    (void)snprintf(seat->front_device, sizeof seat->front_device, "%s", device);
  return r;
}

static int hide_loop(const char *device, const char *directory, struct umbra_error *err) {
  char file[FILE_BYTES];
  return loop_drop(device, session_file(directory, file), err);
}

/* The device of a volume that was attached, if the kernel still has it; its number or negative. */
static int look_for_survivor(const char *directory, char device[SEAT_DEVICE_BYTES],
                             struct ublksrv_ctrl_dev_info *info) {
  char path[FILE_BYTES];
  memset(device, 0, SEAT_DEVICE_BYTES);
  (void)snprintf(path, sizeof path, "%.*s/" FRONT_LINK, PATH_MAX - 16, directory);
  if (readlink(path, device, SEAT_DEVICE_BYTES - 1) < 0)
    return -errno;
  int number = ublk_device_look(device, info);
  return number >= 0 && info->state == UBLK_S_DEV_DEAD ? -ENODEV : number;
}

bool attached_device_waits(const char *directory) {
  struct ublksrv_ctrl_dev_info info = {0};
  char device[SEAT_DEVICE_BYTES];
  CLEANUP_CLOSE int fd = -1;
  return look_for_survivor(directory, device, &info) >= 0 && cow_client_connect(directory, &fd, NULL) < 0;
}

/* Of a volume of this name whose programs have both died: the kernel keeps what waits for it. 1: taken, 0: none. */
static int adopt_ublk(struct seat *seat, struct umbra_error *err) {
  struct ublksrv_ctrl_dev_info info = {0};
  char device[SEAT_DEVICE_BYTES];
  int number = look_for_survivor(seat->directory, device, &info);
  if (number < 0)
    return 0;
  seat->front_seat.survivor = true;
  if (strcmp(seat->front, front_ublk.name) != 0 || ublk_device_adopt((uint32_t)number, &info, &seat->front_seat) < 0)
    return error_set(
        err, -EBUSY, UMBRA_REASON_BUSY,
        "'%s' is still there, from when '%s' was attached over another device (its programs died): attach "
        "that one again under this name",
        device, seat->name);
  (void)snprintf(seat->front_device, sizeof seat->front_device, "%s", device);
  return 1;
}

static int make_ublk(struct seat *seat, struct umbra_error *err) {
  int r = ublk_device_add(&seat->front_seat, err);
  if (r >= 0)
    (void)snprintf(seat->front_device, sizeof seat->front_device, "/dev/ublkb%u", seat->front_seat.number);
  return r;
}

/*
 * A queue whose every request was with a server that died is noticed by the kernel only when one of them has timed
 * out. A server that lives loses nothing by it: the driver then waits on. Linux waits here, not killable, for all
 * requests under way (queue_attr_store() freezes the queue), hence never the server's business: killed meanwhile it
 * could not end, and no other would come to answer them. The device keeps it, also when its programs die.
 */
static void shorten_timeout(const char *device) {
  char path[64], text[16];
  struct stat st;
  if (stat(device, &st) < 0 || queue_number(st.st_rdev, "io_timeout") == UBLK_TIMEOUT_MS)
    return;
  (void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u/queue/io_timeout", major(st.st_rdev), minor(st.st_rdev));
  int length = snprintf(text, sizeof text, "%d", (int)UBLK_TIMEOUT_MS);
  CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd >= 0)
    (void)fd_write_all(fd, text, (size_t)length);
}

/* The server has started it. */
static int show_ublk(struct seat *seat, struct umbra_error *err) {
  if (access(seat->front_device, F_OK) < 0)
    return error_errno(err, "opening '%s'", seat->front_device);
  shorten_timeout(seat->front_device);
  return 0;
}

static int hide_ublk(const char *device, const char *directory, struct umbra_error *err) {
  (void)directory;
  int number = ublk_device_look(device, NULL);
  if (number < 0)
    return number == -ENODEV ? 0 : error_code(err, number, "looking at '%s'", device);
  /* What was written to the device itself and is still in memory would fail once it is stopped. */
  CLEANUP_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && fsync(fd) < 0)
    return error_errno(err, "writing what was cached of '%s'", device);
  return ublk_device_stop((uint32_t)number, err);
}

static void remove_ublk(const char *device) {
  int number = ublk_device_look(device, NULL);
  if (number >= 0)
    (void)ublk_device_delete((uint32_t)number, NULL);
}

/* What is not there needs nothing to be done. */
static const struct kind {
  const struct front *front;
  int (*make)(struct seat *seat, struct umbra_error *err);
  int (*show)(struct seat *seat, struct umbra_error *err);
  int (*hide)(const char *device, const char *directory, struct umbra_error *err);
  void (*remove)(const char *device);
} kinds[] = {
    {.front = &front_ublk, .make = make_ublk, .show = show_ublk, .hide = hide_ublk, .remove = remove_ublk},
    {.front = &front_fuse, .show = show_loop, .hide = hide_loop},
};

static const struct kind *kind_of(const char *front) {
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (strcmp(kinds[i].front->name, front) == 0)
      return &kinds[i];
  return NULL;
}

int attached_device_make(struct seat *seat, struct umbra_error *err) {
  const struct kind *k = kind_of(seat->front);
  int r = adopt_ublk(seat, err);
  return r == 0 && k && k->make ? k->make(seat, err) : r;
}

int attached_device_show(struct seat *seat, struct umbra_error *err) {
  const struct kind *k = kind_of(seat->front);
  return k ? k->show(seat, err)
           : error_set(err, -EINVAL, UMBRA_REASON_INTERNAL, "there is no front '%s'", seat->front);
}

int attached_device_hide(const char *front, const char *device, const char *directory, struct umbra_error *err) {
  const struct kind *k = kind_of(front);
  return k && device[0] != '\0' ? k->hide(device, directory, err) : 0;
}

void attached_device_remove(const char *front, const char *device) {
  const struct kind *k = kind_of(front);
  if (k && k->remove && device[0] != '\0')
    k->remove(device);
}

static int link_anew(const char *target, const char *path, struct umbra_error *err) {
  if ((unlink(path) < 0 && errno != ENOENT) || symlink(target, path) < 0)
    return error_errno(err, "making '%s'", path);
  return 0;
}

/* udev has looked at the device before it had its name: once more (packaging/udev). Without udev it is nobody's loss.
 */
static void tell_udev(const char *device) {
  char path[64];
  struct stat st;
  if (stat(device, &st) < 0)
    return;
  (void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u/uevent", major(st.st_rdev), minor(st.st_rdev));
  CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd >= 0)
    (void)fd_write_all(fd, "change", 6);
}

int attached_device_name(const struct seat *seat, char **ret_path, struct umbra_error *err) {
  CLEANUP_FREE char *name = NULL, *own = NULL, *front = NULL;
  if (asprintf(&name, ATTACHED_DEVICE_DIRECTORY "/%s", seat->name) < 0)
    name = NULL;
  if (asprintf(&own, "%s/" DEVICE_LINK, seat->directory) < 0)
    own = NULL;
  if (asprintf(&front, "%s/" FRONT_LINK, seat->directory) < 0)
    front = NULL;
  if (!name || !own || !front)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "naming the device of '%s'", seat->name);
  (void)mkdir(ATTACHED_DEVICE_DIRECTORY, 0755);
  int r = link_anew(seat->front_device, front, err);
  if (r >= 0)
    r = link_anew(seat->device, own, err);
  if (r >= 0)
    r = link_anew(seat->device, name, err);
  if (r < 0)
    return r;
  tell_udev(seat->device);
  *ret_path = take_pointer(name);
  return 0;
}

void attached_device_unname(const char *name, const char *directory) {
  char path[sizeof ATTACHED_DEVICE_DIRECTORY + SEAT_NAME_BYTES];
  CLEANUP_FREE char *own = NULL;
  if (asprintf(&own, "%s/device", directory) < 0)
    own = NULL;
  if (own)
    (void)unlink(own);
  (void)snprintf(path, sizeof path, ATTACHED_DEVICE_DIRECTORY "/%s", name);
  (void)unlink(path);
}
