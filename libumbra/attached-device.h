/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block device of an attached volume, by the front that makes it: with FUSE a loop device over the session's
 * file, with others the kernel's own.  directory is RUNTIME/attached/NAME.
 */
#ifndef LIBUMBRA_ATTACHED_DEVICE_H
#define LIBUMBRA_ATTACHED_DEVICE_H

#include "common/error.h"
#include "cow/serve/seat.h"

#define ATTACHED_DEVICE_DIRECTORY "/dev/umbra"

/* Before the programs start: what the server is to serve. */
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
