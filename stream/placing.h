/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What takes the place of the file that is written: a symbolic link, a FIFO, a socket, a device, one more name of
 * another file. */
#ifndef STREAM_PLACING_H
#define STREAM_PLACING_H

#include "common/error.h"
#include "umbra/stream.h"

#include <sys/types.h>

/*
 * Both put it at options->directory_fd/name at once (made beside it, then renamed) and return a descriptor of it,
 * O_PATH, the caller's. -EINVAL: the place was not told.
 */
int placing_special(const struct umbra_stream_options *options, mode_t type, dev_t device, const char *symlink_target,
                    struct umbra_error *err);

/* path is taken from options->root_fd; no symbolic link of it is followed, and it does not lead out. */
int placing_link(const struct umbra_stream_options *options, const char *path, struct umbra_error *err);

#endif
