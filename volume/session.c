/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/session.h"

#include "common/cleanup.h"
#include "volume/table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const char prefix[] = "umbra:";
enum { SOURCE_BYTES = 512, ONE_BYTES_MAX = 40 };
_Static_assert(sizeof prefix + (int)VOLUME_SESSION_FDS_MAX * (int)ONE_BYTES_MAX <= SOURCE_BYTES, "all numbers fit");

/* As mountinfo numbers it: a btrfs file's st_dev is another number. One that it does not show: what the file says. */
static dev_t superblock_of(const struct volume_table *table, int fd, const struct stat *st) {
  int id = volume_mount_id(fd);
  const struct mount_entry *mount = id < 0 ? NULL : mounts_find(&table->mounts, id);
  return mount ? mount->device : st->st_dev;
}

int volume_session_source(const int *fds, size_t count, char **ret, struct umbra_error *err) {
  struct volume_table *table = NULL;
  char text[SOURCE_BYTES];
  int r = count <= VOLUME_SESSION_FDS_MAX ? volume_table_load(&table, err) : error_code(err, -E2BIG, "a session");
  if (r < 0)
    return r;
  size_t used = (size_t)snprintf(text, sizeof text, "%s", prefix);
  for (size_t i = 0; i < count && r >= 0; i++) {
    struct stat st;
    if (fstat(fds[i], &st) < 0) {
      r = error_errno(err, "looking at what an attached volume lies on");
      break;
    }
    bool block = S_ISBLK(st.st_mode);
    dev_t number = block ? st.st_rdev : superblock_of(table, fds[i], &st);
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%s=%u:%u", i > 0 ? "," : "",
                             block ? "block" : "superblock", major(number), minor(number));
  }
  volume_table_free(table);
  if (r < 0)
    return r;
  *ret = strdup(text);
  return *ret ? 0 : error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing a session");
}

void volume_session_visit(const char *source, void (*visit)(bool block, dev_t number, void *context), void *context) {
  if (!source || strncmp(source, prefix, strlen(prefix)) != 0)
    return;
  for (const char *at = source + strlen(prefix) - 1; at; at = strchr(at + 1, ',')) {
    unsigned number[2];
    if (sscanf(at + 1, "block=%u:%u", &number[0], &number[1]) == 2)
      visit(true, makedev(number[0], number[1]), context);
    else if (sscanf(at + 1, "superblock=%u:%u", &number[0], &number[1]) == 2)
      visit(false, makedev(number[0], number[1]), context);
  }
}
