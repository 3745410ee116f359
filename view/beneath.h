/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening what lies below a directory and nowhere else.  Source: openat2(2). */
#ifndef VIEW_BENEATH_H
#define VIEW_BENEATH_H

/*
 * Opens path ("" is the directory itself; leading slashes count as none) below directory_fd with flags | O_CLOEXEC.
 * No component may be a symlink and ".." may not lead out; mounts on the way are crossed. Returns the descriptor or
 * negative errno.
 */
int beneath_open(int directory_fd, const char *path, int flags);

#endif
