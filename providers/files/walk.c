/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A round of the tree copy.  Each directory is done by itself: list it, compare its entries with the old table's
 * (both sorted), copy what changed, remove what vanished, set its attributes, write its block; then its
 * subdirectories.  So no more than two directories are open at any depth, and the copy's directory times come out
 * right without a second pass.
 *
 * Everything is looked at before it is copied: a change in between shows as a later ctime, in the next round or under
 * the hold. Things that vanish or change their kind meanwhile are left out; their directory's ctime tells the next
 * look.
 */
#include "providers/files/walk.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/id.h"
#include "providers/files/entry.h"
#include "providers/files/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int walk_init(struct walk *w) {
  w->list_buffer = malloc(WALK_LIST_BYTES);
  w->block_buffer = malloc(TABLE_BLOCK_BYTES_MAX);
  w->path = malloc(TABLE_PATH_BYTES_MAX + 1);
  w->leases.fd = -1;
  if (!w->list_buffer || !w->block_buffer || !w->path || lease_watch_init(&w->leases) < 0 ||
      copier_init(&w->copier) < 0 || attributes_room_init(&w->room) < 0)
    return -ENOMEM;
  return 0;
}

void walk_done(struct walk *w) {
  free(w->list_buffer);
  free(w->block_buffer);
  free(w->path);
  free(w->starts);
  if (w->leases.text)
    lease_watch_done(&w->leases);
  copier_done(&w->copier);
  attributes_room_done(&w->room);
  links_clear(&w->links);
}

bool walk_is_store(const struct walk *w, const struct statx *directory, const char *name) {
  if (directory->stx_ino != w->storage_inode || tree_device(directory) != w->storage_device)
    return false;
  /* Stores and images are named by an id, kept ones "kept-…". */
  char id[ID_TEXT_BYTES];
  if (strncmp(name, "kept-", 5) == 0)
    return true;
  if (strlen(name) < ID_TEXT_BYTES - 1)
    return false;
  memcpy(id, name, ID_TEXT_BYTES - 1);
  id[ID_TEXT_BYTES - 1] = 0;
  return id_valid(id);
}

bool walk_is_unsure(const struct walk *w, int64_t ctime_ns) {
  if (ctime_ns < w->sync_ns - w->settle_ns)
    return false;
  /* A ctime ahead of the clock is from before the clock was set back: whatever changes now gets another. */
  return w->strange_clock || ctime_ns <= clock_realtime_ns();
}

bool walk_is_same(const struct table_entry_head *record, const struct statx *sx) {
  return record->inode == sx->stx_ino && record->ctime_ns == tree_time_ns(sx->stx_ctime) &&
         record->size_bytes == sx->stx_size && record->mtime_ns == tree_time_ns(sx->stx_mtime) &&
         (record->flags & TABLE_TYPE_MASK) == (sx->stx_mode & S_IFMT) >> 12;
}

/* The names of one directory. */
struct names {
  char *text; /* one after the other, each with its end */
  size_t text_bytes, text_size;
  uint32_t *offsets;
  size_t count, size;
};

static void names_done(struct names *n) {
  free(n->text);
  free(n->offsets);
}

static int names_add(void *context, const char *name, uint8_t type) {
  struct names *n = context;
  (void)type;
  size_t length = strlen(name) + 1;
  if (n->text_bytes + length > n->text_size) {
    size_t size = n->text_size ? n->text_size * 2 : 1024;
    char *larger = size > UINT32_MAX ? NULL : realloc(n->text, size);
    if (!larger)
      return -ENOMEM;
    n->text = larger;
    n->text_size = size;
  }
  if (n->count == n->size) {
    size_t size = n->size ? n->size * 2 : 64;
    uint32_t *larger = realloc(n->offsets, size * sizeof *larger);
    if (!larger)
      return -ENOMEM;
    n->offsets = larger;
    n->size = size;
  }
  n->offsets[n->count++] = (uint32_t)n->text_bytes;
  memcpy(n->text + n->text_bytes, name, length);
  n->text_bytes += length;
  return 0;
}

static int compare_names(const void *a, const void *b, void *text) {
  return strcmp((const char *)text + *(const uint32_t *)a, (const char *)text + *(const uint32_t *)b);
}

static void names_sort(struct names *n) {
  if (n->count > 1)
    qsort_r(n->offsets, n->count, sizeof *n->offsets, compare_names, n->text);
}

static bool names_have(const struct names *n, const char *name) {
  size_t low = 0, high = n->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = strcmp(n->text + n->offsets[middle], name);
    if (order == 0)
      return true;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return false;
}

/* In a copied directory of which the table may not know all: removes what the live one has not. */
struct strangers {
  const struct names *names;
  struct names found;
};

static int note_stranger(void *context, const char *name, uint8_t type) {
  struct strangers *s = context;
  return names_have(s->names, name) ? 0 : names_add(&s->found, name, type);
}

static int remove_strangers(struct walk *w, struct entry_place *place, const struct names *names,
                            struct umbra_error *err) {
  CLEANUP_CLOSE int fd = openat(place->copy_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct strangers s = {.names = names};
  int r = fd < 0 ? -errno : tree_list(fd, w->list_buffer, WALK_LIST_BYTES, note_stranger, &s);
  for (size_t i = 0; r >= 0 && i < s.found.count; i++)
    r = entry_remove(place, s.found.text + s.found.offsets[i]);
  names_done(&s.found);
  return r < 0 ? error_code(err, r, "removing what is gone from the copy of '%.*s'", (int)w->path_bytes, w->path) : 0;
}

/* Compares and copies the entries of one directory, in order; *ret_kept: names of subdirectories, to walk next. */
static int walk_entries(struct walk *w, struct entry_place *place, bool has_old, const struct names *names,
                        struct names *ret_directories, struct umbra_error *err) {
  struct table_entry old = {0};
  int have_old = has_old ? table_reader_next(&w->old, &old) : 0;
  size_t i = 0;
  while (have_old > 0 || i < names->count) {
    const char *name = i < names->count ? names->text + names->offsets[i] : NULL;
    int order = !name ? -1 : have_old <= 0 ? 1 : path_compare(old.name, old.head.name_bytes, name, strlen(name));
    if (w->copier.cancelled && atomic_load(w->copier.cancelled))
      return error_set(err, -ECANCELED, UMBRA_REASON_CANCELLED, "cancelled");
    int r = 0;
    if (order < 0) {
      char gone[TABLE_NAME_BYTES_MAX + 1];
      memcpy(gone, old.name, old.head.name_bytes);
      gone[old.head.name_bytes] = 0;
      r = entry_remove(place, gone);
      if (r < 0)
        return error_code(err, r, "removing the copy of '%s', which is gone", gone);
    } else {
      struct table_entry_head record;
      r = entry_copy(w, place, name, order == 0 ? &old.head : NULL, &record, err);
      if (r > 0) {
        if ((record.flags & TABLE_TYPE_MASK) == S_IFDIR >> 12 && names_add(ret_directories, name, 0) < 0)
          return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "noting directories");
        r = entry_record(w, place, &record, name);
      }
      if (r < 0)
        return error_prefix(err, r, "copying '%.*s%s%s'", (int)w->path_bytes, w->path, w->path_bytes ? "/" : "",
                            name);
      i++;
    }
    if (order <= 0)
      have_old = table_reader_next(&w->old, &old);
    if (have_old < 0)
      return error_code(err, have_old, "reading the table of the copy");
  }
  return 0;
}

static int walk_directory(struct walk *w, struct umbra_error *err);

static int walk_children(struct walk *w, const struct names *directories, struct umbra_error *err) {
  size_t path_bytes = w->path_bytes;
  if (w->depth == WALK_DEPTH_MAX)
    return error_set(err, -ELOOP, UMBRA_REASON_LIMIT, "directories lie more than %d deep at '%.200s…'",
                     WALK_DEPTH_MAX, w->path);
  w->depth++;
  for (size_t i = 0; i < directories->count; i++) {
    const char *name = directories->text + directories->offsets[i];
    size_t length = strlen(name);
    w->path_bytes = path_bytes;
    if (path_bytes + 1 + length > TABLE_PATH_BYTES_MAX)
      return error_set(err, -ENAMETOOLONG, UMBRA_REASON_LIMIT,
                       "the path of a directory is longer than %d bytes: '%.200s…'", TABLE_PATH_BYTES_MAX, w->path);
    if (path_bytes > 0)
      w->path[w->path_bytes++] = '/';
    memcpy(w->path + w->path_bytes, name, length + 1);
    w->path_bytes += length;
    int r = walk_directory(w, err);
    if (r < 0)
      return r;
  }
  w->path_bytes = path_bytes;
  w->path[path_bytes] = 0;
  w->depth--;
  return 0;
}

/* Lists what of a directory is wanted, sorted. */
static int list_wanted(struct walk *w, const struct entry_place *place, struct names *ret, struct umbra_error *err) {
  int r = tree_list(place->live_fd, w->list_buffer, WALK_LIST_BYTES, names_add, ret);
  if (r < 0)
    return error_code(err, r, "listing '%.*s'", (int)w->path_bytes, w->path);
  size_t kept = 0;
  for (size_t i = 0; i < ret->count; i++) {
    const char *name = ret->text + ret->offsets[i];
    if (!entry_is_wanted(w, place, name))
      continue;
    ret->offsets[kept++] = ret->offsets[i];
  }
  ret->count = kept;
  names_sort(ret);
  return 0;
}

/* The directory itself: its block's head, and its attributes once its entries are done. */
static int walk_one(struct walk *w, struct entry_place *place, struct names *directories, struct umbra_error *err) {
  struct names names __attribute__((cleanup(names_done))) = {0};
  int r = list_wanted(w, place, &names, err);
  if (r < 0)
    return r;
  int has_old = table_reader_seek(&w->old, w->path, w->path_bytes);
  if (has_old < 0)
    return error_code(err, has_old, "reading the table of the copy");
  const struct statx *sx = &place->directory;
  struct table_block_head head = {.inode = sx->stx_ino,
                                  .ctime_ns = tree_time_ns(sx->stx_ctime),
                                  .mtime_ns = tree_time_ns(sx->stx_mtime),
                                  .flags = place->way ? TABLE_WAY : 0};
  bool same = false;
  /* A directory that a kept table does not know may be in the copy all the same, from the last hold. */
  place->unsure = w->old.fd >= 0;
  if (has_old) {
    const struct table_block_head *old = table_block_head(w->old.block);
    place->unsure = old->flags & TABLE_UNSURE;
    same = !place->unsure && old->inode == head.inode && old->ctime_ns == head.ctime_ns &&
           old->mtime_ns == head.mtime_ns;
  }
  if (walk_is_unsure(w, head.ctime_ns))
    head.flags |= TABLE_UNSURE;
  r = table_writer_begin(&w->new, &head, w->path, w->path_bytes);
  if (r < 0)
    return error_code(err, r, "writing the table of the copy");
  r = walk_entries(w, place, has_old, &names, directories, err);
  if (r >= 0 && place->unsure)
    r = remove_strangers(w, place, &names, err);
  if (r >= 0)
    r = table_writer_end(&w->new) < 0 ? error_code(err, -EIO, "writing the table of the copy") : 0;
  if (r < 0)
    return r;
  if (same && !place->touched)
    return 0;
  if (same)
    r = attributes_set_mtime(place->copy_fd, "", sx->stx_mtime);
  else if ((r = attributes_read(&w->room, place->live_fd, "")) >= 0)
    r = attributes_apply(&w->room, place->copy_fd, "", sx, w->room.block, (size_t)r, err);
  return r < 0 ? error_prefix(err, r, "copying the directory '%.*s'", (int)w->path_bytes, w->path) : 0;
}

static int walk_directory(struct walk *w, struct umbra_error *err) {
  struct names directories __attribute__((cleanup(names_done))) = {0};
  struct entry_place place = {.live_fd = -1, .copy_fd = -1};
  int r = entry_place_open(w, &place, err);
  if (r > 0)
    r = walk_one(w, &place, &directories, err);
  entry_place_close(&place);
  return r < 0 ? r : walk_children(w, &directories, err);
}

int walk_round(struct walk *w, int old_fd, int new_fd, struct umbra_error *err) {
  w->changed_files = w->changed_bytes = w->unsure_bytes = w->kept_bytes = 0;
  w->copier.stored_bytes = 0;
  w->path_bytes = 0;
  w->path[0] = 0;
  w->depth = 0;
  links_clear(&w->links);
  /* What is written back from here on gets write-protected: a store after that shows in the ctime (invariant 2). */
  w->sync_ns = clock_realtime_ns();
  if (syncfs(w->live_fd) < 0)
    return error_errno(err, "syncing the volume");
  w->old.fd = w->new.fd = -1;
  int r = table_reader_init(&w->old, old_fd);
  if (r >= 0)
    r = table_writer_init(&w->new, new_fd);
  if (r < 0)
    error_code(err, r, "preparing a round");
  else
    r = walk_directory(w, err);
  if (r >= 0 && (r = table_writer_flush(&w->new)) < 0)
    error_code(err, r, "writing the table of the copy");
  w->new.totals.stored_bytes = w->kept_bytes;
  w->totals = w->new.totals;
  free(w->starts);
  w->starts = take_pointer(w->new.starts);
  w->starts_count = w->new.starts_count;
  table_reader_done(&w->old);
  table_writer_done(&w->new);
  return r;
}
