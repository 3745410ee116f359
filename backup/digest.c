/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text form of checksums, and checksums of whole files. */
#include "backup/digest.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>

enum { READ_BYTES = 256 * 1024 };

const char *digest_format(const struct digest *d, char buffer[DIGEST_TEXT_BYTES]) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < DIGEST_BYTES; i++) {
    buffer[2 * i] = digits[d->bytes[i] >> 4];
    buffer[2 * i + 1] = digits[d->bytes[i] & 15];
  }
  buffer[DIGEST_TEXT_BYTES - 1] = '\0';
  return buffer;
}

static int digit_value(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int digest_parse(const char *text, struct digest *ret) {
  if (strlen(text) != DIGEST_TEXT_BYTES - 1)
    return -EINVAL;
  for (size_t i = 0; i < DIGEST_BYTES; i++) {
    int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
    if (high < 0 || low < 0)
      return -EINVAL;
    ret->bytes[i] = (uint8_t)(high << 4 | low);
  }
  return 0;
}

int digest_of_file(int fd, struct digest *ret, uint64_t *ret_bytes) {
  CLEANUP_FREE uint8_t *buffer = malloc(READ_BYTES);
  CLEANUP_HASH XXH3_state_t *state = digest_begin();
  uint64_t total_bytes = 0;
  if (!buffer || !state)
    return -ENOMEM;
  (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  for (;;) {
    ssize_t n = pread(fd, buffer, READ_BYTES, (off_t)total_bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    if (n == 0)
      break;
    (void)XXH3_128bits_update(state, buffer, (size_t)n);
    total_bytes += (uint64_t)n;
  }
  *ret = digest_finish(state);
  *ret_bytes = total_bytes;
  return 0;
}
