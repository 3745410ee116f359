/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has files of a volume mapped for writing, where the filesystem itself would not notice. */
#include "providers/files/mapped.h"

#include "common/cleanup.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

static bool process_maps(const char *process, dev_t device) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%.20s/maps", process);
  CLEANUP_FCLOSE FILE *maps = fopen(path, "re");
  CLEANUP_FREE char *line = NULL;
  size_t size = 0;
  while (maps && getline(&line, &size, maps) > 0) {
    char permissions[8];
    unsigned major_number, minor_number;
    if (sscanf(line, "%*s %7s %*s %x:%x", permissions, &major_number, &minor_number) == 3 && permissions[1] == 'w' &&
        permissions[3] == 's' && makedev(major_number, minor_number) == device)
      return true;
  }
  return false;
}

bool mapped_unseen(const struct volume *volume) {
  if (strcmp(volume->fs_type, "tmpfs") != 0 && strcmp(volume->fs_type, "ramfs") != 0 &&
      strcmp(volume->fs_type, "devtmpfs") != 0)
    return false;
  CLEANUP_CLOSEDIR DIR *processes = opendir("/proc");
  struct dirent *entry;
  while (processes && (entry = readdir(processes)))
    if (atoi(entry->d_name) > 0 && process_maps(entry->d_name, volume->device))
      return true;
  return processes == NULL;
}
