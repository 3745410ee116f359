/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Showing a shadow copy as a detached mount (DESIGN.md).  Nothing here is ever mounted by name: the mount belongs to
 * the descriptor from the first moment, so there is no state in which a kill leaves something behind.
 */
#include "view/view.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "view/beneath.h"
#include "view/holder.h"
#include "view/loop.h"
#include "view/mount-list.h"
#include "view/namespace-thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum { VIEW_NESTED_MAX = 65536, MOUNT_LOG_BYTES_MAX = 512, MOUNT_FLAGS_MAX = 3 };

/*
 * How each filesystem is kept from replaying its journal.  Documentation/filesystems/ext4/…, admin-guide/xfs.rst,
 * f2fs.rst, nilfs2.rst.  Any other is mounted just read-only, from a device that cannot be written.
 */
static const struct filesystem {
  const char *name;
  const char *driver;
  const char *const read_only_flags[MOUNT_FLAGS_MAX]; /* besides "ro" */
  const char *const read_write_flags[MOUNT_FLAGS_MAX];
} filesystems[] = {
    {.name = "ext2", .driver = "ext4", .read_only_flags = {"noload"}},
    {.name = "ext3", .driver = "ext4", .read_only_flags = {"noload"}},
    {.name = "ext4", .driver = "ext4", .read_only_flags = {"noload"}},
    {.name = "xfs", .driver = "xfs", .read_only_flags = {"norecovery", "nouuid"}, .read_write_flags = {"nouuid"}},
    {.name = "f2fs", .driver = "f2fs", .read_only_flags = {"norecovery"}},
    {.name = "nilfs2", .driver = "nilfs2", .read_only_flags = {"norecovery"}},
};

static const struct filesystem *filesystem_find(const char *name) {
  for (size_t i = 0; i < sizeof filesystems / sizeof filesystems[0]; i++)
    if (strcmp(filesystems[i].name, name) == 0)
      return &filesystems[i];
  return NULL;
}

static unsigned attributes_of(const struct view_options *options) {
  unsigned attributes = MOUNT_ATTR_NOATIME;
  if (!options->suid)
    attributes |= MOUNT_ATTR_NOSUID;
  if (!options->dev)
    attributes |= MOUNT_ATTR_NODEV;
  if (!options->read_write)
    attributes |= MOUNT_ATTR_RDONLY;
  return attributes;
}

/* Adds what the filesystem's driver said ("e ext4: …", one message a read) to an error in the making. */
static int mount_error(int context_fd, int code, const char *image, const char *driver, struct umbra_error *err) {
  char said[MOUNT_LOG_BYTES_MAX] = "";
  char line[256];
  ssize_t n;
  while ((n = read(context_fd, line, sizeof line - 1)) > 0) {
    line[n] = 0;
    line[strcspn(line, "\n")] = 0;
    const char *text = line[0] && line[1] == ' ' ? line + 2 : line;
    size_t used = strlen(said);
    (void)snprintf(said + used, sizeof said - used, "%s%s", used ? ", " : "", text);
  }
  const char *why = strerrordesc_np(-code);
  return error_set(err, code, error_reason_from_errno(code), "mounting the image '%s' as %s: %s (%s)", image, driver,
                   why ? why : "unknown error", said[0] ? said : "the kernel log may say more");
}

static int mount_device(const char *device, const char *image, const char *type, const struct view_options *options,
                        struct umbra_error *err) {
  const struct filesystem *filesystem = filesystem_find(type);
  const char *driver = filesystem ? filesystem->driver : type;
  CLEANUP_CLOSE int context_fd = fsopen(driver, FSOPEN_CLOEXEC);
  if (context_fd < 0)
    return errno == ENODEV ? error_set(err, -ENODEV, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                                       "mounting the image '%s': the kernel has no driver for %s", image, driver)
                           : error_errno(err, "mounting the image '%s' as %s", image, driver);
  int r = fsconfig(context_fd, FSCONFIG_SET_STRING, "source", device, 0);
  if (r == 0 && !options->read_write)
    r = fsconfig(context_fd, FSCONFIG_SET_FLAG, "ro", NULL, 0);
  for (size_t i = 0; r == 0 && filesystem && i < MOUNT_FLAGS_MAX; i++) {
    const char *flag = (options->read_write ? filesystem->read_write_flags : filesystem->read_only_flags)[i];
    if (flag)
      r = fsconfig(context_fd, FSCONFIG_SET_FLAG, flag, NULL, 0);
  }
  if (r == 0)
    r = fsconfig(context_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  int mount_fd = r == 0 ? fsmount(context_fd, FSMOUNT_CLOEXEC, attributes_of(options)) : -1;
  return mount_fd < 0 ? mount_error(context_fd, -errno, image, driver, err) : mount_fd;
}

static int open_image(const json_t *view, const struct view_options *options, char **ret_device,
                      struct umbra_error *err) {
  CLEANUP_FREE char *image = NULL;
  const char *type;
  json_int_t sector_bytes;
  int r = json_path_value(json_object_get(view, "path"), &image);
  if (r < 0)
    return error_code(err, r, "the shadow copy's record: \"path\" of its image");
  r = json_get_string(view, "filesystem", &type, err);
  if (r < 0)
    return r;
  r = json_get_integer(view, "sector_bytes", &sector_bytes, err);
  if (r < 0)
    return r;
  if (sector_bytes < LOOP_SECTOR_BYTES_MIN || sector_bytes > LOOP_SECTOR_BYTES_MAX)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "image '%s': impossible sector size in its record", image);

  /* The device stays until the mount has it; closed here, it then goes with the mount. */
  CLEANUP_CLOSE int loop_fd = -1;
  CLEANUP_FREE char *device = NULL;
  if (options->read_write && options->device && loop_lies_over(options->device, image))
    device = strdup(options->device);
  r = device ? 0 : loop_open(image, (unsigned)sector_bytes, options->read_write, &loop_fd, &device, err);
  if (r < 0)
    return r;
  int mount_fd = mount_device(device, image, type, options, err);
  if (mount_fd >= 0 && ret_device)
    *ret_device = take_pointer(device);
  return mount_fd;
}

/* One mount of directory, without what is mounted below it, cut off from all others. */
static int clone_directory(const char *path, bool no_symlinks, const struct view_options *options,
                           struct umbra_error *err) {
  const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW;
  CLEANUP_CLOSE int root_fd = no_symlinks ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
  CLEANUP_CLOSE int path_fd = root_fd >= 0 ? beneath_open(root_fd, path, O_PATH | O_DIRECTORY) : -1;
  if (root_fd >= 0 && path_fd < 0)
    return error_code(err, path_fd, "opening the shadow copy's tree '%s'", path);
  CLEANUP_CLOSE int fd =
      path_fd >= 0 ? open_tree(path_fd, "", flags | AT_EMPTY_PATH) : open_tree(AT_FDCWD, path, flags);
  if (fd < 0)
    return error_errno(err, "opening the shadow copy's tree '%s'", path);
  struct mount_attr attributes = {
      .attr_set = attributes_of(options), .attr_clr = MOUNT_ATTR__ATIME, .propagation = MS_PRIVATE};
  if (options->suid)
    attributes.attr_clr |= MOUNT_ATTR_NOSUID;
  if (options->dev)
    attributes.attr_clr |= MOUNT_ATTR_NODEV;
  if (mount_setattr(fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0)
    return error_errno(err, "protecting the shadow copy's tree '%s'", path);
  return take_fd(&fd);
}

struct nested {
  char *at;   /* below the tree's root */
  char *path; /* the directory that is shown there */
};

/* A tree in the making. */
struct joined_tree {
  const struct view_options *options;
  const char *path;
  bool no_symlinks;
  struct nested *nested; /* parents before children */
  size_t count;
  int result_fd;
};

static void joined_tree_done(struct joined_tree *t) {
  for (size_t i = 0; i < t->count; i++) {
    free(t->nested[i].at);
    free(t->nested[i].path);
  }
  free(t->nested);
}

/*
 * Joined up in a namespace of its own, because only Linux 6.15 and later can mount on a detached tree: there the tree
 * is attached (over "/", where it hides nothing from this thread), filled, and taken out as one detached copy.
 */
static int join_tree(void *context, struct umbra_error *err) {
  struct joined_tree *t = context;
  CLEANUP_CLOSE int tree_fd = clone_directory(t->path, t->no_symlinks, t->options, err);
  if (tree_fd < 0)
    return tree_fd;
  if (move_mount(tree_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
    return error_errno(err, "joining up the shadow copy's trees");
  for (size_t i = 0; i < t->count; i++) {
    const struct nested *n = &t->nested[i];
    CLEANUP_CLOSE int nested_fd = clone_directory(n->path, t->no_symlinks, t->options, err);
    if (nested_fd < 0)
      return nested_fd;
    CLEANUP_CLOSE int at_fd = beneath_open(tree_fd, n->at, O_PATH | O_DIRECTORY);
    if (at_fd < 0)
      return error_code(err, at_fd, "finding the place of the nested tree '%s' in the shadow copy", n->at);
    if (move_mount(nested_fd, "", at_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
      return error_errno(err, "joining up the shadow copy's nested tree '%s'", n->at);
  }
  t->result_fd = open_tree(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  return t->result_fd < 0 ? error_errno(err, "joining up the shadow copy's trees") : 0;
}

static int compare_nested(const void *a, const void *b) {
  return strcmp(((const struct nested *)a)->at, ((const struct nested *)b)->at);
}

/* "at" and "path" are checked where they are used: nothing but a directory below the tree can be reached with "at".
 */
static int read_nested(const json_t *list, struct joined_tree *t, struct umbra_error *err) {
  size_t count = json_array_size(list);
  if (count > VIEW_NESTED_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "a shadow copy with more than %d nested trees",
                     VIEW_NESTED_MAX);
  t->nested = calloc(count, sizeof *t->nested);
  if (!t->nested)
    return error_code(err, -ENOMEM, "reading the shadow copy's record");
  for (size_t i = 0; i < count; i++) {
    const json_t *entry = json_array_get(list, i);
    t->count = i + 1;
    int r = json_path_value(json_object_get(entry, "at"), &t->nested[i].at);
    if (r >= 0)
      r = json_path_value(json_object_get(entry, "path"), &t->nested[i].path);
    if (r < 0)
      return error_code(err, r, "the shadow copy's record: nested tree %zu", i);
  }
  qsort(t->nested, count, sizeof *t->nested, compare_nested);
  return 0;
}

static int open_directory_tree(const json_t *view, const struct view_options *options, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL;
  int r = json_path_value(json_object_get(view, "path"), &path);
  if (r < 0)
    return error_code(err, r, "the shadow copy's record: \"path\" of its tree");
  const json_t *nested = json_object_get(view, "nested");
  bool no_symlinks = json_get_boolean_or(view, "no_symlinks", false);
  if (json_array_size(nested) == 0)
    return clone_directory(path, no_symlinks, options, err);
  CLEANUP(joined_tree_done)
  struct joined_tree tree = {.options = options, .path = path, .no_symlinks = no_symlinks, .result_fd = -1};
  r = read_nested(nested, &tree, err);
  if (r >= 0)
    r = namespace_thread_run(join_tree, &tree, err);
  return r < 0 ? r : tree.result_fd;
}

int view_open(const json_t *record, const struct view_options *options, char **ret_device, struct umbra_error *err) {
  const json_t *view = json_object_get(record, "view");
  const char *kind;
  int r = json_get_string(view, "kind", &kind, err);
  if (r < 0)
    return error_prefix(err, r, "the shadow copy's record");
  if (ret_device)
    *ret_device = NULL;
  if (strcmp(kind, "image") == 0)
    return open_image(view, options, ret_device, err);
  if (strcmp(kind, "tree") == 0)
    return open_directory_tree(view, options, err);
  return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the shadow copy's record: unknown kind of view '%s'", kind);
}

int view_attach(int view_fd, const char *directory, struct umbra_error *err) {
  if (move_mount(view_fd, "", AT_FDCWD, directory, MOVE_MOUNT_F_EMPTY_PATH) < 0)
    return error_errno(err, "mounting on '%s'", directory);
  return 0;
}

int view_write_back(const json_t *record, const char *directory, struct umbra_error *err) {
  /* The mount of a tree is one of a live filesystem, which this must not make read-only. */
  if (strcmp(json_get_string_or(json_object_get(record, "view"), "kind", ""), "image") != 0)
    return 0;
  if (mount(NULL, directory, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOATIME, NULL) < 0)
    return error_errno(err, "writing back the filesystem at '%s'%s", directory,
                       errno == EBUSY ? ": a process has files of it open for writing" : "");
  return 0;
}

static int detach_failure(const struct listed_mount *m, int error, struct umbra_error *err) {
  struct mount_holder holder;
  if (error != EBUSY)
    return error_code(err, -error, "unmounting '%s'", m->target);
  if (!mount_holder_find(m->id, &holder))
    return error_set(err, -EBUSY, UMBRA_REASON_BUSY,
                     "unmounting '%s': it is in use, but not by a process that is seen", m->target);
  return error_set(err, -EBUSY, UMBRA_REASON_BUSY,
                   "unmounting '%s': process %d (%s) still uses it (`fuser -vm` names all that do)", m->target,
                   (int)holder.pid, holder.name);
}

int view_detach(const char *directory, struct umbra_error *err) {
  CLEANUP_FREE char *path = realpath(directory, NULL);
  if (!path)
    return error_errno(err, "unmounting '%s'", directory);
  CLEANUP(mount_list_done) struct mount_list mounts = {0};
  int r = mount_list_load("/proc/self/mountinfo", &mounts, err);
  if (r < 0)
    return r;
  mount_list_keep_visible(&mounts);
  bool is_mount = false;
  for (size_t i = 0; i < mounts.count; i++)
    is_mount = is_mount || strcmp(mounts.entries[i].target, path) == 0;
  if (!is_mount)
    return error_set(err, -EINVAL, UMBRA_REASON_NOT_FOUND, "unmounting '%s': nothing is mounted there", path);
  for (size_t i = mounts.count; i-- > 0;) {
    const char *target = mounts.entries[i].target;
    if (mount_path_within(target, path) && umount2(target, UMOUNT_NOFOLLOW) < 0)
      return detach_failure(&mounts.entries[i], errno, err);
  }
  return 0;
}
