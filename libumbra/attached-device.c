/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libumbra/attached-device.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/front/fuse.h"
#include "view/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { FILE_BYTES = PATH_MAX + 16 };

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

/* What is not there needs nothing to be done. */
static const struct kind {
  const struct front *front;
  int (*make)(struct seat *seat, struct umbra_error *err);
  int (*show)(struct seat *seat, struct umbra_error *err);
  int (*hide)(const char *device, const char *directory, struct umbra_error *err);
  void (*remove)(const char *device);
} kinds[] = {
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
  return k && k->make ? k->make(seat, err) : 0;
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
  CLEANUP_FREE char *name = NULL, *own = NULL;
  if (asprintf(&name, ATTACHED_DEVICE_DIRECTORY "/%s", seat->name) < 0)
    name = NULL;
  if (asprintf(&own, "%s/device", seat->directory) < 0)
    own = NULL;
  if (!name || !own)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "naming the device of '%s'", seat->name);
  (void)mkdir(ATTACHED_DEVICE_DIRECTORY, 0755);
  int r = link_anew(seat->device, own, err);
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
