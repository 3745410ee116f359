/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saves the sources: walks them in tree order beside the base backup's index, which is in the same order, reads what
 * is new ahead on other threads, and writes archive and index.
 *
 * A path is taken over from the base unread if kind, inode, size and both times are those of the base's index, and
 * its change time is older than the base's instant by more than a clock's grain: a file written again within the same
 * tick as the instant has the old time but not the old content.  Whatever else has a namesake in the base is read,
 * and stored unless its checksums turn out to be the same: a provider that copies files gives them new inodes, and
 * that must not make every backup a full one.
 */
#include "backup/archive-writer.h"
#include "backup/backup-private.h"
#include "backup/cancel.h"
#include "backup/content.h"
#include "backup/link-table.h"
#include "backup/prefetch.h"
#include "backup/walk.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

enum {
  LARGE_READ_BYTES = 512 * 1024,
  PROGRESS_BYTES = 8 * 1024 * 1024,
  /* The kernel's times advance with its ticks, of at most 10 ms. */
  RACY_GRAIN_MS = 20,
};

struct saver {
  struct backup *b;
  const struct walk_volume *volumes;
  struct walk *walk;
  struct prefetch *prefetch;
  struct link_table *links;
  struct archive_writer *archive;
  struct index_writer *index;
  struct index_reader *base;              /* NULL: none */
  const struct index_record *base_record; /* the next one that was not passed; NULL: no more */
  uint32_t position;
  struct index_record record;
  struct content_hash hash;
  char *buffer;
  struct archive_extent *extents;
  size_t extent_count;
  uint64_t reported_bytes;
};

static bool same_time(struct timespec a, struct statx_timestamp b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == (long)b.tv_nsec;
}

static bool earlier_than(struct timespec a, struct timespec b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

/* ---- the base's side of the merge ---- */

static int base_advance(struct saver *s, struct umbra_error *err) {
  do {
    int r = index_reader_next(s->base, &s->base_record, err);
    if (r < 0)
      return error_prefix(err, r, "base backup '%s' (a full backup needs none)", s->b->base->name);
    if (r == 0)
      s->base_record = NULL;
  } while (s->base_record && s->base_record->kind == INDEX_DELETED);
  return 0;
}

static int consume(struct saver *s, struct umbra_error *err);

static int place(struct saver *s, uint64_t content_bytes, struct prefetch_item **ret, struct umbra_error *err) {
  while (!(*ret = prefetch_place(s->prefetch, content_bytes))) {
    int r = consume(s, err);
    if (r < 0)
      return r;
  }
  return 0;
}

/* What the base has and the walk passed is gone. path NULL: all the rest. */
static int note_deleted(struct saver *s, const char *path, struct umbra_error *err) {
  while (s->base_record && (!path || tree_path_compare(s->base_record->path, path) < 0)) {
    struct prefetch_item *item = NULL;
    int r = place(s, 0, &item, err);
    if (r < 0)
      return r;
    item->kind = INDEX_DELETED;
    item->path = strdup(s->base_record->path);
    if (!item->path)
      return error_code(err, -ENOMEM, "noting deleted files");
    prefetch_put(s->prefetch);
    r = base_advance(s, err);
    if (r < 0)
      return r;
  }
  return 0;
}

/* ---- the walk's side ---- */

static enum index_kind kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFDIR:
    return INDEX_DIRECTORY;
  case S_IFLNK:
    return INDEX_SYMLINK;
  case S_IFIFO:
    return INDEX_FIFO;
  case S_IFCHR:
    return INDEX_CHARACTER;
  case S_IFBLK:
    return INDEX_BLOCK;
  default:
    return INDEX_FILE;
  }
}

static bool unchanged(const struct saver *s, const struct prefetch_item *item) {
  const struct index_record *before = s->base_record;
  const struct statx *now = &item->status;
  return before->inode == now->stx_ino && before->size_bytes == now->stx_size &&
         same_time(before->modified, now->stx_mtime) && same_time(before->changed, now->stx_ctime) &&
         earlier_than(before->changed, index_reader_header(s->base)->racy_after);
}

/* Decides what has to be read. base_record is the path's namesake. */
static int compare_with_base(struct saver *s, struct prefetch_item *item) {
  const struct index_record *before = s->base_record;
  if (before->kind != item->kind || (item->kind == INDEX_HARD_LINK && strcmp(before->target, item->target) != 0))
    return 0;
  item->earlier = (struct earlier){.position = before->position,
                                   .offset_bytes = before->offset_bytes,
                                   .metadata = before->metadata,
                                   .content = before->content,
                                   .sparse = before->sparse};
  if (!unchanged(s, item)) {
    item->need = item->kind == INDEX_HARD_LINK ? PREFETCH_STORE : PREFETCH_COMPARE;
    return 0;
  }
  item->need = PREFETCH_NOTHING;
  if (item->kind == INDEX_SYMLINK) {
    item->target = strdup(before->target);
    return item->target ? 0 : -ENOMEM;
  }
  return 0;
}

static int find_hard_link(struct saver *s, struct prefetch_item *item, struct umbra_error *err) {
  const struct statx *st = &item->status;
  const char *first = NULL;
  if (S_ISDIR(st->stx_mode) || st->stx_nlink < 2)
    return 0;
  int r = link_table_add(s->links, (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor, st->stx_ino, item->path,
                         &first, err);
  if (r <= 0)
    return r;
  item->kind = INDEX_HARD_LINK;
  item->target = strdup(first);
  return item->target ? 0 : error_code(err, -ENOMEM, "'/%s'", item->path);
}

static int add_entry(struct saver *s, const struct walk_entry *e, struct umbra_error *err) {
  struct prefetch_item *item = NULL;
  int r = place(s, S_ISREG(e->status.stx_mode) ? e->status.stx_size : 0, &item, err);
  if (r < 0)
    return r;
  item->path = strdup(e->path);
  if (!item->path)
    return error_code(err, -ENOMEM, "'/%s'", e->path);
  item->directory = directory_ref(e->directory);
  memcpy(item->name, e->name, strlen(e->name) + 1);
  item->status = e->status;
  item->kind = kind_of(e->status.stx_mode);
  item->copied = s->volumes[e->volume].copied;
  item->need = PREFETCH_STORE;
  r = find_hard_link(s, item, err);
  if (r == 0 && s->base_record && strcmp(s->base_record->path, e->path) == 0) {
    r = compare_with_base(s, item);
    r = r < 0 ? error_code(err, r, "'/%s'", e->path) : base_advance(s, err);
  }
  prefetch_put(s->prefetch); /* in any case: it owns the item's parts */
  return r;
}

/* ---- writing ---- */

/* Of all files that are done and what is read of the one under way. The total is known at the end. */
static void tell_progress(struct saver *s, uint64_t done_bytes, bool ended) {
  const struct backup_listener *l = &s->b->listener;
  if (!l->progress || (!ended && done_bytes < s->reported_bytes + PROGRESS_BYTES))
    return;
  s->reported_bytes = done_bytes;
  l->progress(l->userdata, "saving", done_bytes, ended ? done_bytes : 0);
}

static void count(struct saver *s, const struct index_record *record) {
  struct backup_totals *t = &s->b->totals;
  switch (record->kind) {
  case INDEX_FILE:
    t->files++;
    t->bytes += record->size_bytes;
    break;
  case INDEX_DIRECTORY:
    t->directories++;
    break;
  case INDEX_SYMLINK:
    t->links++;
    break;
  case INDEX_HARD_LINK:
    t->hard_links++;
    break;
  case INDEX_DELETED:
    t->deleted++;
    break;
  default:
    t->others++;
    break;
  }
  tell_progress(s, t->bytes, false);
}

static int changed_meanwhile(const struct prefetch_item *item, struct umbra_error *err) {
  return error_set(err, -EAGAIN, UMBRA_REASON_BAD_STATE, "'/%s' changed while it was read", item->path);
}

static void add_extent(struct saver *s, uint64_t offset_bytes, uint64_t length_bytes) {
  if (s->extent_count == ARCHIVE_EXTENTS_MAX) {
    /* Every second hole is filled: the data are right, the layout is coarser. */
    size_t kept = 0;
    for (size_t i = 0; i + 1 < s->extent_count; i += 2, kept++) {
      const struct archive_extent *a = &s->extents[i], *b = &s->extents[i + 1];
      s->extents[kept] =
          (struct archive_extent){a->offset_bytes, b->offset_bytes + b->length_bytes - a->offset_bytes};
    }
    s->extent_count = kept;
  }
  s->extents[s->extent_count++] = (struct archive_extent){offset_bytes, length_bytes};
}

/* The extents of data of a file with holes. *ret_sparse false: it has none. */
static int read_layout(struct saver *s, const struct prefetch_item *item, bool *ret_sparse, struct umbra_error *err) {
  off_t size = (off_t)item->status.stx_size, at = 0;
  s->extent_count = 0;
  *ret_sparse = false;
  if (!prefetch_item_may_be_sparse(item))
    return 0;
  while (at < size) {
    off_t data = lseek(item->fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
      break;
    off_t hole = data < 0 ? -1 : lseek(item->fd, data, SEEK_HOLE);
    if (hole < 0)
      return error_errno(err, "reading the layout of '/%s'", item->path);
    if (data >= size)
      break;
    hole = hole > size ? size : hole;
    add_extent(s, (uint64_t)data, (uint64_t)(hole - data));
    at = hole;
  }
  *ret_sparse =
      s->extent_count != 1 || s->extents[0].offset_bytes != 0 || s->extents[0].length_bytes != (uint64_t)size;
  return 0;
}

/* Reads one extent; into the archive as well if write. */
static int read_extent(struct saver *s, const struct prefetch_item *item, uint64_t offset_bytes,
                       uint64_t length_bytes, bool write, struct umbra_error *err) {
  while (length_bytes > 0) {
    int r = backup_check_cancelled(&s->b->listener, err);
    if (r < 0)
      return r;
    size_t n = length_bytes < LARGE_READ_BYTES ? (size_t)length_bytes : LARGE_READ_BYTES;
    r = fd_pread_all(item->fd, s->buffer, n, offset_bytes);
    if (r == -ENODATA)
      return changed_meanwhile(item, err);
    if (r < 0)
      return error_code(err, r, "reading '/%s'", item->path);
    content_hash_add(&s->hash, offset_bytes, s->buffer, n);
    if (write) {
      r = archive_writer_data(s->archive, offset_bytes, s->buffer, n, err);
      if (r < 0)
        return r;
    }
    offset_bytes += n;
    length_bytes -= n;
    tell_progress(s, s->b->totals.bytes + offset_bytes, false);
  }
  return 0;
}

/* Reads a file that was not read ahead, and leaves its checksum in the record. */
static int read_large(struct saver *s, const struct prefetch_item *item, bool write, struct umbra_error *err) {
  uint64_t size_bytes = item->status.stx_size;
  char past_end;
  int r = 0;
  content_hash_begin(&s->hash);
  if (!s->record.sparse)
    r = read_extent(s, item, 0, size_bytes, write, err);
  for (size_t i = 0; r == 0 && s->record.sparse && i < s->extent_count; i++)
    r = read_extent(s, item, s->extents[i].offset_bytes, s->extents[i].length_bytes, write, err);
  if (r < 0)
    return r;
  if (pread(item->fd, &past_end, 1, (off_t)size_bytes) > 0)
    return changed_meanwhile(item, err);
  s->record.content = content_hash_finish(&s->hash, s->record.sparse, size_bytes);
  return 0;
}

/* True if what was read is what the base has. */
static int equals_base(struct saver *s, const struct prefetch_item *item, bool *ret, struct umbra_error *err) {
  const struct earlier *before = &item->earlier;
  *ret = false;
  if (item->need != PREFETCH_COMPARE || !digest_equal(&item->metadata, &before->metadata))
    return 0;
  if (item->kind == INDEX_FILE && !item->data) {
    if (s->record.sparse != before->sparse)
      return 0;
    int r = read_large(s, item, false, err);
    if (r < 0)
      return r;
  }
  *ret = item->kind != INDEX_FILE || digest_equal(&s->record.content, &before->content);
  return 0;
}

static int store(struct saver *s, const struct prefetch_item *item, struct umbra_error *err) {
  struct index_record *record = &s->record;
  record->position = s->position;
  record->offset_bytes = archive_writer_offset(s->archive);
  int r = archive_writer_begin(s->archive, record, &item->attributes, record->sparse ? s->extents : NULL,
                               s->extent_count, err);
  if (r == 0 && item->data)
    r = archive_writer_data(s->archive, 0, item->data, (size_t)item->status.stx_size, err);
  else if (r == 0 && item->kind == INDEX_FILE)
    r = read_large(s, item, true, err);
  if (r == 0)
    r = archive_writer_end(s->archive, err);
  if (r < 0)
    return error_prefix(err, r, "saving '/%s'", item->path);
  s->b->totals.stored++;
  if (item->kind == INDEX_FILE)
    s->b->totals.stored_bytes += item->status.stx_size;
  return 0;
}

static int finish_item(struct saver *s, struct prefetch_item *item, struct umbra_error *err) {
  struct index_record *record = &s->record;
  bool from_base = item->need == PREFETCH_NOTHING;
  if (item->kind == INDEX_DELETED) {
    record->kind = INDEX_DELETED;
    memcpy(record->path, item->path, strlen(item->path) + 1);
    return index_writer_add(s->index, record, err);
  }
  prefetch_item_record(item, record);
  record->content = item->content;
  if (!from_base) {
    int r = item->fd >= 0 ? read_layout(s, item, &record->sparse, err) : 0;
    if (r == 0)
      r = equals_base(s, item, &from_base, err);
    if (r == 0 && !from_base)
      r = store(s, item, err);
    if (r < 0)
      return r;
  }
  if (from_base) {
    record->position = item->earlier.position;
    record->offset_bytes = item->earlier.offset_bytes;
    record->metadata = item->earlier.metadata;
    record->content = item->earlier.content;
    record->sparse = item->earlier.sparse;
  }
  return index_writer_add(s->index, record, err);
}

/* Takes the oldest item out and writes it. */
static int consume(struct saver *s, struct umbra_error *err) {
  struct prefetch_item *item = prefetch_take(s->prefetch);
  if (!item)
    return error_set(err, -EINVAL, UMBRA_REASON_INTERNAL, "nothing was being read");
  int r = item->error.code;
  if (r < 0 && err)
    *err = item->error;
  if (r == 0)
    r = backup_check_cancelled(&s->b->listener, err);
  if (r == 0)
    r = finish_item(s, item, err);
  if (r == 0)
    count(s, &s->record);
  prefetch_release(s->prefetch);
  return r;
}

static int save_all(struct saver *s, struct umbra_error *err) {
  const struct walk_entry *e = NULL;
  int r;
  while ((r = walk_next(s->walk, &e, err)) == 1) {
    if (S_ISSOCK(e->status.stx_mode)) {
      s->b->totals.sockets++;
      continue;
    }
    r = note_deleted(s, e->path, err);
    if (r == 0)
      r = add_entry(s, e, err);
    if (r < 0)
      return r;
  }
  if (r == 0)
    r = note_deleted(s, NULL, err);
  while (r == 0 && prefetch_take(s->prefetch))
    r = consume(s, err);
  return r;
}

/* ---- beginning and ending ---- */

static int open_output(struct backup *b, const char *name, int *ret_fd, struct umbra_error *err) {
  *ret_fd = openat(b->folder_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  return *ret_fd < 0 ? error_errno(err, "making '%s/%s/%s'", b->directory.path, b->partial, name) : 0;
}

static int begin(struct saver *s, int64_t began_ns, struct umbra_error *err) {
  struct backup *b = s->b;
  int64_t racy_ns = began_ns - RACY_GRAIN_MS * NS_PER_MS;
  struct index_header header = {.position = s->position,
                                .racy_after = {.tv_sec = racy_ns / NS_PER_S, .tv_nsec = racy_ns % NS_PER_S}};
  int r = open_output(b, MANIFEST_ARCHIVE_NAME, &b->archive_fd, err);
  if (r == 0)
    r = open_output(b, MANIFEST_INDEX_NAME, &b->index_fd, err);
  if (r == 0)
    r = prefetch_new(&s->prefetch, err);
  if (r == 0)
    r = link_table_new(b->folder_fd, &s->links, err);
  if (r == 0)
    r = archive_writer_new(b->archive_fd, b->level, b->folder_fd, &s->archive, err);
  if (r == 0)
    r = index_writer_new(b->index_fd, &header, &s->index, err);
  if (r == 0 && b->base) {
    r = index_reader_open(b->base_index_fd, b->base->name, &s->base, err);
    if (r == 0)
      r = base_advance(s, err);
  }
  s->buffer = malloc(LARGE_READ_BYTES);
  s->extents = malloc(ARCHIVE_EXTENTS_MAX * sizeof *s->extents);
  if (r == 0 && (!s->buffer || !s->extents || content_hash_init(&s->hash) < 0))
    r = error_code(err, -ENOMEM, "beginning the backup");
  return r;
}

static int finish(struct saver *s, struct umbra_error *err) {
  struct backup *b = s->b;
  uint64_t records = 0;
  int r = archive_writer_finish(s->archive, &b->archive_file.digest, &b->archive_file.bytes, err);
  if (r == 0)
    r = index_writer_finish(s->index, &records, err);
  if (r == 0) {
    r = digest_of_file(b->index_fd, &b->index_file.digest, &b->index_file.bytes);
    if (r < 0)
      return error_code(err, r, "reading the index again");
  }
  b->totals.archive_bytes = b->archive_file.bytes;
  b->totals.index_bytes = b->index_file.bytes;
  return r;
}

static void done(struct saver *s) {
  prefetch_free(s->prefetch);
  walk_free(s->walk);
  link_table_free(s->links);
  archive_writer_free(s->archive);
  index_writer_free(s->index);
  index_reader_free(s->base);
  content_hash_done(&s->hash);
  free(s->buffer);
  free(s->extents);
  free(s);
}

/* The volume whose mount point is the longest above the source. */
static int place_sources(const struct backup *b, const struct walk_volume *volumes, size_t count_volumes,
                         struct walk_source *ret, struct umbra_error *err) {
  for (size_t i = 0; b->sources[i]; i++) {
    const struct walk_volume *best = NULL;
    const char *path = b->sources[i] + 1;
    for (size_t v = 0; v < count_volumes; v++)
      if (tree_path_within(path, volumes[v].mount_point) &&
          (!best || strlen(volumes[v].mount_point) > strlen(best->mount_point)))
        best = &volumes[v];
    if (!best)
      return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "no shadow copy holds source '%s'", b->sources[i]);
    ret[i] = (struct walk_source){.path = path, .volume = (size_t)(best - volumes)};
  }
  return 0;
}

static int begin_walk(struct saver *s, const struct walk_volume *volumes, const struct walk_source *sources,
                      struct umbra_error *err) {
  return walk_new(volumes, sources, strv_count(s->b->sources), s->b->excludes, s->b->folder_fd, &s->walk, err);
}

int backup_save(struct backup *b, const struct backup_volume *volumes, size_t volume_count, int64_t began_ns,
                struct umbra_error *err) {
  CLEANUP_FREE struct walk_volume *walk_volumes = calloc(volume_count + 1, sizeof *walk_volumes);
  CLEANUP_FREE struct walk_source *sources = calloc(WALK_SOURCES_MAX + 1, sizeof *sources);
  struct saver *s = calloc(1, sizeof *s);
  if (!walk_volumes || !sources || !s) {
    free(s);
    return error_code(err, -ENOMEM, "beginning the backup");
  }
  s->b = b;
  s->position = b->base ? (uint32_t)json_array_size(b->base->manifest.chain) : 0;
  for (size_t i = 0; i < volume_count; i++)
    walk_volumes[i] = (struct walk_volume){
        .mount_point = volumes[i].mount_point + 1, .root_fd = volumes[i].root_fd, .copied = volumes[i].copied};
  s->volumes = walk_volumes;
  int r = place_sources(b, walk_volumes, volume_count, sources, err);
  if (r == 0)
    r = begin(s, began_ns, err);
  if (r == 0)
    r = begin_walk(s, walk_volumes, sources, err);
  if (r == 0)
    r = save_all(s, err);
  if (r == 0)
    r = finish(s, err);
  if (r == 0)
    tell_progress(s, b->totals.bytes, true);
  done(s);
  return r;
}
