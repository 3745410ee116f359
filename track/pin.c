/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tracking that outlives its process: its maps and links pinned in bpffs, one folder a tracking:
 *
 *     /sys/fs/bpf/umbra/ID/{marks,state,config,bios,link-0,link-1,…,for → the file it is there for}
 *
 * bpffs lives in memory, so what is found there is of this boot.  The folder is flock'ed while somebody uses it.
 * Source: Documentation/bpf/bpf_design_QA.rst, bpf(2) BPF_OBJ_PIN.
 */
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/log.h"
#include "track/internal.h"
#include "track/track.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#define BPFFS "/sys/fs/bpf"
enum { PIN_PATH_BYTES = 128, ORPHAN_AGE_S = 60, BPFFS_MAGIC = (int)0xcafe4a11 };

static void pin_path(char path[PIN_PATH_BYTES], const char *id, const char *name) {
  (void)snprintf(path, PIN_PATH_BYTES, BPFFS "/umbra/%s%s%s", id, name ? "/" : "", name ? name : "");
}

static int mount_bpffs(struct umbra_error *err) {
  struct statfs fs;
  if (statfs(BPFFS, &fs) < 0)
    return error_errno(err, "looking at '%s'", BPFFS);
  if ((int)fs.f_type != BPFFS_MAGIC && mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
    return error_errno(err, "mounting '%s'", BPFFS);
  if (mkdir(BPFFS "/umbra", 0700) < 0 && errno != EEXIST)
    return error_errno(err, "making '%s'", BPFFS "/umbra");
  return 0;
}

static int lock_pinned(const char *id, int *ret) {
  char path[PIN_PATH_BYTES];
  pin_path(path, id, NULL);
  CLEANUP_CLOSE int fd = fd_open_directory(path);
  if (fd < 0)
    return fd;
  if (flock(fd, LOCK_EX | LOCK_NB) < 0)
    return errno == EWOULDBLOCK ? -EBUSY : -errno;
  *ret = take_fd(&fd);
  return 0;
}

static int pin_one(int fd, const char *id, const char *name, struct umbra_error *err) {
  char path[PIN_PATH_BYTES];
  pin_path(path, id, name);
  return bpf_obj_pin(fd, path) < 0 ? error_errno(err, "pinning block tracking at '%s'", path) : 0;
}

static int pin_all(struct track *t, const char *id, struct umbra_error *err) {
  int r = lock_pinned(id, &t->lock_fd);
  if (r < 0)
    return error_code(err, r, "locking pinned block tracking '%s'", id);
  r = pin_one(t->marks_fd, id, "marks", err);
  if (r >= 0)
    r = pin_one(t->state_fd, id, "state", err);
  if (r >= 0)
    r = pin_one(t->config_fd, id, "config", err);
  if (r >= 0)
    r = pin_one(t->bios_fd, id, "bios", err);
  for (unsigned i = 0; r >= 0 && i < t->programs; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "link-%u", i);
    r = pin_one(t->link_fds[i], id, name, err);
  }
  return r;
}

int track_pin(struct track *t, const char *id, struct umbra_error *err) {
  if (!id_valid(id))
    return error_set(err, -EINVAL, UMBRA_REASON_INTERNAL, "'%s' is no id to pin block tracking under", id);
  if (t->lock_fd >= 0)
    return 0; /* it came from there */
  int r = mount_bpffs(err);
  if (r < 0)
    return r;
  char path[PIN_PATH_BYTES];
  pin_path(path, id, NULL);
  if (mkdir(path, 0700) < 0)
    return error_errno(err, "making '%s'", path);
  r = pin_all(t, id, err);
  if (r < 0) {
    cleanup_close_fd(&t->lock_fd);
    t->lock_fd = -1;
    (void)track_unpin(id, NULL);
  }
  return r;
}

int track_unpin(const char *id, struct umbra_error *err) {
  if (!id_valid(id))
    return error_set(err, -EINVAL, UMBRA_REASON_INTERNAL, "'%s' is no id of pinned block tracking", id);
  CLEANUP_CLOSE int parent = open(BPFFS "/umbra", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (parent < 0)
    return errno == ENOENT ? 0 : error_errno(err, "opening '%s'", BPFFS "/umbra");
  int r = fd_remove_tree(parent, id);
  if (r < 0)
    return error_code(err, r, "removing pinned block tracking '%s'", id);
  return 0;
}

int track_pin_for(const char *id, const char *path, struct umbra_error *err) {
  char link[PIN_PATH_BYTES], temporary[PIN_PATH_BYTES];
  if (!id_valid(id) || path[0] != '/')
    return error_set(err, -EINVAL, UMBRA_REASON_INTERNAL, "'%s' is no file that block tracking can be for", path);
  pin_path(link, id, "for");
  pin_path(temporary, id, "for-new");
  (void)unlink(temporary);
  if (symlink(path, temporary) < 0 || rename(temporary, link) < 0)
    return error_errno(err, "noting what pinned block tracking '%s' is for", id);
  return 0;
}

/* What it is for is gone; or nothing was noted and nobody is about to. */
static bool is_orphan(int dir_fd) {
  char target[PATH_MAX + 1];
  struct stat st;
  ssize_t n = readlinkat(dir_fd, "for", target, sizeof target - 1);
  if (n < 0)
    return errno == ENOENT && fstat(dir_fd, &st) == 0 && time(NULL) - st.st_mtime > ORPHAN_AGE_S;
  target[n] = 0;
  return access(target, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

void track_collect(void) {
  CLEANUP_CLOSEDIR DIR *pinned = opendir(BPFFS "/umbra");
  struct dirent *entry;
  while (pinned && (entry = readdir(pinned))) {
    CLEANUP_CLOSE int fd = -1;
    if (id_valid(entry->d_name) && lock_pinned(entry->d_name, &fd) >= 0 && is_orphan(fd)) {
      log_debug("ending block tracking '%s': what it was for is gone", entry->d_name);
      (void)fd_remove_tree(dirfd(pinned), entry->d_name);
    }
  }
}

static int get_one(const char *id, const char *name, int *ret) {
  char path[PIN_PATH_BYTES];
  pin_path(path, id, name);
  int fd = bpf_obj_get(path);
  if (fd < 0)
    return -errno;
  *ret = fd;
  return 0;
}

/* The program behind a link, for its count of misses. */
static int get_program(int link_fd, int *ret) {
  struct bpf_link_info info = {0};
  __u32 length = sizeof info;
  if (bpf_obj_get_info_by_fd(link_fd, &info, &length) < 0)
    return -errno;
  int fd = bpf_prog_get_fd_by_id(info.prog_id);
  if (fd < 0)
    return -errno;
  *ret = fd;
  return 0;
}

static int get_all(struct track *t, const char *id) {
  int r = lock_pinned(id, &t->lock_fd);
  if (r >= 0)
    r = get_one(id, "marks", &t->marks_fd);
  if (r >= 0)
    r = get_one(id, "state", &t->state_fd);
  if (r >= 0)
    r = get_one(id, "config", &t->config_fd);
  if (r >= 0)
    r = get_one(id, "bios", &t->bios_fd);
  while (r >= 0 && t->programs < TRACK_PROGRAMS_MAX) {
    char name[16];
    (void)snprintf(name, sizeof name, "link-%u", t->programs);
    r = get_one(id, name, &t->link_fds[t->programs]);
    if (r == -ENOENT && t->programs >= TRACK_EVENTS)
      return 0;
    if (r >= 0)
      r = get_program(t->link_fds[t->programs], &t->program_fds[t->programs]);
    if (r >= 0)
      t->programs++;
  }
  return r;
}

/* The configuration is what the program runs with: the frozen map of its constants. */
static int read_config(struct track *t) {
  struct bpf_map_info info = {0};
  __u32 length = sizeof info, key = 0;
  if (bpf_obj_get_info_by_fd(t->config_fd, &info, &length) < 0)
    return -errno;
  if (info.value_size < sizeof t->config)
    return -ESTALE;
  CLEANUP_FREE void *value = calloc(1, info.value_size);
  if (!value)
    return -ENOMEM;
  if (bpf_map_lookup_elem(t->config_fd, &key, value) < 0)
    return -errno;
  memcpy(&t->config, value, sizeof t->config);
  return 0;
}

static bool same_tracking(const struct track *t, uint64_t generation, const struct track_place *place) {
  return t->config.layout == TRACK_LAYOUT && t->config.generation == generation &&
         t->config.disk_major == place->disk_major && t->config.disk_first_minor == place->disk_first_minor &&
         t->config.start_sector == place->start_sector &&
         t->config.end_sector == place->start_sector + place->sectors && !!t->config.bio_based == place->bio_based;
}

static void cleanup_track(struct track **t) { track_stop(*t); }

int track_open_pinned(const char *id, uint64_t generation, int device_fd, struct track **ret,
                      struct umbra_error *err) {
  if (!id_valid(id))
    return error_set(err, -EINVAL, UMBRA_REASON_INTERNAL, "'%s' is no id of pinned block tracking", id);
  struct stat st;
  if (fstat(device_fd, &st) < 0)
    return error_errno(err, "looking at the device that is tracked");
  CLEANUP(cleanup_track) struct track *t = track_new();
  if (!t)
    return error_code(err, -ENOMEM, "opening pinned block tracking");
  struct track_place place;
  int r = track_place_find(st.st_rdev, &place, err);
  if (r < 0)
    return r;
  r = get_all(t, id);
  if (r >= 0)
    r = read_config(t);
  if (r < 0)
    return error_code(err, r, "opening pinned block tracking '%s'", id);
  if (!same_tracking(t, generation, &place))
    return error_set(err, -ESTALE, UMBRA_REASON_INTERNAL, "pinned block tracking '%s' is another one", id);
  t->bytes = (t->config.end_sector - t->config.start_sector) * 512;
  t->granule_shift = t->config.granule_shift_sectors + 9;
  t->granules = (t->bytes + (UINT64_C(1) << t->granule_shift) - 1) >> t->granule_shift;
  r = track_map(t, err);
  if (r < 0)
    return r;
  /* Misses since the program was loaded count: nobody looked while no process had it open. */
  r = track_check(t, NULL, err);
  if (r < 0)
    return r;
  *ret = take_pointer(t);
  return 0;
}
