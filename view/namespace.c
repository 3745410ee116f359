/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the private namespace is built.  Everything that will be needed is first copied out as detached mounts, then
 * the old is taken down and the new put up, from the top of the tree to its leaves:
 *
 *   1. list the places of the namespace: visible mounts, directories that are to be shadowed, paths that are to be
 * kept;
 *   2. say what becomes of each: stays where it is, is replaced by a subtree of a shadow copy, or (because it lies
 * right below something replaced) is taken along;
 *   3. copy out the subtrees of the shadow copies and what is taken along;
 *   4. in order of paths: unmount what is replaced, attach what belongs there.  The root is replaced by
 * pivot_root(2).
 *
 * Mounts are replaced, not covered, so that /proc/self/mounts names one source for each path: dump(8) looks there for
 * the device. Copies, not moves, because a locked mount (mount_namespaces(7)) can be copied but not moved.
 */
#include "view/namespace.h"

#include "common/cleanup.h"
#include "view/beneath.h"
#include "view/mount-list.h"
#include "view/namespace-thread.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WARNING_BYTES_MAX = 1024 };
static const size_t NO_PLACE = SIZE_MAX;

enum place_kind {
  PLACE_STAYS,    /* a mount that is left alone, or is part of what is taken along */
  PLACE_SHADOWED, /* gets a subtree of a shadow copy */
  PLACE_TAKEN,    /* a mount right below a shadowed place: its copy is put there again */
  PLACE_KEPT,     /* a live file or directory below a shadowed place that the user wants to keep */
};

struct place {
  char *target;
  enum place_kind kind;
  const struct listed_mount *mount;      /* NULL: nothing is mounted there */
  const struct namespace_shadow *shadow; /* PLACE_SHADOWED */
  char *subtree;                         /* PLACE_SHADOWED: below the view's root */
  bool required;                         /* without it the program must not be run */
  bool missing;                          /* it or something above could not be put up */
  bool no_exec, no_symlinks;
  size_t parent; /* the nearest place above, or NO_PLACE */
  int tree_fd;   /* what goes there; -1: nothing */
};

struct builder {
  const struct namespace_plan *plan;
  struct mount_list mounts;
  struct place *places; /* sorted by target once all are there */
  size_t count, room;
  struct namespace result;
};

static void builder_done(struct builder *b) {
  for (size_t i = 0; i < b->count; i++) {
    free(b->places[i].target);
    free(b->places[i].subtree);
    if (b->places[i].tree_fd >= 0)
      (void)close(b->places[i].tree_fd);
  }
  free(b->places);
  mount_list_done(&b->mounts);
  namespace_done(&b->result);
}

static void warn(const struct builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void warn(const struct builder *b, const char *format, ...) {
  if (!b->plan->warning)
    return;
  char message[WARNING_BYTES_MAX];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(message, sizeof message, format, args);
  va_end(args);
  b->plan->warning(b->plan->userdata, message);
}

/* ---- places ---- */

/* Owns target and subtree from now on, even on failure. */
static int append_place(struct builder *b, struct place place) {
  bool complete = place.target && (place.kind != PLACE_SHADOWED || place.subtree);
  if (complete && b->count == b->room) {
    size_t room = b->room ? 2 * b->room : 64;
    struct place *larger = realloc(b->places, room * sizeof *larger);
    if (larger) {
      b->places = larger;
      b->room = room;
    }
  }
  if (!complete || b->count == b->room) {
    free(place.target);
    free(place.subtree);
    return -ENOMEM;
  }
  place.parent = NO_PLACE;
  place.tree_fd = -1;
  b->places[b->count++] = place;
  return 0;
}

/* Same, but takes over from a place with the same target: there is only one for each. */
static int add_place(struct builder *b, struct place place) {
  for (size_t i = 0; place.target && i < b->count; i++) {
    struct place *same = &b->places[i];
    if (strcmp(same->target, place.target) != 0)
      continue;
    place.mount = same->mount;
    place.required = place.required || same->required;
    free(same->target);
    free(same->subtree);
    *same = b->places[--b->count];
    break;
  }
  return append_place(b, place);
}

static char *join_path(const char *directory, const char *below) {
  char *path = NULL;
  bool is_root = directory[0] == '/' && directory[1] == 0;
  if (asprintf(&path, "%s%s%s", is_root ? "" : directory, *below || is_root ? "/" : "", below) < 0)
    return NULL;
  return path;
}

static const struct listed_mount *mount_at(const struct builder *b, const char *target) {
  for (size_t i = 0; i < b->mounts.count; i++)
    if (strcmp(b->mounts.entries[i].target, target) == 0)
      return &b->mounts.entries[i];
  return NULL;
}

/* True if what the path shows belongs to that mount and to nothing mounted over a part of it. */
static bool path_is_on_mount(const char *path, const struct listed_mount *mount) {
  struct statx st;
  return statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &st) == 0 &&
         st.stx_mnt_id == (unsigned)mount->id;
}

/* Shadows what of the filesystem's directory fs_path can be seen through the mount. */
static int shadow_mount(struct builder *b, const struct namespace_shadow *shadow, const struct listed_mount *mount,
                        const char *fs_path) {
  const char *view_root = shadow->whole_filesystem ? "/" : shadow->fs_root;
  struct place place = {
      .kind = PLACE_SHADOWED, .shadow = shadow, .no_exec = mount->no_exec, .no_symlinks = mount->no_symlinks};
  if (mount_path_within(mount->root, fs_path)) {
    place.target = strdup(mount->target);
    place.subtree = strdup(mount_path_below(mount->root, view_root));
  } else if (mount_path_within(fs_path, mount->root)) {
    place.target = join_path(mount->target, mount_path_below(fs_path, mount->root));
    place.subtree = strdup(mount_path_below(fs_path, view_root));
    if (place.target && !path_is_on_mount(place.target, mount)) {
      free(place.target);
      free(place.subtree);
      return 0;
    }
  } else
    return 0;
  /* Asked for by name, not just another window on the same filesystem. */
  place.required = place.target && mount_path_within(place.target, shadow->mount_point) &&
                   mount == mount_at(b, shadow->mount_point);
  return add_place(b, place);
}

/* fs_path: in all windows on the volume. On btrfs a filesystem has many volumes; stat(2) tells them apart. */
static int shadow_everywhere(struct builder *b, const struct namespace_shadow *shadow, dev_t directory_device,
                             const char *fs_path) {
  for (size_t i = 0; i < b->mounts.count; i++) {
    const struct listed_mount *mount = &b->mounts.entries[i];
    if (mount->device != shadow->device || mount->directory_device != directory_device)
      continue;
    int r = shadow_mount(b, shadow, mount, fs_path);
    if (r < 0)
      return r;
  }
  return 0;
}

static int place_shadow(struct builder *b, const struct namespace_shadow *shadow, struct umbra_error *err) {
  const struct listed_mount *mount = mount_at(b, shadow->mount_point);
  if (!mount || mount->device != shadow->device)
    return error_set(err, -ESTALE, UMBRA_REASON_NOT_FOUND,
                     "volume '%s': it is no longer mounted there, or something else is mounted over it",
                     shadow->mount_point);
  int r = 0;
  if (!shadow->paths)
    r = shadow_everywhere(b, shadow, mount->directory_device, shadow->whole_filesystem ? "/" : shadow->fs_root);
  for (char *const *path = shadow->paths; r == 0 && path && *path; path++) {
    if (!mount_path_within(*path, shadow->mount_point))
      return error_set(err, -EXDEV, UMBRA_REASON_INVALID, "volume '%s': '%s' does not lie on it", shadow->mount_point,
                       *path);
    CLEANUP_FREE char *fs_path = join_path(shadow->fs_root, mount_path_below(*path, shadow->mount_point));
    r = fs_path ? shadow_everywhere(b, shadow, mount->directory_device, fs_path) : -ENOMEM;
  }
  return r < 0 ? error_code(err, r, "volume '%s'", shadow->mount_point) : 0;
}

static int compare_places(const void *a, const void *b) {
  return mount_path_compare(((const struct place *)a)->target, ((const struct place *)b)->target);
}

/* Sorted, the nearest place above is the one before or a place above that. */
static void find_parents(struct builder *b) {
  qsort(b->places, b->count, sizeof *b->places, compare_places);
  for (size_t i = 0; i < b->count; i++) {
    size_t above = i == 0 ? NO_PLACE : i - 1;
    while (above != NO_PLACE && !mount_path_within(b->places[i].target, b->places[above].target))
      above = b->places[above].parent;
    b->places[i].parent = above;
  }
}

static bool is_below_shadowed(const struct builder *b, const struct place *place) {
  return place->parent != NO_PLACE && b->places[place->parent].kind == PLACE_SHADOWED;
}

static int list_places(struct builder *b, struct umbra_error *err) {
  int r = 0;
  for (size_t i = 0; r == 0 && i < b->mounts.count; i++) {
    const struct listed_mount *mount = &b->mounts.entries[i];
    r = append_place(b, (struct place){.kind = PLACE_STAYS, .target = strdup(mount->target), .mount = mount});
  }
  for (size_t i = 0; r == 0 && i < b->plan->shadow_count; i++) {
    r = place_shadow(b, &b->plan->shadows[i], err);
    if (r < 0)
      return r;
  }
  for (char *const *keep = b->plan->keep; r == 0 && keep && *keep; keep++)
    r = add_place(b, (struct place){.kind = PLACE_KEPT, .target = strdup(*keep), .required = true});
  if (r < 0)
    return error_code(err, r, "planning the private namespace");
  find_parents(b);
  return 0;
}

/* ---- copying out ---- */

static int copy_tree(int directory_fd, const char *path) {
  int fd = open_tree(directory_fd, path,
                     AT_EMPTY_PATH | AT_RECURSIVE | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW | OPEN_TREE_CLONE |
                         OPEN_TREE_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

/* A shadow copy is as executable as the mount it stands for. */
static int set_attributes(int tree_fd, const struct place *place) {
  struct mount_attr attributes = {.attr_clr = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW};
  if (place->no_exec)
    attributes.attr_set |= MOUNT_ATTR_NOEXEC;
  if (place->no_symlinks)
    attributes.attr_set |= MOUNT_ATTR_NOSYMFOLLOW;
  return mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) < 0 ? -errno : 0;
}

static int copy_subtree(struct builder *b, struct place *place, struct umbra_error *err) {
  const char *volume = place->shadow->mount_point;
  CLEANUP_CLOSE int directory_fd = beneath_open(place->shadow->view_fd, place->subtree, O_PATH);
  if (directory_fd < 0 && place->required)
    return error_code(err, directory_fd, "'%s' in the shadow copy of '%s'", place->target, volume);
  if (directory_fd < 0) {
    warn(b, "'%s' shows a part of '%s' that is not in its shadow copy; it stays live", place->target, volume);
    place->kind = PLACE_STAYS;
    return 0;
  }
  CLEANUP_CLOSE int tree_fd = copy_tree(directory_fd, "");
  if (tree_fd < 0)
    return error_code(err, tree_fd, "copying '%s' out of the shadow copy of '%s'", place->target, volume);
  int r = set_attributes(tree_fd, place);
  if (r < 0)
    return error_code(err, r, "setting the mount flags of '%s'", place->target);
  place->tree_fd = take_fd(&tree_fd);
  return 0;
}

/*
 * Only Linux 6.15 and later can copy from a mount that is not attached, so the view is attached for a moment: over
 * "/", where it hides nothing, since this thread's root stays the mount below.
 */
static int copy_shadow(struct builder *b, const struct namespace_shadow *shadow, struct umbra_error *err) {
  char path[64];
  if (move_mount(shadow->view_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
    return error_errno(err, "moving the shadow copy of '%s' into the private namespace", shadow->mount_point);
  for (size_t i = 0; i < b->count; i++) {
    struct place *place = &b->places[i];
    if (place->kind != PLACE_SHADOWED || place->shadow != shadow)
      continue;
    int r = copy_subtree(b, place, err);
    if (r < 0)
      return r;
  }
  (void)snprintf(path, sizeof path, "/proc/thread-self/fd/%d", shadow->view_fd);
  if (umount2(path, MNT_DETACH) < 0)
    return error_errno(err, "taking the shadow copy of '%s' down", shadow->mount_point);
  return 0;
}

static int copy_out(struct builder *b, struct umbra_error *err) {
  for (size_t i = 0; i < b->plan->shadow_count; i++) {
    int r = copy_shadow(b, &b->plan->shadows[i], err);
    if (r < 0)
      return r;
  }
  for (size_t i = 0; i < b->count; i++) {
    struct place *place = &b->places[i];
    if (place->kind == PLACE_SHADOWED || !is_below_shadowed(b, place) || (!place->mount && place->kind != PLACE_KEPT))
      continue;
    int fd = copy_tree(AT_FDCWD, place->target);
    if (fd < 0)
      return error_code(err, fd, "taking '%s' along into the private namespace", place->target);
    place->tree_fd = fd;
    if (place->kind == PLACE_STAYS)
      place->kind = PLACE_TAKEN;
  }
  return 0;
}

/* ---- taking down and putting up ---- */

/* The thread's root becomes the shadow copy of "/". */
static int replace_root(const struct place *place, struct umbra_error *err) {
  if (move_mount(place->tree_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(place->tree_fd) < 0)
    return error_errno(err, "putting up the shadow copy of '/'");
  /* The old root ends up over the new one, from where it is taken down with all that was mounted in it. */
  if (syscall(SYS_pivot_root, ".", ".") == 0) {
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
      return error_errno(err, "taking the live '/' down");
    return 0;
  }
  /* An initial ramfs and a chroot cannot be pivoted away from. */
  if (errno != EINVAL)
    return error_errno(err, "making the shadow copy of '/' the root");
  return chroot(".") < 0 || chdir("/") < 0 ? error_errno(err, "making the shadow copy of '/' the root") : 0;
}

/* Returns 0, or the reason why it cannot be there. */
static int attach(const struct builder *b, const struct place *place, int root_fd) {
  bool replaces = place->kind == PLACE_SHADOWED && place->mount && !is_below_shadowed(b, place);
  /* A locked mount cannot be unmounted; then it is covered. */
  if (replaces && umount2(place->target, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL)
    return -errno;
  CLEANUP_CLOSE int at_fd = beneath_open(root_fd, place->target, O_PATH);
  if (at_fd < 0)
    return at_fd;
  return move_mount(place->tree_fd, "", at_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno
                                                                                                          : 0;
}

static int missing_place(const struct builder *b, struct place *place, int why, struct umbra_error *err) {
  place->missing = true;
  /* What is above names the volume; the place itself may be anything that is mounted below. */
  const struct place *above = &b->places[place->parent == NO_PLACE ? 0 : place->parent];
  while (!above->shadow && above->parent != NO_PLACE)
    above = &b->places[above->parent];
  const char *volume = above->shadow ? above->shadow->mount_point : above->target;
  const char *reason = strerrordesc_np(-why);
  if (place->required)
    return error_set(err, why, error_reason_from_errno(why), "showing '%s': its place in the shadow copy of '%s': %s",
                     place->target, volume, reason);
  warn(b, "what is mounted at '%s' cannot be seen: its place in the shadow copy of '%s': %s", place->target, volume,
       reason);
  return 0;
}

static int put_up(struct builder *b, struct umbra_error *err) {
  if (b->count > 0 && b->places[0].kind == PLACE_SHADOWED && strcmp(b->places[0].target, "/") == 0) {
    int r = replace_root(&b->places[0], err);
    if (r < 0)
      return r;
  }
  CLEANUP_CLOSE int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root_fd < 0)
    return error_errno(err, "opening the root of the private namespace");
  for (size_t i = 0; i < b->count; i++) {
    struct place *place = &b->places[i];
    bool lost = place->parent != NO_PLACE && b->places[place->parent].missing;
    if (lost && !place->required)
      place->missing = true;
    if (place->tree_fd < 0 || place->missing || strcmp(place->target, "/") == 0)
      continue;
    int why = attach(b, place, root_fd);
    int r = why < 0 ? missing_place(b, place, why, err) : 0;
    if (r < 0)
      return r;
  }
  b->result.root_fd = take_fd(&root_fd);
  return 0;
}

static int build(void *context, struct umbra_error *err) {
  struct builder *b = context;
  b->result.namespace_fd = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (b->result.namespace_fd < 0)
    return error_errno(err, "opening '/proc/thread-self/ns/mnt' (is /proc mounted?)");
  int r = mount_list_load("/proc/thread-self/mountinfo", &b->mounts, err);
  if (r < 0)
    return r;
  mount_list_keep_visible(&b->mounts);
  r = list_places(b, err);
  r = r < 0 ? r : copy_out(b, err);
  r = r < 0 ? r : put_up(b, err);
  if (r < 0)
    return r;
  b->result.directory_fd = beneath_open(b->result.root_fd, b->plan->working_directory, O_PATH | O_DIRECTORY);
  if (b->result.directory_fd < 0)
    return error_code(err, b->result.directory_fd,
                      "entering the working directory '%s', which is not in the shadow copy (start from another one)",
                      b->plan->working_directory);
  return 0;
}

int namespace_build(const struct namespace_plan *plan, struct namespace *ret, struct umbra_error *err) {
  CLEANUP(builder_done) struct builder b = {.plan = plan, .result = {-1, -1, -1}};
  int r = namespace_thread_run(build, &b, err);
  if (r < 0)
    return r;
  *ret = b.result;
  b.result = (struct namespace){-1, -1, -1};
  return 0;
}

void namespace_done(struct namespace *n) {
  cleanup_close_fd(&n->namespace_fd);
  cleanup_close_fd(&n->root_fd);
  cleanup_close_fd(&n->directory_fd);
  *n = (struct namespace){-1, -1, -1};
}
