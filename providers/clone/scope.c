/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walk over a filesystem's directories on its raw bytes, from the paths of a scope downwards.
 *
 * Order: directories wait on a stack and are read one by one; their other entries gather in a batch that is visited
 * in order of inode number, for inode tables are read in that order best.  Memory does not grow with the number of
 * files, only (a little) with that of directories and of files with several links.
 *
 * Every inode that can be reached twice (a directory of a damaged filesystem, a file with several links) is entered
 * once, so the walk ends whatever the bytes say.
 */
#include "providers/clone/scope.h"

#include "common/cleanup.h"
#include "providers/clone/scope-cache.h"
#include "providers/clone/scope-filesystem.h"
#include "providers/clone/scope-inode-set.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_INODES = 16384 };

struct scope {
  /* Constant. */
  const struct scope_source *source;
  const struct scope_filesystem *filesystem;
  enum scope_mode mode;
  unsigned granule_shift;
  struct bitmap *wanted;
  struct umbra_error *err;

  void *state; /* the filesystem's */
  struct scope_cache cache;
  struct scope_inode_set visited;
  int read_error;

  /* Found and not yet visited. */
  uint64_t *waiting;
  size_t waiting_count, waiting_capacity;
  uint64_t batch[BATCH_INODES];
  size_t batch_count;
  bool in_batch; /* directories met now are put off */

  /* On the way to a path: the name looked for, NULL below it. */
  const char *sought;
  size_t sought_length;
  uint64_t found; /* inode, 0: none */
  bool sought_opaque;
};

static const struct scope_filesystem *const filesystems[] = {&scope_ext4, &scope_xfs};

static const struct scope_filesystem *find_filesystem(const char *name) {
  for (size_t i = 0; i < sizeof filesystems / sizeof filesystems[0]; i++)
    for (const char *const *n = filesystems[i]->names; *n; n++)
      if (strcmp(*n, name) == 0)
        return filesystems[i];
  return NULL;
}

bool scope_supports(const char *filesystem) { return find_filesystem(filesystem) != NULL; }

enum scope_mode scope_get_mode(const struct scope *s) { return s->mode; }
uint64_t scope_size_bytes(const struct scope *s) { return s->source->size_bytes; }
int scope_read_error(const struct scope *s) { return s->read_error; }

int scope_damaged(struct scope *s, const char *format, ...) {
  if (s->mode == SCOPE_LIVE)
    return -EUCLEAN;
  char what[256];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(what, sizeof what, format, args);
  va_end(args);
  return error_set(s->err, -EUCLEAN, UMBRA_REASON_DAMAGED, "%s", what);
}

int scope_refuse(struct scope *s, int code, enum umbra_reason reason, const char *format, ...) {
  char what[256];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(what, sizeof what, format, args);
  va_end(args);
  return error_set(s->err, code, reason, "%s", what);
}

int scope_tolerate(const struct scope *s, int result) {
  return result == -EUCLEAN && s->mode == SCOPE_LIVE ? 0 : result;
}

int scope_read(struct scope *s, uint64_t offset_bytes, void *buffer, size_t length_bytes) {
  if (s->source->cancelled && atomic_load(s->source->cancelled))
    return s->read_error = error_set(s->err, -ECANCELED, UMBRA_REASON_CANCELLED, "cancelled");
  if (offset_bytes > s->source->size_bytes || length_bytes > s->source->size_bytes - offset_bytes)
    return scope_damaged(s, "an address past the end of the filesystem: %" PRIu64, offset_bytes);
  int r = scope_cache_read(&s->cache, s->source, offset_bytes, buffer, length_bytes);
  if (r < 0)
    return s->read_error = error_code(s->err, r, "reading %zu bytes at %" PRIu64, length_bytes, offset_bytes);
  return 0;
}

void scope_want(struct scope *s, uint64_t offset_bytes, uint64_t length_bytes) {
  uint64_t size = s->source->size_bytes;
  if (length_bytes == 0 || offset_bytes >= size)
    return;
  if (length_bytes > size - offset_bytes)
    length_bytes = size - offset_bytes;
  uint64_t first = offset_bytes >> s->granule_shift, last = (offset_bytes + length_bytes - 1) >> s->granule_shift;
  bitmap_set_range(s->wanted, first, last - first + 1);
}

static int limit_reached(struct scope *s, const char *what, int limit) {
  return error_set(s->err, -EOVERFLOW, UMBRA_REASON_LIMIT, "more than %d %s", limit, what);
}

static int wait_for_turn(struct scope *s, uint64_t inode) {
  if (s->waiting_count == SCOPE_DIRECTORIES_WAITING_MAX)
    return limit_reached(s, "directories waiting", SCOPE_DIRECTORIES_WAITING_MAX);
  if (s->waiting_count == s->waiting_capacity) {
    size_t capacity = s->waiting_capacity ? s->waiting_capacity * 2 : 1024;
    uint64_t *larger = reallocarray(s->waiting, capacity, sizeof *larger);
    if (!larger)
      return error_code(s->err, -ENOMEM, "remembering directories");
    s->waiting = larger;
    s->waiting_capacity = capacity;
  }
  s->waiting[s->waiting_count++] = inode;
  return 0;
}

int scope_enter(struct scope *s, uint64_t inode, bool directory, uint64_t links, bool opaque_names) {
  if (s->sought) {
    s->sought_opaque = directory && opaque_names;
    return directory;
  }
  if (!directory && links <= 1)
    return 1;
  if (directory && s->in_batch) {
    /* The entry said it was none, or did not say. */
    int r = wait_for_turn(s, inode);
    return r < 0 ? r : 0;
  }
  int r = scope_inode_set_add(&s->visited, inode);
  if (r == -EOVERFLOW)
    return limit_reached(s, "directories and linked files", SCOPE_VISITED_CHUNKS_MAX);
  return r < 0 ? error_code(s->err, r, "remembering inodes") : r;
}

static int visit(struct scope *s, uint64_t inode) {
  return scope_tolerate(s, s->filesystem->visit(s, s->state, inode));
}

static int compare_inodes(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static int visit_batch(struct scope *s) {
  int r = 0;
  qsort(s->batch, s->batch_count, sizeof s->batch[0], compare_inodes);
  s->in_batch = true;
  for (size_t i = 0; i < s->batch_count && r == 0; i++)
    if (i == 0 || s->batch[i] != s->batch[i - 1])
      r = visit(s, s->batch[i]);
  s->in_batch = false;
  s->batch_count = 0;
  return r;
}

int scope_entry(struct scope *s, const char *name, size_t name_length, uint64_t inode, enum scope_kind kind) {
  if (name_length == 0 || (name[0] == '.' && (name_length == 1 || (name_length == 2 && name[1] == '.'))))
    return 0;
  if (s->sought) {
    if (name_length == s->sought_length && memcmp(name, s->sought, name_length) == 0)
      s->found = inode;
    return 0;
  }
  if (kind == SCOPE_KIND_DIRECTORY)
    return wait_for_turn(s, inode);
  s->batch[s->batch_count++] = inode;
  return s->batch_count < BATCH_INODES ? 0 : visit_batch(s);
}

/* Marks a directory on the way and looks name up in it: s->found. */
static int visit_way(struct scope *s, uint64_t inode, const char *name, size_t length) {
  s->sought = name;
  s->sought_length = length;
  s->found = 0;
  s->sought_opaque = false;
  int r = visit(s, inode);
  s->sought = NULL;
  return r;
}

/* Goes the way to a path, marking it, and puts its end in the line. A path that is not there is fine. */
static int go_to(struct scope *s, const char *path, uint64_t root) {
  uint64_t inode = root;
  for (;;) {
    path += strspn(path, "/");
    size_t length = strcspn(path, "/");
    if (length == 0)
      return wait_for_turn(s, inode);
    if (length == 1 && path[0] == '.') {
      path++;
      continue;
    }
    int r = visit_way(s, inode, path, length);
    if (r < 0)
      return r;
    /* Which of the names is meant only the kernel could say: take all. */
    if (!s->found)
      return s->sought_opaque ? wait_for_turn(s, inode) : 0;
    inode = s->found;
    path += length;
  }
}

static int walk(struct scope *s, char *const *paths) {
  uint64_t root = 0;
  int r = s->filesystem->open(s, &s->state, &root);
  if (r < 0)
    return r;
  /* A mount reads the root directory's inode even if no path exists. */
  r = visit_way(s, root, "", 0);
  for (; r == 0 && *paths; paths++)
    r = go_to(s, *paths, root);
  while (r == 0 && (s->waiting_count > 0 || s->batch_count > 0))
    r = s->waiting_count > 0 ? visit(s, s->waiting[--s->waiting_count]) : visit_batch(s);
  return r;
}

int scope_walk(const struct scope_source *source, const char *filesystem, char *const *paths_in_filesystem,
               enum scope_mode mode, unsigned granule_shift, struct bitmap *wanted, struct umbra_error *err) {
  assert(granule_shift < 64);
  CLEANUP_FREE struct scope *s = calloc(1, sizeof *s);
  if (!s)
    return error_code(err, -ENOMEM, "walking the filesystem");
  *s = (struct scope){
      .source = source,
      .filesystem = find_filesystem(filesystem),
      .mode = mode,
      .granule_shift = granule_shift,
      .wanted = wanted,
      .err = err,
  };
  if (!s->filesystem)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "no way to read '%s' from its device",
                     filesystem);
  int r = scope_cache_init(&s->cache);
  if (r < 0)
    (void)error_code(err, r, "walking the filesystem");
  else
    r = walk(s, paths_in_filesystem);
  if (s->state)
    s->filesystem->close(s->state);
  free(s->waiting);
  scope_inode_set_done(&s->visited);
  scope_cache_done(&s->cache);
  return r;
}
