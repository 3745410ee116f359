/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/fd.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int fd_read_all(int fd, void *buffer, size_t length_bytes) {
  char *at = buffer;
  while (length_bytes > 0) {
    ssize_t n = read(fd, at, length_bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    if (n == 0)
      return -ENODATA;
    at += n;
    length_bytes -= (size_t)n;
  }
  return 0;
}

int fd_write_all(int fd, const void *buffer, size_t length_bytes) {
  const char *at = buffer;
  while (length_bytes > 0) {
    ssize_t n = write(fd, at, length_bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    at += n;
    length_bytes -= (size_t)n;
  }
  return 0;
}

int fd_pread_all(int fd, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  char *at = buffer;
  while (length_bytes > 0) {
    ssize_t n = pread(fd, at, length_bytes, (off_t)offset_bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    if (n == 0)
      return -ENODATA;
    at += n;
    length_bytes -= (size_t)n;
    offset_bytes += (uint64_t)n;
  }
  return 0;
}

int fd_pwrite_all(int fd, const void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  const char *at = buffer;
  while (length_bytes > 0) {
    ssize_t n = pwrite(fd, at, length_bytes, (off_t)offset_bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    at += n;
    length_bytes -= (size_t)n;
    offset_bytes += (uint64_t)n;
  }
  return 0;
}

int fd_read_to_end(int fd, size_t limit_bytes, char **ret, size_t *ret_length_bytes) {
  size_t size = 4096, used = 0;
  CLEANUP_FREE char *buffer = malloc(size + 1);
  if (!buffer)
    return -ENOMEM;
  for (;;) {
    ssize_t n = read(fd, buffer + used, size - used);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    if (n == 0)
      break;
    used += (size_t)n;
    if (used > limit_bytes)
      return -EFBIG;
    if (used == size) {
      char *larger = realloc(buffer, size * 2 + 1);
      if (!larger)
        return -ENOMEM;
      buffer = larger;
      size *= 2;
    }
  }
  buffer[used] = 0;
  *ret = take_pointer(buffer);
  if (ret_length_bytes)
    *ret_length_bytes = used;
  return 0;
}

int fd_read_file(int dir_fd, const char *path, size_t limit_bytes, char **ret, size_t *ret_length_bytes) {
  CLEANUP_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
  if (fd < 0)
    return -errno;
  return fd_read_to_end(fd, limit_bytes, ret, ret_length_bytes);
}

int fd_replace_file(int dir_fd, const char *name, const void *data, size_t length_bytes, mode_t mode, bool durable) {
  char temporary[300];
  if ((size_t)snprintf(temporary, sizeof temporary, ".%s.%d.new", name, (int)getpid()) >= sizeof temporary)
    return -ENAMETOOLONG;
  CLEANUP_CLOSE int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0)
    return -errno;
  int r = fd_write_all(fd, data, length_bytes);
  if (r >= 0 && durable && fsync(fd) < 0)
    r = -errno;
  if (r >= 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
    r = -errno;
  if (r < 0) {
    (void)unlinkat(dir_fd, temporary, 0);
    return r;
  }
  if (!durable)
    return 0;
  /* Some filesystems cannot fsync a directory; the rename is then as durable as it gets. */
  CLEANUP_CLOSE int again = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again >= 0)
    (void)fsync(again);
  return 0;
}

int fd_make_directories(const char *path, mode_t mode) {
  CLEANUP_FREE char *copy = strdup(path);
  if (!copy)
    return -ENOMEM;
  for (char *at = copy + 1;; at++) {
    if (*at != '/' && *at != 0)
      continue;
    char end = *at;
    *at = 0;
    if (mkdir(copy, mode) < 0 && errno != EEXIST)
      return -errno;
    if (end == 0)
      break;
    *at = end;
  }
  struct stat st;
  if (stat(path, &st) < 0)
    return -errno;
  return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int remove_children(int fd, dev_t device) {
  CLEANUP_CLOSEDIR DIR *dir = fdopendir(fd);
  if (!dir) {
    int r = -errno;
    (void)close(fd);
    return r;
  }
  int result = 0;
  struct dirent *entry;
  while ((entry = readdir(dir))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT)
      continue;
    int r = -errno;
    if (r == -EISDIR || r == -EPERM) {
      int child = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      struct stat st;
      if (child < 0)
        r = -errno;
      else if (fstat(child, &st) < 0 || st.st_dev != device) {
        (void)close(child);
        r = -EXDEV;
      } else
        r = remove_children(child, device);
      if (r >= 0 && unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) < 0)
        r = -errno;
    }
    if (r < 0)
      result = r;
  }
  return result;
}

int fd_remove_tree(int dir_fd, const char *name) {
  if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
    return 0;
  if (errno != EISDIR && errno != EPERM)
    return -errno;
  int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return -errno;
  struct stat st;
  if (fstat(fd, &st) < 0) {
    int r = -errno;
    (void)close(fd);
    return r;
  }
  int r = remove_children(fd, st.st_dev);
  if (r < 0)
    return r;
  return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int fd_open_directory(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int fd_occupy_standard(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) >= 0)
      continue;
    /* The lowest free number is this one: those below are taken. */
    if (open("/dev/null", (fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC) < 0)
      return -errno;
  }
  return 0;
}

int fd_set_nonblocking(int fd, bool on) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0)
    return -errno;
  flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

const char *fd_proc_path(int fd, char buffer[FD_PROC_PATH_BYTES]) {
  (void)snprintf(buffer, FD_PROC_PATH_BYTES, "/proc/self/fd/%d", fd);
  return buffer;
}
