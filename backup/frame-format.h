/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Numbers of the zstd seekable format: a skippable frame that holds one entry a frame (compressed and uncompressed
 * bytes, u32 each) and ends in a footer: number of frames (u32), descriptor (u8, 0: entries without checksums, which
 * the frames have themselves), magic (u32). All little-endian.
 */
#ifndef BACKUP_FRAME_FORMAT_H
#define BACKUP_FRAME_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define SEEK_TABLE_SKIPPABLE_MAGIC UINT32_C(0x184D2A5E)
#define SEEK_TABLE_MAGIC UINT32_C(0x8F92EAB1)
enum { SEEK_TABLE_HEADER_BYTES = 8, SEEK_TABLE_ENTRY_BYTES = 8, SEEK_TABLE_FOOTER_BYTES = 9 };

/* 4 MiB each: 512 TiB of files. */
#define FRAMES_MAX UINT32_C(0x8000000)

static inline void frame_put_u32(uint8_t *to, uint32_t value) {
  value = htole32(value);
  memcpy(to, &value, sizeof value);
}
static inline uint32_t frame_get_u32(const uint8_t *from) {
  uint32_t value;
  memcpy(&value, from, sizeof value);
  return le32toh(value);
}

#endif
