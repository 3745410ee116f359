/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors and whole files.  Everything opened here is O_CLOEXEC.  All functions block on the file they are given.
 */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads or writes all of it, over short transfers and EINTR. 0, or negative errno; -ENODATA at an early end of file.
 */
int fd_read_all(int fd, void *buffer, size_t length_bytes);
int fd_write_all(int fd, const void *buffer, size_t length_bytes);
int fd_pread_all(int fd, void *buffer, size_t length_bytes, uint64_t offset_bytes);
int fd_pwrite_all(int fd, const void *buffer, size_t length_bytes, uint64_t offset_bytes);

/* Reads to end of file into a new NUL-terminated buffer (caller frees). -EFBIG past limit_bytes. */
int fd_read_to_end(int fd, size_t limit_bytes, char **ret, size_t *ret_length_bytes);

/* Same, of a path relative to dir_fd (AT_FDCWD allowed). Never follows a final symlink. */
int fd_read_file(int dir_fd, const char *path, size_t limit_bytes, char **ret, size_t *ret_length_bytes);

/*
 * Replaces dir_fd/name as a whole: temporary file, rename; durable: fsync of the file before and of the directory
 * after, so that it survives a power cut, too.
 */
int fd_replace_file(int dir_fd, const char *name, const void *data, size_t length_bytes, mode_t mode, bool durable);

/* mkdir -p with mode for the directories it makes. */
int fd_make_directories(const char *path, mode_t mode);

/* Removes a tree below dir_fd/name, never crossing into another filesystem, never following symlinks. -ENOENT is
 * success. */
int fd_remove_tree(int dir_fd, const char *name);

/* Opens a directory, following symlinks in the path. Returns the descriptor or negative errno. */
int fd_open_directory(const char *path);

int fd_set_nonblocking(int fd, bool on);

/*
 * Of standard input, output and error those that are closed are taken by something that fails with EBADF as a closed
 * one does, and is closed again at exec: so nothing that is opened later gets their number, and messages into it. 0
 * or negative errno.
 */
int fd_occupy_standard(void);

/* "/proc/self/fd/N" for calls that take only a path. The buffer is the caller's. */
enum { FD_PROC_PATH_BYTES = 32 };
const char *fd_proc_path(int fd, char buffer[FD_PROC_PATH_BYTES]);

#endif
