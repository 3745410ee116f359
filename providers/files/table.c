/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table file: blocks of records, written and read from front to back, checked whenever they are read. */
#include "providers/files/table.h"

#include "common/fd.h"
#include "providers/files/scope.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { BUFFER_BYTES = 256 * 1024, VERSION = 1 };
static const uint64_t MAGIC = UINT64_C(0x3162617466626d75); /* "umbftab1" */

struct header {
  uint64_t magic;
  uint32_t version, header_bytes;
  struct table_identity identity;
  struct table_totals totals;
  uint64_t body_bytes, body_checksum;
  uint64_t header_checksum; /* of everything before it */
};

uint64_t table_first_offset(void) { return sizeof(struct header); }

int table_writer_init(struct table_writer *w, int fd) {
  *w = (struct table_writer){.fd = fd, .offset_bytes = sizeof(struct header)};
  w->block = malloc(TABLE_BLOCK_BYTES_MAX);
  w->buffer = malloc(BUFFER_BYTES);
  if (!w->block || !w->buffer) {
    table_writer_done(w);
    return -ENOMEM;
  }
  return 0;
}

void table_writer_done(struct table_writer *w) {
  free(w->block);
  free(w->buffer);
  free(w->starts);
  *w = (struct table_writer){.fd = -1};
}

int table_writer_begin(struct table_writer *w, const struct table_block_head *head, const char *path,
                       size_t path_bytes) {
  if (path_bytes > TABLE_PATH_BYTES_MAX)
    return -ENAMETOOLONG;
  struct table_block_head *mine = (struct table_block_head *)(void *)w->block;
  *mine = *head;
  memset(mine->unused, 0, sizeof mine->unused);
  mine->path_bytes = (uint16_t)path_bytes;
  mine->entry_count = 0;
  memcpy(w->block + sizeof *mine, path, path_bytes);
  w->used_bytes = (uint32_t)(sizeof *mine + path_bytes);
  if (!(head->flags & TABLE_CONTINUED))
    w->totals.directories++;
  return 0;
}

static int note_start(struct table_writer *w) {
  if (w->starts_count > 0 && w->offset_bytes - w->starts[w->starts_count - 1] < TABLE_START_BYTES)
    return 0;
  if ((w->starts_count & (w->starts_count - 1)) == 0) {
    uint64_t *larger = realloc(w->starts, (w->starts_count ? w->starts_count * 2 : 1) * sizeof *larger);
    if (!larger)
      return -ENOMEM;
    w->starts = larger;
  }
  w->starts[w->starts_count++] = w->offset_bytes;
  return 0;
}

int table_writer_end(struct table_writer *w) {
  /* Blocks begin at multiples of eight, so that their heads can be read in place. */
  while (w->used_bytes % 8)
    w->block[w->used_bytes++] = 0;
  struct table_block_head *head = (struct table_block_head *)(void *)w->block;
  head->length_bytes = w->used_bytes;
  int r = note_start(w);
  if (r >= 0 && w->buffered_bytes + w->used_bytes > BUFFER_BYTES)
    r = table_writer_flush(w);
  if (r < 0)
    return r;
  memcpy(w->buffer + w->buffered_bytes, w->block, w->used_bytes);
  w->buffered_bytes += w->used_bytes;
  w->offset_bytes += w->used_bytes;
  w->used_bytes = 0;
  return 0;
}

int table_writer_add(struct table_writer *w, const struct table_entry_head *entry, const char *name) {
  struct table_block_head *head = (struct table_block_head *)(void *)w->block;
  if (w->used_bytes - head->path_bytes >= TABLE_BLOCK_BYTES_GOAL) {
    int r = table_writer_end(w);
    if (r < 0)
      return r;
    /* The block's own bytes stay where they are: head and path are taken over as they stand. */
    head->flags |= TABLE_CONTINUED;
    head->entry_count = 0;
    w->used_bytes = (uint32_t)sizeof *head + head->path_bytes;
  }
  memcpy(w->block + w->used_bytes, entry, sizeof *entry);
  memcpy(w->block + w->used_bytes + sizeof *entry, name, entry->name_bytes);
  w->last_entry_bytes = w->used_bytes;
  w->used_bytes += (uint32_t)sizeof *entry + entry->name_bytes;
  head->entry_count++;
  if ((entry->flags & TABLE_TYPE_MASK) != S_IFDIR >> 12)
    w->totals.files++;
  return 0;
}

int table_writer_flush(struct table_writer *w) {
  int r = fd_pwrite_all(w->fd, w->buffer, w->buffered_bytes, w->offset_bytes - w->buffered_bytes);
  if (r < 0)
    return r;
  w->buffered_bytes = 0;
  return 0;
}

/* Checksum and length of everything behind the header. */
static int sum_body(int fd, uint64_t *ret_checksum, uint64_t *ret_bytes) {
  uint8_t *buffer = malloc(BUFFER_BYTES);
  XXH3_state_t *state = XXH3_createState();
  if (!buffer || !state) {
    free(buffer);
    (void)XXH3_freeState(state);
    return -ENOMEM;
  }
  (void)XXH3_64bits_reset(state);
  uint64_t offset_bytes = sizeof(struct header);
  ssize_t n;
  while ((n = pread(fd, buffer, BUFFER_BYTES, (off_t)offset_bytes)) > 0) {
    (void)XXH3_64bits_update(state, buffer, (size_t)n);
    offset_bytes += (uint64_t)n;
  }
  int r = n < 0 ? -errno : 0;
  *ret_checksum = XXH3_64bits_digest(state);
  *ret_bytes = offset_bytes - sizeof(struct header);
  free(buffer);
  (void)XXH3_freeState(state);
  return r;
}

int table_seal(int fd, const struct table_identity *identity, const struct table_totals *totals) {
  struct header h = {
      .magic = MAGIC, .version = VERSION, .header_bytes = sizeof h, .identity = *identity, .totals = *totals};
  int r = sum_body(fd, &h.body_checksum, &h.body_bytes);
  if (r < 0)
    return r;
  h.header_checksum = XXH3_64bits(&h, offsetof(struct header, header_checksum));
  return fd_pwrite_all(fd, &h, sizeof h, 0);
}

static int damaged(struct umbra_error *err, const char *what) {
  return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "%s", what);
}

int table_check(int fd, const struct table_identity *identity, struct table_totals *ret_totals,
                struct umbra_error *err) {
  struct header h;
  int r = fd_pread_all(fd, &h, sizeof h, 0);
  if (r == -ENODATA)
    return damaged(err, "the table of the kept copy is too short");
  if (r < 0)
    return error_code(err, r, "reading the table of the kept copy");
  if (h.magic != MAGIC || h.version != VERSION || h.header_bytes != sizeof h)
    return damaged(err, "the table of the kept copy is of another version, or none");
  if (h.header_checksum != XXH3_64bits(&h, offsetof(struct header, header_checksum)))
    return damaged(err, "the header of the kept copy's table is damaged");
  if (h.identity.low != identity->low || h.identity.high != identity->high)
    return damaged(err, "the kept copy is of another volume or other paths");
  uint64_t checksum, body_bytes;
  r = sum_body(fd, &checksum, &body_bytes);
  if (r < 0)
    return error_code(err, r, "reading the table of the kept copy");
  if (body_bytes != h.body_bytes || checksum != h.body_checksum)
    return damaged(err, "the table of the kept copy is damaged");
  *ret_totals = h.totals;
  return 0;
}

/* Everything about a block that can be wrong: lengths within lengths, names that are none, order of the names. */
static bool block_is_sound(const uint8_t *block) {
  const struct table_block_head *head = table_block_head(block);
  uint32_t at = table_block_first(block), count = 0;
  if (at > head->length_bytes || memchr(table_block_path(block), 0, head->path_bytes))
    return false;
  const char *last = NULL;
  size_t last_bytes = 0;
  struct table_entry e;
  while (count < head->entry_count) {
    if (!table_block_next(block, &at, &e) || e.head.name_bytes == 0 || memchr(e.name, 0, e.head.name_bytes) ||
        memchr(e.name, '/', e.head.name_bytes))
      return false;
    if (e.name[0] == '.' && (e.head.name_bytes == 1 || (e.head.name_bytes == 2 && e.name[1] == '.')))
      return false;
    if (last && path_compare(last, last_bytes, e.name, e.head.name_bytes) >= 0)
      return false;
    last = e.name;
    last_bytes = e.head.name_bytes;
    count++;
  }
  return head->length_bytes - at < 8;
}

int table_read_block(int fd, uint64_t offset_bytes, uint8_t *buffer) {
  /* One read for most: a block is about as long as the goal, or shorter, and what follows does no harm. */
  size_t have = 0;
  while (have < TABLE_BLOCK_BYTES_MAX) {
    size_t want = have < sizeof(struct table_block_head) ? sizeof(struct table_block_head)
                                                         : table_block_head(buffer)->length_bytes;
    if (have >= sizeof(struct table_block_head) &&
        (want < sizeof(struct table_block_head) || want > TABLE_BLOCK_BYTES_MAX || want % 8))
      return -EBADMSG;
    if (have >= want)
      break;
    size_t ask = want <= 4096 ? 4096 : want;
    ssize_t n = pread(fd, buffer + have, ask - have, (off_t)(offset_bytes + have));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    if (n == 0)
      return have == 0 ? 0 : -EBADMSG;
    have += (size_t)n;
  }
  return block_is_sound(buffer) ? 1 : -EBADMSG;
}

bool table_block_next(const uint8_t *block, uint32_t *offset_in_block, struct table_entry *ret) {
  uint32_t length_bytes = table_block_head(block)->length_bytes, at = *offset_in_block;
  if (length_bytes < at || length_bytes - at < sizeof ret->head)
    return false;
  memcpy(&ret->head, block + at, sizeof ret->head);
  if (ret->head.name_bytes == 0 || length_bytes - at - sizeof ret->head < ret->head.name_bytes)
    return false;
  ret->name = (const char *)block + at + sizeof ret->head;
  ret->offset_in_block = at;
  *offset_in_block = at + (uint32_t)sizeof ret->head + ret->head.name_bytes;
  return true;
}

int table_mark_unsure(int fd, uint64_t offset_bytes, uint32_t offset_in_block) {
  uint64_t at = offset_bytes + (offset_in_block ? offset_in_block + offsetof(struct table_entry_head, flags)
                                                : offsetof(struct table_block_head, flags));
  uint8_t flags;
  int r = fd_pread_all(fd, &flags, 1, at);
  if (r < 0)
    return r;
  flags |= TABLE_UNSURE;
  return fd_pwrite_all(fd, &flags, 1, at);
}

int table_forget(int fd, uint64_t offset_bytes, uint32_t offset_in_block) {
  static const uint64_t none = 0;
  int r = fd_pwrite_all(fd, &none, sizeof none,
                        offset_bytes + offset_in_block + offsetof(struct table_entry_head, inode));
  return r < 0 ? r : table_mark_unsure(fd, offset_bytes, offset_in_block);
}

int table_reader_init(struct table_reader *r, int fd) {
  *r = (struct table_reader){.fd = fd, .offset_bytes = sizeof(struct header)};
  r->block = malloc(TABLE_BLOCK_BYTES_MAX);
  r->last_path = malloc(TABLE_PATH_BYTES_MAX);
  if (!r->block || !r->last_path) {
    table_reader_done(r);
    return -ENOMEM;
  }
  return 0;
}

void table_reader_done(struct table_reader *r) {
  free(r->block);
  free(r->last_path);
  *r = (struct table_reader){.fd = -1};
}

/* Reads the next block. 1, 0 at the end. Directories out of order are damage: they could be walked for ever. */
static int read_next(struct table_reader *r) {
  if (r->fd < 0)
    return 0;
  bool first = !r->valid && r->offset_bytes == sizeof(struct header);
  r->valid = false;
  int n = table_read_block(r->fd, r->offset_bytes, r->block);
  if (n <= 0)
    return n;
  const struct table_block_head *head = table_block_head(r->block);
  int order =
      first ? -1 : path_compare(r->last_path, r->last_path_bytes, table_block_path(r->block), head->path_bytes);
  if (head->flags & TABLE_CONTINUED ? first || order != 0 : order >= 0)
    return -EBADMSG;
  if (head->path_bytes > TABLE_PATH_BYTES_MAX)
    return -EBADMSG;
  memcpy(r->last_path, table_block_path(r->block), head->path_bytes);
  r->last_path_bytes = head->path_bytes;
  r->offset_bytes += head->length_bytes;
  r->at = table_block_first(r->block);
  r->valid = true;
  return 1;
}

int table_reader_seek(struct table_reader *r, const char *path, size_t path_bytes) {
  for (;;) {
    if (!r->valid) {
      int n = read_next(r);
      if (n <= 0)
        return n;
    }
    const struct table_block_head *head = table_block_head(r->block);
    int order = path_compare(table_block_path(r->block), head->path_bytes, path, path_bytes);
    if (order > 0)
      return 0;
    if (order == 0 && !(head->flags & TABLE_CONTINUED))
      return 1;
    r->valid = false;
  }
}

int table_reader_next(struct table_reader *r, struct table_entry *ret) {
  for (;;) {
    if (!r->valid)
      return 0;
    /* Up to seven bytes of padding end a block; they can hold no entry. */
    if (table_block_next(r->block, &r->at, ret))
      return 1;
    int n = read_next(r);
    if (n < 0)
      return n;
    if (n == 0 || !(table_block_head(r->block)->flags & TABLE_CONTINUED))
      return 0;
  }
}
