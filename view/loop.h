/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loop devices over images.  Source: loop(4), linux/loop.h (LOOP_CONFIGURE, Linux 5.8).
 */
#ifndef VIEW_LOOP_H
#define VIEW_LOOP_H

#include "common/error.h"

#include <stdbool.h>
#include <sys/types.h>

enum { LOOP_TRIES_MAX = 64, LOOP_SECTOR_BYTES_MIN = 512, LOOP_SECTOR_BYTES_MAX = 4096 };

/*
 * Makes a loop device over image with logical blocks of sector_bytes: read-only unless read_write, with direct I/O
 * where the image's filesystem can, and gone by itself (LO_FLAGS_AUTOCLEAR) with its last user.  *ret_fd (caller
 * closes) is that user until something else, a mount, has opened *ret_path (caller frees).  Blocks only for the
 * opens.
 */
int loop_open(const char *image, unsigned sector_bytes, bool read_write, int *ret_fd, char **ret_path,
              struct umbra_error *err);

/* Makes the device of loop_open() stay when its last user goes. */
int loop_keep(int fd, struct umbra_error *err);

/* Is path a loop device over image? */
bool loop_lies_over(const char *path, const char *image);

/*
 * Detaches a device that was kept, if it (still) lies over image. What is not there counts as done; one in use goes
 * with its last user.
 */
int loop_drop(const char *path, const char *image, struct umbra_error *err);
/* The same, but -EBUSY if it is in use. */
int loop_drop_alone(const char *path, const char *image, struct umbra_error *err);

/* Detaches all devices over files in a directory whose filesystem has died. Those in use go with their last user. */
void loop_drop_below(const char *directory);

/* Is a loop device over this file? Gives the path of one (caller frees). */
bool loop_over_file(dev_t device, ino_t inode, char **ret_path);

#endif
