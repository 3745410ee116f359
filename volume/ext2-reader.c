/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/ext2-reader.h"

#include <pthread.h>
#include <string.h>

/* io_manager->open() is given nothing but a name: this is what it opens. */
static _Thread_local const struct ext2_reader *opening;

static errcode_t channel_read64(io_channel channel, unsigned long long block, int count, void *data) {
  const struct ext2_reader *reader = channel->private_data;
  /* A negative count is one of bytes. */
  size_t length = count < 0 ? (size_t) - (int64_t)count : (size_t)count * (size_t)channel->block_size;
  if (block > UINT64_MAX / (unsigned)channel->block_size)
    return EXT2_ET_SHORT_READ;
  return reader->read(reader->context, data, length, block * (unsigned)channel->block_size) ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t channel_read(io_channel channel, unsigned long block, int count, void *data) {
  return channel_read64(channel, block, count, data);
}

static errcode_t channel_write64(io_channel channel, unsigned long long block, int count, const void *data) {
  (void)channel, (void)block, (void)count, (void)data;
  return EXT2_ET_RO_FILSYS;
}

static errcode_t channel_write(io_channel channel, unsigned long block, int count, const void *data) {
  return channel_write64(channel, block, count, data);
}

static errcode_t channel_set_block_size(io_channel channel, int block_size) {
  channel->block_size = block_size;
  return 0;
}

static errcode_t channel_flush(io_channel channel) {
  (void)channel;
  return 0;
}

static errcode_t channel_close(io_channel channel) {
  if (--channel->refcount == 0) {
    (void)ext2fs_free_mem(&channel->name);
    (void)ext2fs_free_mem(&channel);
  }
  return 0;
}

static errcode_t channel_open(const char *name, int flags, io_channel *ret);

static struct struct_io_manager channel_manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "umbra reader",
    .open = channel_open,
    .close = channel_close,
    .set_blksize = channel_set_block_size,
    .read_blk = channel_read,
    .write_blk = channel_write,
    .flush = channel_flush,
    .read_blk64 = channel_read64,
    .write_blk64 = channel_write64,
};

static errcode_t channel_open(const char *name, int flags, io_channel *ret) {
  (void)flags;
  io_channel channel = NULL;
  errcode_t code = ext2fs_get_memzero(sizeof *channel, &channel);
  if (code)
    return code;
  code = ext2fs_get_mem(strlen(name) + 1, &channel->name);
  if (code) {
    (void)ext2fs_free_mem(&channel);
    return code;
  }
  memcpy(channel->name, name, strlen(name) + 1);
  channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
  channel->manager = &channel_manager;
  channel->block_size = 1024;
  channel->refcount = 1;
  channel->private_data = (void *)(uintptr_t)opening;
  *ret = channel;
  return 0;
}

/* Once for all threads: com_err keeps its tables in a list without a lock. */
static void load_messages(void) { initialize_ext2_error_table(); }

errcode_t ext2_reader_open(const struct ext2_reader *reader, int flags, ext2_filsys *ret) {
  static pthread_once_t messages = PTHREAD_ONCE_INIT;
  (void)pthread_once(&messages, load_messages);
  opening = reader;
  ext2_filsys fs = NULL;
  errcode_t code = ext2fs_open2("volume", NULL, flags & ~EXT2_FLAG_RW, 0, 0, &channel_manager, &fs);
  opening = NULL;
  if (code == 0)
    *ret = fs;
  return code;
}
