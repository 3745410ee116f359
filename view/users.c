/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ending who still uses a tree.  A user is told by its mounts, not by its ancestry: what a program left in the
 * background, or what outlived a killed umbra, is in the namespace all the same.  Mounts of the tree somewhere else
 * than over its volume are none of ours (a container that was started while `umbra mount` showed it has copies of the
 * host's mounts), and neither is whatever is in this process's own namespace.
 */
#include "view/users.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"
#include "view/mount-list.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where the tree lies, as the kernel names it in every namespace. */
struct tree_place {
  dev_t device;
  char *fs_path;
  const char *mount_point;
};

/* Namespaces looked at already. */
struct seen_namespaces {
  struct {
    ino_t inode;
    bool shows_tree;
  } * entries;
  size_t count;
};

struct user {
  pid_t pid;
  int pid_fd;
};

struct users {
  struct user *entries;
  size_t count;
};

static void users_done(struct users *u) {
  for (size_t i = 0; i < u->count; i++)
    (void)close(u->entries[i].pid_fd);
  free(u->entries);
  *u = (struct users){0};
}

/* 1 found, 0 there is no such tree any more. */
static int locate(const char *path, struct tree_place *place, struct umbra_error *err) {
  struct statx st;
  if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &st) < 0)
    return errno == ENOENT || errno == ENOTDIR ? 0 : error_errno(err, "looking at '%s'", path);
  CLEANUP_FREE char *canonical = realpath(path, NULL);
  if (!canonical)
    return error_errno(err, "looking at '%s'", path);
  CLEANUP(mount_list_done) struct mount_list mounts = {0};
  int r = mount_list_load("/proc/self/mountinfo", &mounts, err);
  if (r < 0)
    return r;
  for (size_t i = 0; i < mounts.count; i++) {
    const struct listed_mount *m = &mounts.entries[i];
    if ((unsigned)m->id != st.stx_mnt_id || !mount_path_within(canonical, m->target))
      continue;
    const char *below = mount_path_below(canonical, m->target);
    bool is_root = strcmp(m->root, "/") == 0;
    if (asprintf(&place->fs_path, "%s%s%s", is_root ? "" : m->root, *below || is_root ? "/" : "", below) < 0) {
      place->fs_path = NULL;
      return error_code(err, -ENOMEM, "looking at '%s'", path);
    }
    place->device = m->device;
    return 1;
  }
  return 0;
}

static bool shows_tree(const char *process, const struct tree_place *place) {
  char path[300];
  (void)snprintf(path, sizeof path, "/proc/%s/mountinfo", process);
  CLEANUP(mount_list_done) struct mount_list mounts = {0};
  if (mount_list_load(path, &mounts, NULL) < 0)
    return false;
  for (size_t i = 0; i < mounts.count; i++) {
    const struct listed_mount *m = &mounts.entries[i];
    if (m->device == place->device && mount_path_within(m->root, place->fs_path) &&
        mount_path_within(m->target, place->mount_point))
      return true;
  }
  return false;
}

static int namespace_shows_tree(struct seen_namespaces *seen, ino_t inode, const char *process,
                                const struct tree_place *place) {
  for (size_t i = 0; i < seen->count; i++)
    if (seen->entries[i].inode == inode)
      return seen->entries[i].shows_tree;
  void *larger = realloc(seen->entries, (seen->count + 1) * sizeof *seen->entries);
  if (!larger)
    return -ENOMEM;
  seen->entries = larger;
  bool shows = shows_tree(process, place);
  seen->entries[seen->count].inode = inode;
  seen->entries[seen->count++].shows_tree = shows;
  return shows;
}

/* -ENOENT: the process is gone. */
static int namespace_of(const char *process, ino_t *ret) {
  char path[300];
  struct stat st;
  (void)snprintf(path, sizeof path, "/proc/%s/ns/mnt", process);
  if (stat(path, &st) < 0)
    return -ENOENT;
  *ret = st.st_ino;
  return 0;
}

/* The descriptor first, the look second: so it names the process that was looked at. */
static int look_at(const char *process, ino_t own, struct seen_namespaces *seen, const struct tree_place *place,
                   struct users *users) {
  pid_t pid = (pid_t)strtol(process, NULL, 10);
  ino_t inode;
  if (namespace_of(process, &inode) < 0 || inode == own)
    return 0;
  CLEANUP_CLOSE int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (pid_fd < 0 || namespace_of(process, &inode) < 0 || inode == own)
    return 0;
  int r = namespace_shows_tree(seen, inode, process, place);
  if (r <= 0)
    return r;
  struct user *larger =
      users->count < VIEW_USERS_MAX ? realloc(users->entries, (users->count + 1) * sizeof *larger) : NULL;
  if (!larger)
    return -ENOMEM;
  users->entries = larger;
  users->entries[users->count++] = (struct user){.pid = pid, .pid_fd = take_fd(&pid_fd)};
  return 0;
}

static int find_users(const struct tree_place *place, struct users *ret, struct umbra_error *err) {
  struct seen_namespaces seen = {0};
  ino_t own;
  CLEANUP_CLOSEDIR DIR *dir = opendir("/proc");
  if (!dir || namespace_of("self", &own) < 0)
    return error_errno(err, "listing processes");
  int r = 0;
  struct dirent *entry;
  while (r >= 0 && (entry = readdir(dir)))
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
      r = look_at(entry->d_name, own, &seen, place, ret);
  free(seen.entries);
  return r < 0 ? error_code(err, r, "listing processes") : 0;
}

/* Waits for all of them, until a moment. */
static void wait_for_users(const struct users *users, int64_t until_ns) {
  for (size_t i = 0; i < users->count; i++) {
    struct pollfd polled = {.fd = users->entries[i].pid_fd, .events = POLLIN};
    int64_t left_ns = until_ns - clock_monotonic_ns();
    (void)poll(&polled, 1, left_ns > 0 ? (int)(left_ns / NS_PER_MS) + 1 : 0);
  }
}

static int end_users(const struct tree_place *place, struct umbra_error *err) {
  int64_t began_ns = clock_monotonic_ns();
  for (;;) {
    CLEANUP(users_done) struct users users = {0};
    int r = find_users(place, &users, err);
    if (r < 0 || users.count == 0)
      return r;
    int64_t passed_ms = (clock_monotonic_ns() - began_ns) / NS_PER_MS;
    if (passed_ms >= VIEW_USERS_TERM_MS + VIEW_USERS_KILL_MS)
      return error_set(err, -EBUSY, UMBRA_REASON_BUSY,
                       "process %d still uses the shadow copy of '%s' and cannot be killed",
                       (int)users.entries[0].pid, place->mount_point);
    bool kill_now = passed_ms >= VIEW_USERS_TERM_MS;
    for (size_t i = 0; i < users.count; i++)
      (void)syscall(SYS_pidfd_send_signal, users.entries[i].pid_fd, kill_now ? SIGKILL : SIGTERM, NULL, 0);
    /* Then once more from the start: what they forked meanwhile is found, too. */
    wait_for_users(&users,
                   began_ns + (kill_now ? VIEW_USERS_TERM_MS + VIEW_USERS_KILL_MS : VIEW_USERS_TERM_MS) * NS_PER_MS);
  }
}

int view_end_users(const json_t *record, const char *mount_point, struct umbra_error *err) {
  const json_t *view = json_object_get(record, "view");
  if (strcmp(json_get_string_or(view, "kind", ""), "tree") != 0)
    return 0;
  CLEANUP_FREE char *path = NULL;
  int r = json_path_value(json_object_get(view, "path"), &path);
  if (r < 0)
    return error_code(err, r, "the shadow copy's record: \"path\" of its tree");
  struct tree_place place = {.mount_point = mount_point};
  r = locate(path, &place, err);
  /* A tree that is shown over the volume here as well is the live volume (the null provider's): everybody uses that.
   */
  if (r > 0 && !shows_tree("self", &place))
    r = end_users(&place, err);
  free(place.fs_path);
  return r < 0 ? r : 0;
}
