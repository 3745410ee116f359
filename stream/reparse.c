/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/reparse.h"

#include "stream/format.h"
#include "stream/names.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TAG_SYMLINK 0xA000000CU
#define TAG_LX_SYMLINK 0xA000001DU
#define TAG_AF_UNIX 0x80000023U
#define TAG_LX_FIFO 0x80000024U
#define TAG_LX_CHR 0x80000025U
#define TAG_LX_BLK 0x80000026U

enum {
  HEAD_BYTES = 8,       /* tag, length, reserved */
  LX_VERSION = 2,       /* of the target in UTF-8, no NUL */
  LINK_HEAD_BYTES = 12, /* offsets and lengths of two names, flags */
  LINK_RELATIVE = 1,
};

static const struct {
  uint32_t tag;
  mode_t type;
} types[] = {{TAG_AF_UNIX, S_IFSOCK}, {TAG_LX_FIFO, S_IFIFO}, {TAG_LX_CHR, S_IFCHR}, {TAG_LX_BLK, S_IFBLK}};

int reparse_make(mode_t type, const char *target, uint8_t **ret, size_t *ret_bytes) {
  size_t length = S_ISLNK(type) ? 4 + strlen(target) : 0;
  uint32_t tag = S_ISLNK(type) ? TAG_LX_SYMLINK : 0;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].type == type)
      tag = types[i].tag;
  if (tag == 0 || HEAD_BYTES + length > REPARSE_BYTES_MAX)
    return -EINVAL;
  uint8_t *data = calloc(1, HEAD_BYTES + length);
  if (!data)
    return -ENOMEM;
  stream_put32(data, tag);
  stream_put16(data + 4, (uint16_t)length);
  if (S_ISLNK(type)) {
    stream_put32(data + HEAD_BYTES, LX_VERSION);
    memcpy(data + HEAD_BYTES + 4, target, length - 4);
  }
  *ret = data;
  *ret_bytes = HEAD_BYTES + length;
  return 0;
}

static int lx_target(const uint8_t *body, size_t bytes, char **ret) {
  if (bytes <= 4 || stream_get32(body) != LX_VERSION || memchr(body + 4, 0, bytes - 4))
    return -EBADMSG;
  *ret = strndup((const char *)body + 4, bytes - 4);
  return *ret ? 0 : -ENOMEM;
}

/* A relative link of Windows: the same one with slashes. */
static int windows_target(const uint8_t *body, size_t bytes, char **ret) {
  if (bytes < LINK_HEAD_BYTES)
    return -EBADMSG;
  size_t offset = stream_get16(body), length = stream_get16(body + 2);
  if (length == 0 || offset + length > bytes - LINK_HEAD_BYTES)
    return -EBADMSG;
  if (!(stream_get32(body + 8) & LINK_RELATIVE))
    return -EXDEV;
  int r = names_from_utf16(body + LINK_HEAD_BYTES + offset, length, ret);
  for (char *c = r == 0 ? *ret : NULL; c && *c; c++)
    if (*c == '\\')
      *c = '/';
  return r == -EILSEQ ? -EBADMSG : r;
}

int reparse_read(const uint8_t *data, size_t bytes, mode_t *ret_type, char **ret_target) {
  if (bytes < HEAD_BYTES || HEAD_BYTES + (size_t)stream_get16(data + 4) > bytes)
    return -EBADMSG;
  uint32_t tag = stream_get32(data);
  size_t length = stream_get16(data + 4);
  *ret_type = tag == TAG_LX_SYMLINK || tag == TAG_SYMLINK ? S_IFLNK : 0;
  if (tag == TAG_LX_SYMLINK)
    return lx_target(data + HEAD_BYTES, length, ret_target);
  if (tag == TAG_SYMLINK)
    return windows_target(data + HEAD_BYTES, length, ret_target);
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].tag == tag)
      *ret_type = types[i].type;
  return 0;
}
