/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens ext2, ext3 and ext4 with libext2fs over a function that reads, not over a device: an image half made, or a
 * shadow copy that no device shows.
 */
#ifndef VOLUME_EXT2_READER_H
#define VOLUME_EXT2_READER_H

#include <stddef.h>
#include <stdint.h>
#include <ext2fs/ext2fs.h>

struct ext2_reader {
  /*
   * Whatever the filesystem's own numbers point to is asked for: offsets outside are the function's to refuse. 0, or
   * anything else for a failure, of which libext2fs only knows that it was one.
   */
  int (*read)(void *context, void *buffer, size_t length_bytes, uint64_t offset_bytes);
  void *context;
};

/*
 * ext2fs_open2() without writing; flags: EXT2_FLAG_… . The caller has looked at the superblock, by whose numbers
 * libext2fs allocates. The reader stays the caller's and as long as *ret, which ext2fs_free() ends (ext2fs_close()
 * would write). Messages of errors are loaded.
 */
errcode_t ext2_reader_open(const struct ext2_reader *reader, int flags, ext2_filsys *ret);

#endif
