/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See holder.h. */
#include "view/holder.h"

#include "common/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* name: one of the links below /proc/PID, which lead to the file itself, whatever namespace it is in. */
static bool leads_to(int dir_fd, const char *name, int mount_id) {
  struct statx st;
  return statx(dir_fd, name, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_MNT_ID, &st) == 0 &&
         (st.stx_mask & STATX_MNT_ID) && st.stx_mnt_id == (uint64_t)mount_id;
}

static bool any_leads_to(int process_fd, const char *folder, int mount_id) {
  CLEANUP_CLOSE int fd = openat(process_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir)
    return false;
  (void)take_fd(&fd);
  struct dirent *entry;
  while ((entry = readdir(dir)))
    if (entry->d_name[0] != '.' && leads_to(dirfd(dir), entry->d_name, mount_id))
      return true;
  return false;
}

static bool holds(int process_fd, int mount_id) {
  static const char *const links[] = {"cwd", "root", "exe"}, *const folders[] = {"fd", "map_files"};
  for (size_t i = 0; i < sizeof links / sizeof *links; i++)
    if (leads_to(process_fd, links[i], mount_id))
      return true;
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
    if (any_leads_to(process_fd, folders[i], mount_id))
      return true;
  return false;
}

static void read_name(int process_fd, char ret[MOUNT_HOLDER_NAME_BYTES]) {
  CLEANUP_CLOSE int fd = openat(process_fd, "comm", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, ret, MOUNT_HOLDER_NAME_BYTES - 1);
  ret[n > 0 ? n : 0] = '\0';
  ret[strcspn(ret, "\n")] = '\0';
}

bool mount_holder_find(int mount_id, struct mount_holder *ret) {
  CLEANUP_CLOSEDIR DIR *dir = opendir("/proc");
  struct dirent *entry;
  while (dir && (entry = readdir(dir))) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
      continue;
    CLEANUP_CLOSE int process_fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (process_fd < 0 || !holds(process_fd, mount_id))
      continue;
    ret->pid = (pid_t)strtol(entry->d_name, NULL, 10);
    read_name(process_fd, ret->name);
    return true;
  }
  return false;
}
