/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading under the hold.  The memory has two ends: operations grow from the lower one, names of the directories
 * under way from the upper one.  When they meet the volume is released, the next round copies what was too much, and
 * the hold is tried again.
 *
 * A file whose copy is of the same inode is compared with it and only the differing grains are kept: a large database
 * file that is written to all the time costs its reading, not its size in memory.
 */
#include "providers/files/held.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "providers/files/entry.h"
#include "providers/files/raw.h"
#include "providers/files/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE_BYTES = 64 * 1024 };

int held_init(struct held *h, struct walk *walk, int table_fd, int raw_fd, size_t size_bytes) {
  *h = (struct held){.walk = walk, .table_fd = table_fd, .raw_fd = raw_fd, .size_bytes = size_bytes};
  h->memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  h->links = calloc(HELD_LINKS_MAX, sizeof *h->links);
  h->path = malloc(TABLE_PATH_BYTES_MAX + 1);
  if (h->memory == MAP_FAILED)
    h->memory = NULL;
  if (!h->memory || !h->links || !h->path) {
    held_done(h);
    return -ENOMEM;
  }
  /* Without the right to lock it, it is there at least: populated. */
  (void)mlock(h->memory, size_bytes);
  memset(h->links, 0, HELD_LINKS_MAX * sizeof *h->links);
  memset(h->path, 0, TABLE_PATH_BYTES_MAX + 1);
  return 0;
}

void held_done(struct held *h) {
  if (h->memory)
    (void)munmap(h->memory, h->size_bytes);
  for (size_t i = 0; i < h->others_count; i++)
    free(h->others[i].path);
  free(h->others);
  free(h->links);
  free(h->path);
  *h = (struct held){0};
}

/* Room for length_bytes more at the lower end, or NULL. */
static void *reserve(struct held *h, uint64_t length_bytes) {
  uint64_t used_bytes = h->used_bytes + h->scratch_bytes;
  if (length_bytes > h->size_bytes - used_bytes) {
    h->failed_bytes = length_bytes;
    return NULL;
  }
  void *at = h->memory + h->used_bytes;
  h->used_bytes += length_bytes;
  return at;
}

static int check_time(const struct held *h) { return clock_monotonic_ns() > h->deadline_ns ? -ETIME : 0; }

/* Begins an operation on h->path. Its length grows with what is reserved next; op_end() notes it. */
static int op_begin(struct held *h, enum held_kind kind, const struct statx *sx, size_t attribute_bytes,
                    size_t target_bytes, size_t *ret_offset) {
  struct held_op head = {.path_bytes = (uint32_t)h->path_bytes,
                         .attribute_bytes = (uint32_t)attribute_bytes,
                         .target_bytes = (uint32_t)target_bytes,
                         .kind = (uint8_t)kind,
                         .looked_ns = clock_realtime_ns()};
  if (sx)
    head.sx = *sx;
  *ret_offset = h->used_bytes;
  struct held_op *op = reserve(h, held_op_pieces(&head));
  if (!op)
    return -EAGAIN;
  *op = head;
  memcpy(op + 1, h->path, h->path_bytes);
  op->length_bytes = held_op_pieces(op);
  return 0;
}

static void op_end(struct held *h, size_t offset) { held_op_at(h, offset)->length_bytes = h->used_bytes - offset; }

static int take_removal(struct held *h) {
  size_t offset;
  return op_begin(h, HELD_REMOVE, NULL, 0, 0, &offset);
}

static int add_piece(struct held *h, uint64_t offset_bytes, uint64_t length_bytes, const char *data) {
  struct held_piece *piece = reserve(h, sizeof *piece + (data ? (length_bytes + 7) & ~UINT64_C(7) : 0));
  if (!piece)
    return -EAGAIN;
  *piece = (struct held_piece){.offset_bytes = offset_bytes, .length_bytes = length_bytes, .has_data = data != NULL};
  if (data)
    memcpy(piece + 1, data, length_bytes);
  return 0;
}

/* Keeps those grains of what was read that the copy has not. */
static int keep_differing(struct held *h, uint64_t offset_bytes, size_t length_bytes) {
  const char *live = h->walk->copier.from, *copy = h->walk->copier.to;
  for (size_t at = 0; at < length_bytes;) {
    size_t end = at;
    while (end < length_bytes) {
      size_t grain = length_bytes - end < COPY_GRAIN_BYTES ? length_bytes - end : COPY_GRAIN_BYTES;
      if (memcmp(live + end, copy + end, grain) == 0)
        break;
      end += grain;
    }
    if (end > at) {
      int r = add_piece(h, offset_bytes + at, end - at, live + at);
      if (r < 0)
        return r;
      at = end;
    } else
      at += COPY_GRAIN_BYTES;
  }
  return 0;
}

/* Reads up to length bytes; what is not there is zeros. */
static int read_or_zeros(int fd, char *buffer, size_t length_bytes, uint64_t offset_bytes) {
  size_t got = 0;
  while (fd >= 0 && got < length_bytes) {
    ssize_t n = pread(fd, buffer + got, length_bytes - got, (off_t)(offset_bytes + got));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    if (n == 0)
      break;
    got += (size_t)n;
  }
  memset(buffer + got, 0, length_bytes - got);
  return 0;
}

/* Data from begin to end. compare: only what differs from the copy (copy_fd -1: from zeros). */
static int take_range(struct held *h, int live_fd, int copy_fd, bool compare, uint64_t begin_bytes,
                      uint64_t end_bytes) {
  for (uint64_t at = begin_bytes; at < end_bytes; at += PIECE_BYTES) {
    int r = check_time(h);
    size_t length_bytes = end_bytes - at < PIECE_BYTES ? (size_t)(end_bytes - at) : PIECE_BYTES;
    size_t whole_bytes = (length_bytes + COPY_GRAIN_BYTES - 1) & ~(size_t)(COPY_GRAIN_BYTES - 1);
    if (r >= 0)
      r = h->reads_raw ? raw_read(h->raw_fd, live_fd, h->walk->copier.from, whole_bytes, at)
                       : read_or_zeros(live_fd, h->walk->copier.from, whole_bytes, at);
    if (r >= 0 && compare)
      r = read_or_zeros(copy_fd, h->walk->copier.to, length_bytes, at);
    if (r >= 0)
      r = compare ? keep_differing(h, at, length_bytes) : add_piece(h, at, length_bytes, h->walk->copier.from);
    if (r < 0)
      return r;
  }
  return 0;
}

/* Where the live file has a hole, the copy gets one. */
static int take_hole(struct held *h, int copy_fd, uint64_t begin_bytes, uint64_t end_bytes) {
  if (copy_fd < 0 || begin_bytes >= end_bytes)
    return 0;
  off_t data = lseek(copy_fd, (off_t)begin_bytes, SEEK_DATA);
  return data >= 0 && (uint64_t)data < end_bytes ? add_piece(h, begin_bytes, end_bytes - begin_bytes, NULL) : 0;
}

static int take_data(struct held *h, int live_fd, bool shared, int copy_fd, uint64_t size_bytes) {
  if (shared) /* no seeking in somebody else's open file */
    return take_range(h, live_fd, copy_fd, true, 0, size_bytes);
  for (uint64_t at = 0; at < size_bytes;) {
    off_t data = lseek(live_fd, (off_t)at, SEEK_DATA);
    if (data < 0)
      data = errno == ENXIO ? (off_t)size_bytes : (off_t)at;
    if ((uint64_t)data > size_bytes)
      data = (off_t)size_bytes;
    off_t hole = (uint64_t)data < size_bytes ? lseek(live_fd, data, SEEK_HOLE) : data;
    if (hole < 0 || (uint64_t)hole > size_bytes)
      hole = (off_t)size_bytes;
    int r = take_hole(h, copy_fd, at, (uint64_t)data);
    if (r >= 0)
      r = take_range(h, live_fd, copy_fd, copy_fd >= 0, (uint64_t)data, (uint64_t)hole);
    if (r < 0)
      return r;
    at = (uint64_t)hole;
  }
  return 0;
}

/* The slot of a file in the small table of linked ones; its op_offset_plus_one is 0 if new. NULL if the table is
 * full. */
static struct held_link *link_slot(struct held *h, const struct statx *sx) {
  if (h->links_count > HELD_LINKS_MAX / 4 * 3)
    return NULL;
  uint64_t device = tree_device(sx), hash = (sx->stx_ino ^ device << 40) * UINT64_C(0x9e3779b97f4a7c15);
  for (size_t i = hash >> 20 & (HELD_LINKS_MAX - 1);; i = (i + 1) & (HELD_LINKS_MAX - 1)) {
    struct held_link *slot = &h->links[i];
    if (slot->op_offset_plus_one == 0 || (slot->inode == sx->stx_ino && slot->device == device))
      return slot;
  }
}

static int take_regular(struct held *h, int directory_fd, const char *name, bool in_place, struct held_op *op) {
  struct walk *w = h->walk;
  enum lease_access access;
  CLEANUP_CLOSE int live_fd = lease_open(&w->leases, directory_fd, name, w->device, op->sx.stx_ino, &access);
  if (live_fd < 0)
    return live_fd;
  CLEANUP_CLOSE int copy_fd = -1;
  if (in_place) {
    const char *copy_name;
    CLEANUP_CLOSE int parent = tree_open_parent(w->copy_fd, h->path, h->path_bytes, &copy_name);
    copy_fd = openat(parent, copy_name, O_RDONLY | O_NOATIME | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (copy_fd >= 0 && (fstat(copy_fd, &st) < 0 || !S_ISREG(st.st_mode))) {
      (void)close(copy_fd);
      copy_fd = -1;
    }
    op->in_place = copy_fd >= 0;
  }
  h->reads_raw = access == LEASE_FOR_WRITING;
  return take_data(h, live_fd, access != LEASE_NONE, copy_fd, op->sx.stx_size);
}

/* Any entry but a directory. name is the last part of h->path. */
static int take_file(struct held *h, int directory_fd, const char *name, const struct statx *sx, bool in_place) {
  struct held_link *link = NULL;
  if (sx->stx_nlink > 1 && !(link = link_slot(h, sx)))
    return -EAGAIN;
  char target[PATH_MAX];
  ssize_t target_bytes = S_ISLNK(sx->stx_mode) ? readlinkat(directory_fd, name, target, sizeof target - 1) : 0;
  int attribute_bytes = attributes_read(&h->walk->room, directory_fd, name);
  if (target_bytes < 0)
    return -errno;
  if (attribute_bytes < 0)
    return attribute_bytes;
  target[target_bytes] = 0;
  size_t offset;
  int r = op_begin(h, HELD_FILE, sx, (size_t)attribute_bytes, S_ISLNK(sx->stx_mode) ? (size_t)target_bytes + 1 : 0,
                   &offset);
  if (r < 0)
    return r;
  struct held_op *op = held_op_at(h, offset);
  memcpy((char *)(op + 1) + op->path_bytes, h->walk->room.block, op->attribute_bytes);
  memcpy((char *)(op + 1) + op->path_bytes + op->attribute_bytes, target, op->target_bytes);
  if (link && link->op_offset_plus_one) {
    op->link_to = link->op_offset_plus_one;
    return 0;
  }
  if (link) {
    *link = (struct held_link){.inode = sx->stx_ino, .device = tree_device(sx), .op_offset_plus_one = offset + 1};
    h->links_count++;
  }
  if (S_ISREG(sx->stx_mode))
    r = take_regular(h, directory_fd, name, in_place, op);
  op_end(h, offset);
  return r;
}

/* ---- directories ---- */

static int push_name(void *context, const char *name, uint8_t type) {
  struct held *h = context;
  (void)type;
  size_t length = strlen(name) + 1;
  if (length > h->size_bytes - h->used_bytes - h->scratch_bytes) {
    h->failed_bytes = length;
    return -EAGAIN;
  }
  h->scratch_bytes += length;
  memcpy(h->memory + h->size_bytes - h->scratch_bytes, name, length);
  return 0;
}

/* Names of a directory under way, at the upper end of the memory: an array of pointers to them, sorted. */
struct held_names {
  const char **at;
  size_t count, scratch_before;
};

/* qsort() may allocate; a heap sort in place does not. */
static void sift(const char **at, size_t root, size_t count) {
  for (size_t child; (child = 2 * root + 1) < count; root = child) {
    if (child + 1 < count && strcmp(at[child], at[child + 1]) < 0)
      child++;
    if (strcmp(at[root], at[child]) >= 0)
      return;
    const char *swapped = at[root];
    at[root] = at[child];
    at[child] = swapped;
  }
}

static void sort_names(const char **at, size_t count) {
  for (size_t i = count / 2; i-- > 0;)
    sift(at, i, count);
  for (size_t end = count; end-- > 1;) {
    const char *largest = at[0];
    at[0] = at[end];
    at[end] = largest;
    sift(at, 0, end);
  }
}

static int push_names(struct held *h, int directory_fd, struct held_names *ret) {
  ret->scratch_before = h->scratch_bytes;
  int r = tree_list(directory_fd, h->walk->list_buffer, WALK_LIST_BYTES, push_name, h);
  if (r < 0)
    return r;
  const char *first = (const char *)h->memory + h->size_bytes - h->scratch_bytes;
  const char *end = (const char *)h->memory + h->size_bytes - ret->scratch_before;
  size_t count = 0;
  for (const char *name = first; name < end; name += strlen(name) + 1)
    count++;
  size_t bytes = count * sizeof *ret->at + 8;
  if (bytes > h->size_bytes - h->used_bytes - h->scratch_bytes) {
    h->failed_bytes = bytes;
    return -EAGAIN;
  }
  h->scratch_bytes += bytes;
  uintptr_t at = (uintptr_t)(h->memory + h->size_bytes - h->scratch_bytes);
  ret->at = (const char **)((at + 7) & ~(uintptr_t)7);
  ret->count = 0;
  for (const char *name = first; name < end; name += strlen(name) + 1)
    ret->at[ret->count++] = name;
  sort_names(ret->at, ret->count);
  return 0;
}

/* Appends a name to h->path; returns the length to go back to. 0 and -ENAMETOOLONG as usual. */
static int path_push(struct held *h, const char *name, size_t length, size_t *ret_before) {
  *ret_before = h->path_bytes;
  if (h->path_bytes + 1 + length > TABLE_PATH_BYTES_MAX)
    return -ENAMETOOLONG;
  if (h->path_bytes > 0)
    h->path[h->path_bytes++] = '/';
  memcpy(h->path + h->path_bytes, name, length);
  h->path_bytes += length;
  h->path[h->path_bytes] = 0;
  return 0;
}

static void path_pop(struct held *h, size_t before) {
  h->path_bytes = before;
  h->path[before] = 0;
}

static bool is_wanted(const struct held *h, const struct statx *directory, const char *name) {
  return !walk_is_store(h->walk, directory, name) &&
         scope_place(h->walk->scope, h->path, h->path_bytes) != SCOPE_OUTSIDE;
}

static int take_new(struct held *h, int directory_fd, const char *name);

/* The operation for a directory itself. */
static int take_directory_itself(struct held *h, int fd, const struct statx *sx) {
  int attribute_bytes = attributes_read(&h->walk->room, fd, "");
  if (attribute_bytes < 0)
    return attribute_bytes;
  size_t offset;
  int r = op_begin(h, HELD_DIRECTORY, sx, (size_t)attribute_bytes, 0, &offset);
  if (r >= 0)
    memcpy((char *)(held_op_at(h, offset) + 1) + h->path_bytes, h->walk->room.block, (size_t)attribute_bytes);
  return r;
}

/* A directory that the table does not know, with all that is in it. */
static int take_new_directory(struct held *h, int directory_fd, const char *name) {
  CLEANUP_CLOSE int fd = tree_open_directory(directory_fd, name, strlen(name), O_RDONLY);
  struct statx sx;
  struct held_names names;
  if (fd < 0)
    return fd;
  if (h->depth == WALK_DEPTH_MAX)
    return -ELOOP;
  int r = tree_stat(fd, "", &sx);
  if (r >= 0)
    r = take_directory_itself(h, fd, &sx);
  if (r < 0)
    return r;
  h->depth++;
  r = push_names(h, fd, &names);
  for (size_t i = 0; r >= 0 && i < names.count; i++) {
    size_t before;
    r = path_push(h, names.at[i], strlen(names.at[i]), &before);
    if (r >= 0 && is_wanted(h, &sx, names.at[i]))
      r = take_new(h, fd, names.at[i]);
    path_pop(h, before);
  }
  h->scratch_bytes = names.scratch_before;
  h->depth--;
  return r;
}

/* h->path names an entry that the table does not know, or knows as another file: whatever the copy has there goes
 * first. */
static int take_new(struct held *h, int directory_fd, const char *name) {
  struct statx sx;
  int r = tree_stat(directory_fd, name, &sx);
  if (r == -ENOENT)
    return 0;
  if (r >= 0)
    r = take_removal(h);
  if (r < 0)
    return r;
  return S_ISDIR(sx.stx_mode) ? take_new_directory(h, directory_fd, name)
                              : take_file(h, directory_fd, name, &sx, false);
}

/* A name that is both in the table and in the directory. Files were looked at by themselves. */
static int take_known(struct held *h, int directory_fd, const char *name, const struct table_entry *e) {
  struct statx sx;
  if ((e->head.flags & TABLE_TYPE_MASK) != S_IFDIR >> 12)
    return 0;
  int r = tree_stat(directory_fd, name, &sx);
  if (r < 0)
    return r == -ENOENT ? 0 : r;
  return S_ISDIR(sx.stx_mode) && sx.stx_ino == e->head.inode ? 0 : take_new(h, directory_fd, name);
}

/* Reads a directory's table entries one after the other, over its blocks. */
struct known {
  const struct held *held;
  uint64_t offset_bytes;
  uint32_t at;
  uint8_t *block;
};

static int known_next(struct known *k, struct table_entry *ret) {
  while (!table_block_next(k->block, &k->at, ret)) {
    k->offset_bytes += table_block_head(k->block)->length_bytes;
    int r = table_read_block(k->held->table_fd, k->offset_bytes, k->block);
    if (r <= 0)
      return r;
    if (!(table_block_head(k->block)->flags & TABLE_CONTINUED))
      return 0;
    k->at = table_block_first(k->block);
  }
  return 1;
}

/* Compares the names of a changed directory with those in the table. Its first block is in the walk's block buffer.
 */
static int compare_directory(struct held *h, int fd, const struct statx *sx, const struct held_names *names,
                             uint64_t offset_bytes) {
  struct known k = {.held = h,
                    .offset_bytes = offset_bytes,
                    .at = table_block_first(h->walk->block_buffer),
                    .block = h->walk->block_buffer};
  struct table_entry e = {0};
  int have = known_next(&k, &e), r = 0;
  size_t i = 0;
  while (r >= 0 && have >= 0 && (have > 0 || i < names->count)) {
    const char *name = i < names->count ? names->at[i] : NULL;
    int order = !name ? -1 : have == 0 ? 1 : path_compare(e.name, e.head.name_bytes, name, strlen(name));
    size_t before;
    r = order < 0 ? path_push(h, e.name, e.head.name_bytes, &before) : path_push(h, name, strlen(name), &before);
    if (r >= 0 && order < 0)
      r = take_removal(h);
    else if (r >= 0 && is_wanted(h, sx, name))
      r = order == 0 ? take_known(h, fd, name, &e) : take_new(h, fd, name);
    path_pop(h, before);
    if (order >= 0)
      i++;
    if (order <= 0)
      have = known_next(&k, &e);
  }
  return have < 0 ? have : r;
}

static int take_directory(struct held *h, int fd, uint64_t offset_bytes) {
  struct statx sx;
  struct held_names names;
  int r = tree_stat(fd, "", &sx);
  if (r >= 0)
    r = take_directory_itself(h, fd, &sx);
  if (r < 0)
    return r;
  r = push_names(h, fd, &names);
  if (r >= 0)
    r = compare_directory(h, fd, &sx, &names, offset_bytes);
  h->scratch_bytes = names.scratch_before;
  return r;
}

/* A file whose record no longer holds. */
static int take_changed(struct held *h, int fd, const struct table_entry *e) {
  char name[TABLE_NAME_BYTES_MAX + 1];
  memcpy(name, e->name, e->head.name_bytes);
  name[e->head.name_bytes] = 0;
  struct table_entry_head record = e->head;
  struct statx sx;
  size_t before;
  int r = path_push(h, name, record.name_bytes, &before);
  if (r >= 0 && (r = tree_stat(fd, name, &sx)) == -ENOENT)
    r = take_removal(h);
  else if (r >= 0) {
    bool same_file = sx.stx_ino == record.inode && (record.flags & TABLE_TYPE_MASK) == (sx.stx_mode & S_IFMT) >> 12;
    r = same_file ? take_file(h, fd, name, &sx, S_ISREG(sx.stx_mode)) : take_new(h, fd, name);
  }
  if (r < 0 && r != -EAGAIN && r != -ETIME)
    return r; /* h->path stays: it names the culprit */
  path_pop(h, before);
  return r;
}

static int take_found(struct held *h, const struct look_found *found) {
  uint8_t *block = h->walk->block_buffer;
  int r = check_time(h);
  if (r >= 0)
    r = table_read_block(h->table_fd, found->block_offset_bytes, block);
  if (r <= 0)
    return r < 0 ? r : -EBADMSG;
  h->path_bytes = 0;
  size_t before;
  r = path_push(h, table_block_path(block), table_block_head(block)->path_bytes, &before);
  if (r < 0)
    return r;
  CLEANUP_CLOSE int fd =
      tree_open_directory(h->walk->live_fd, h->path, h->path_bytes, found->entry_offset ? O_PATH : O_RDONLY);
  if (fd < 0) /* gone: the one above it says so */
    return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? 0 : fd;
  if (found->entry_offset == 0)
    return take_directory(h, fd, found->block_offset_bytes);
  uint32_t at = found->entry_offset;
  struct table_entry e;
  return table_block_next(block, &at, &e) ? take_changed(h, fd, &e) : -EBADMSG;
}

int held_take(struct held *h, const struct look *look, struct umbra_error *err) {
  h->used_bytes = h->scratch_bytes = h->failed_bytes = 0;
  h->depth = 0;
  h->deadline_ns = clock_monotonic_ns() + HELD_MS_MAX * NS_PER_MS;
  memset(h->links, 0, HELD_LINKS_MAX * sizeof *h->links);
  h->links_count = 0;
  for (size_t i = 0; i < look_count(look); i++) {
    int r = take_found(h, look_found(look, i));
    if (r == -EAGAIN)
      return error_set(err, r, UMBRA_REASON_LIMIT, "more has changed than fits into %zu MiB of memory, at '%s'",
                       h->size_bytes >> 20, h->path);
    if (r == -ETIME)
      return error_set(err, -EAGAIN, UMBRA_REASON_LIMIT, "reading what changed takes longer than %d ms, at '%s'",
                       HELD_MS_MAX, h->path);
    if (r == -EWOULDBLOCK)
      return error_set(err, r, UMBRA_REASON_BUSY, "'%s' cannot be read: another process holds a lease on it",
                       h->path);
    if (r < 0)
      return error_code(err, r, "reading '%s'", h->path);
  }
  return 0;
}

bool held_is_still(struct held *h, int64_t grain_ns) {
  for (size_t at = 0; at < h->used_bytes; at += held_op_at(h, at)->length_bytes) {
    const struct held_op *op = held_op_at(h, at);
    if (op->kind == HELD_REMOVE)
      continue; /* names are their directory's */
    const char *name;
    CLEANUP_CLOSE int parent = tree_open_parent(h->walk->live_fd, held_op_path(op), op->path_bytes, &name);
    char text[TABLE_NAME_BYTES_MAX + 1] = "";
    struct statx sx;
    if (parent < 0)
      return false;
    memcpy(text, name, op->path_bytes - (size_t)(name - held_op_path(op)));
    if (tree_stat(parent, text, &sx) < 0 || sx.stx_ino != op->sx.stx_ino || sx.stx_size != op->sx.stx_size ||
        tree_time_ns(sx.stx_ctime) != tree_time_ns(op->sx.stx_ctime) ||
        tree_time_ns(sx.stx_ctime) > op->looked_ns - grain_ns)
      return false;
  }
  return true;
}
