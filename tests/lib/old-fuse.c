/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For LD_PRELOAD: makes the kernel's FUSE that of before Linux 6.9, which has no FUSE_NOTIFY_RESEND: FUSE_INIT does
 * not offer it, and the notification is refused as an unknown one is.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTIFY_RESEND = 7, RESEND_FLAG2 = 1 << (39 - 32) };

ssize_t readv(int fd, const struct iovec *parts, int count) {
  ssize_t n = syscall(SYS_readv, fd, parts, count);
  struct {
    struct fuse_in_header header;
    struct fuse_init_in init;
  } *request = count > 0 ? parts[0].iov_base : NULL;
  const size_t needed = sizeof request->header + offsetof(struct fuse_init_in, flags2) + sizeof request->init.flags2;
  if (n >= (ssize_t)needed && parts[0].iov_len >= needed && request->header.len == (size_t)n &&
      request->header.opcode == FUSE_INIT)
    request->init.flags2 &= ~(uint32_t)RESEND_FLAG2;
  return n;
}

ssize_t write(int fd, const void *buffer, size_t bytes) {
  const struct fuse_out_header *out = buffer;
  if (bytes == sizeof *out && out->len == bytes && out->unique == 0 && out->error == NOTIFY_RESEND) {
    errno = EINVAL;
    return -1;
  }
  return syscall(SYS_write, fd, buffer, bytes);
}
