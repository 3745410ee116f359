/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block device of an attached volume, by the front that makes it: with FUSE a loop device over the session's
 * file, with others the kernel's own.  directory is RUNTIME/attached/NAME.
 */
#ifndef LIBUMBRA_ATTACHED_DEVICE_H
#define LIBUMBRA_ATTACHED_DEVICE_H

#include "common/error.h"
#include "cow/serve/seat.h"

#include <stdbool.h>

#define ATTACHED_DEVICE_DIRECTORY "/dev/umbra"

/* What a front is to know of the origin, which is open and device_bytes long. */
int attached_device_describe(struct seat *seat, int origin_fd, uint64_t device_bytes, struct umbra_error *err);

/* Has a volume of this directory a device of the kernel's that waits for programs, since both have died? */
bool attached_device_waits(const char *directory);

/*
 * Before the programs start: what the server is to serve. If a volume of this name was attached before and both its
 * programs died, and its device is still there, that is taken, with all that waits for it; -EBUSY if it had another
 * origin. In both cases seat->front_seat.survivor: it stays, whatever happens to this attempt.
 */
int attached_device_make(struct seat *seat, struct umbra_error *err);

/* When the server serves: the block device, whose path comes into seat->front_device. */
int attached_device_show(struct seat *seat, struct umbra_error *err);

/* seat->device gets its names: /dev/umbra/NAME, whose path is the caller's, and directory/device, by which an
 * attached volume is found again from its device's number. */
int attached_device_name(const struct seat *seat, char **ret_path, struct umbra_error *err);
void attached_device_unname(const char *name, const char *directory);

/* Takes the front's device away, which nobody uses; the server still serves. What is not there counts as done. */
int attached_device_hide(const char *front, const char *device, const char *directory, struct umbra_error *err);

/* When the programs have ended: what is left in the kernel. */
void attached_device_remove(const char *front, const char *device);

#endif
