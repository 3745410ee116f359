/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a file from the block device of its filesystem, for the one case in which there is no other way: another
 * process holds a write lease on it and has it open only for writing.  Right only while the volume is frozen: then
 * all of it is on the device.
 */
#ifndef PROVIDERS_FILES_RAW_H
#define PROVIDERS_FILES_RAW_H

#include "volume/volume.h"

#include <stddef.h>
#include <stdint.h>

/* The volume's block device for such reads, or -1 where it has none, or none that can be read like this. */
int raw_open(const struct volume *volume);

/*
 * Reads what is at offset of the file that file_fd is open on (writing is enough); holes and what lies past its end
 * give zeros. All three are multiples of 4096. 0, -EWOULDBLOCK where the data cannot be found on the device, or
 * negative errno. Allocates nothing.
 */
int raw_read(int device_fd, int file_fd, char *buffer, size_t length_bytes, uint64_t offset_bytes);

#endif
