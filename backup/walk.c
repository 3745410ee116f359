/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walk as a stack of directories, each with its sorted listing. See walk.h.
 *
 * Invariants: 1. stack[0..depth) are the directories above the entry returned last, outermost first.  2. Sources are
 * sorted in tree order; next_source is the first that was not walked yet, so that while walking in tree order only it
 * can be the next one that lies in the way.  3. A directory is opened when the walk goes into it, not before: as many
 * descriptors are open as the tree is deep, plus what readers still hold.
 */
#include "backup/walk.h"

#include "backup/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct level {
  struct directory *directory;
  struct listing *listing;
  size_t path_bytes; /* length of the directory's path */
  size_t volume;
};

struct walk {
  const struct walk_volume *volumes;
  struct walk_source *sources; /* sorted, without redundant ones */
  size_t source_count, next_source;
  const struct excludes *excludes;
  int spool_dir_fd;
  size_t listing_bytes;
  struct level stack[TREE_DEPTH_MAX];
  size_t depth;
  char path[TREE_PATH_BYTES_MAX + 1];
  char name[TREE_NAME_BYTES_MAX + 1];
  struct directory *source_directory; /* of an entry that is a source */
  struct walk_entry entry;
  bool entered; /* entry is a directory that the next call goes into */
};

static int compare_sources(const void *a, const void *b) {
  return tree_path_compare(((const struct walk_source *)a)->path, ((const struct walk_source *)b)->path);
}

/* Keeps a source unless the innermost one above it is on the same volume. Sorted order puts that one before it. */
static void drop_redundant(struct walk *w) {
  size_t kept = 0;
  for (size_t i = 0; i < w->source_count; i++) {
    const struct walk_source *above = NULL;
    for (size_t k = 0; k < kept; k++)
      if (tree_path_within(w->sources[i].path, w->sources[k].path))
        above = &w->sources[k];
    if (!above || above->volume != w->sources[i].volume)
      w->sources[kept++] = w->sources[i];
  }
  w->source_count = kept;
}

int walk_new(const struct walk_volume *volumes, const struct walk_source *sources, size_t source_count,
             const struct excludes *excludes, int spool_dir_fd, struct walk **ret, struct umbra_error *err) {
  if (source_count > WALK_SOURCES_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d sources", WALK_SOURCES_MAX);
  struct walk *w = calloc(1, sizeof *w);
  if (w)
    w->sources = calloc(source_count + 1, sizeof *w->sources);
  if (!w || !w->sources) {
    walk_free(w);
    return error_code(err, -ENOMEM, "walking the sources");
  }
  memcpy(w->sources, sources, source_count * sizeof *sources);
  w->source_count = source_count;
  qsort(w->sources, source_count, sizeof *w->sources, compare_sources);
  w->volumes = volumes;
  w->excludes = excludes;
  w->spool_dir_fd = spool_dir_fd;
  drop_redundant(w);
  *ret = w;
  return 0;
}

static void leave(struct walk *w) {
  struct level *top = &w->stack[--w->depth];
  listing_free(top->listing);
  directory_unref(top->directory);
  *top = (struct level){0};
}

void walk_free(struct walk *w) {
  if (!w)
    return;
  while (w->depth > 0)
    leave(w);
  directory_unref(w->source_directory);
  free(w->sources);
  free(w);
}

static int entry_status(struct walk *w, struct umbra_error *err) {
  struct walk_entry *e = &w->entry;
  int r = statx(e->directory->fd, e->name, AT_SYMLINK_NOFOLLOW | AT_STATX_SYNC_AS_STAT | AT_NO_AUTOMOUNT,
                STATX_BASIC_STATS, &e->status);
  if (r < 0)
    return error_errno(err, "reading the status of '/%s'", w->path);
  w->entered = S_ISDIR(e->status.stx_mode);
  return 1;
}

/* Opens the directory that holds the source, from its volume's root, following nothing. */
static int open_source_parent(struct walk *w, const struct walk_source *s, struct umbra_error *err) {
  const struct walk_volume *v = &w->volumes[s->volume];
  const char *relative = s->path + strlen(v->mount_point);
  relative += *relative == '/';
  int fd = openat(v->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return error_errno(err, "opening the shadow copy of '/%s'", v->mount_point);
  (void)strcpy(w->name, ".");
  while (*relative) {
    size_t n = strcspn(relative, "/");
    if (strcmp(w->name, ".") != 0) {
      int below = openat(fd, w->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      int saved = errno;
      (void)close(fd);
      errno = saved;
      if (below < 0)
        return error_errno(err, "source '/%s'", s->path);
      fd = below;
    }
    memcpy(w->name, relative, n);
    w->name[n] = '\0';
    relative += n + (relative[n] == '/');
  }
  directory_unref(w->source_directory);
  w->source_directory = directory_new(fd);
  return w->source_directory ? 0 : error_code(err, -ENOMEM, "walking the sources");
}

static int enter_source(struct walk *w, struct umbra_error *err) {
  const struct walk_source *s = &w->sources[w->next_source++];
  size_t length_bytes = strlen(s->path);
  if (!tree_path_valid(s->path, length_bytes) || !tree_path_within(s->path, w->volumes[s->volume].mount_point))
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "source '/%s' is not a path on its volume", s->path);
  int r = open_source_parent(w, s, err);
  if (r < 0)
    return r;
  memcpy(w->path, s->path, length_bytes + 1);
  w->entry.path = w->path;
  w->entry.name = w->name;
  w->entry.directory = w->source_directory;
  w->entry.volume = s->volume;
  r = entry_status(w, err);
  return r < 0 ? error_prefix(err, r, "source '/%s' is not there at the instant of the backup", s->path) : r;
}

/* Goes into the directory that was returned last. */
static int descend(struct walk *w, struct umbra_error *err) {
  w->entered = false;
  if (w->depth == TREE_DEPTH_MAX)
    return error_set(err, -ENAMETOOLONG, UMBRA_REASON_LIMIT, "'/%s' is deeper than %d directories", w->path,
                     TREE_DEPTH_MAX);
  int fd = openat(w->entry.directory->fd, w->entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);
  if (fd < 0 && errno == EPERM)
    fd = openat(w->entry.directory->fd, w->entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return error_errno(err, "opening directory '/%s'", w->path);
  struct level *top = &w->stack[w->depth];
  top->directory = directory_new(fd);
  if (!top->directory)
    return error_code(err, -ENOMEM, "opening directory '/%s'", w->path);
  top->path_bytes = strlen(w->path);
  top->volume = w->entry.volume;
  w->depth++;
  int r = listing_read(fd, &w->listing_bytes, w->spool_dir_fd, &top->listing, err);
  return r < 0 ? error_prefix(err, r, "directory '/%s'", w->path) : 0;
}

static int append_name(struct walk *w, const struct level *top, const char *name, struct umbra_error *err) {
  size_t name_bytes = strlen(name), at = top->path_bytes;
  if (name_bytes > TREE_NAME_BYTES_MAX || at + 1 + name_bytes > TREE_PATH_BYTES_MAX)
    return error_set(err, -ENAMETOOLONG, UMBRA_REASON_LIMIT, "a path below '/%.*s' is longer than %d bytes", (int)at,
                     w->path, TREE_PATH_BYTES_MAX);
  if (at > 0)
    w->path[at++] = '/';
  memcpy(w->path + at, name, name_bytes + 1);
  memcpy(w->name, name, name_bytes + 1);
  return 0;
}

static bool source_is_here(const struct walk *w) {
  return w->next_source < w->source_count && strcmp(w->sources[w->next_source].path, w->path) == 0;
}

/* Sources that the walk has passed without meeting them: the outer volume does not show the place. */
static bool source_was_passed(const struct walk *w) {
  return w->next_source < w->source_count && w->depth > 0 &&
         tree_path_compare(w->sources[w->next_source].path, w->path) < 0;
}

static int next(struct walk *w, struct umbra_error *err) {
  if (w->entered) {
    int r = descend(w, err);
    if (r < 0)
      return r;
  }
  while (w->depth > 0) {
    struct level *top = &w->stack[w->depth - 1];
    const char *name = NULL;
    int r = listing_next(top->listing, &name, err);
    if (r < 0)
      return error_prefix(err, r, "directory '/%.*s'", (int)top->path_bytes, w->path);
    if (r == 0) {
      leave(w);
      continue;
    }
    r = append_name(w, top, name, err);
    if (r < 0)
      return r;
    if (source_was_passed(w))
      return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "source '/%s' has no place in the tree around it",
                       w->sources[w->next_source].path);
    if (excludes_match(w->excludes, w->path)) {
      while (w->next_source < w->source_count && tree_path_within(w->sources[w->next_source].path, w->path))
        w->next_source++;
      continue;
    }
    if (source_is_here(w))
      return enter_source(w, err);
    w->entry =
        (struct walk_entry){.path = w->path, .name = w->name, .directory = top->directory, .volume = top->volume};
    r = entry_status(w, err);
    if (r != 1 || !excludes_match_kind(w->excludes, w->path, w->entered))
      return r;
    w->entered = false;
  }
  return w->next_source < w->source_count ? enter_source(w, err) : 0;
}

int walk_next(struct walk *w, const struct walk_entry **ret, struct umbra_error *err) {
  int r = next(w, err);
  if (r == 1)
    *ret = &w->entry;
  return r;
}
