/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/block.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "volume/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

const struct places places_live = {.sysfs = "/sys", .proc = "/proc", .dev = "/dev", .live = true};

enum { DEV_DEPTH_MAX = 4 };

static int device_path(const struct places *places, dev_t device, const char *file, char ret[PATH_MAX]) {
  int n = snprintf(ret, PATH_MAX, "%s/dev/block/%u:%u%s%s", places->sysfs, major(device), minor(device),
                   file[0] ? "/" : "", file);
  return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int read_line(const char *path, char ret[BLOCK_TEXT_BYTES]) {
  CLEANUP_FREE char *text = NULL;
  size_t length = 0;
  int r = fd_read_file(AT_FDCWD, path, BLOCK_TEXT_BYTES * 8, &text, &length);
  if (r < 0)
    return r;
  text[strcspn(text, "\n")] = 0;
  if (strlen(text) >= BLOCK_TEXT_BYTES)
    return -ENAMETOOLONG;
  (void)snprintf(ret, BLOCK_TEXT_BYTES, "%s", text);
  return 0;
}

int block_attribute(const struct places *places, dev_t device, const char *file, char ret[BLOCK_TEXT_BYTES]) {
  char path[PATH_MAX];
  int r = device_path(places, device, file, path);
  return r < 0 ? r : read_line(path, ret);
}

bool block_exists(const struct places *places, dev_t device) {
  char path[PATH_MAX];
  return device != 0 && device_path(places, device, "", path) == 0 && access(path, F_OK) == 0;
}

int block_name(const struct places *places, dev_t device, char ret[BLOCK_TEXT_BYTES]) {
  char path[PATH_MAX], target[PATH_MAX];
  int r = device_path(places, device, "", path);
  if (r < 0)
    return r;
  ssize_t n = readlink(path, target, sizeof target - 1);
  if (n < 0)
    return -errno;
  target[n] = 0;
  const char *slash = strrchr(target, '/');
  const char *name = slash ? slash + 1 : target;
  if (strlen(name) >= BLOCK_TEXT_BYTES)
    return -ENAMETOOLONG;
  (void)snprintf(ret, BLOCK_TEXT_BYTES, "%s", name);
  return 0;
}

static int read_number(const struct places *places, dev_t device, const char *file, uint64_t *ret) {
  char text[BLOCK_TEXT_BYTES], *end;
  int r = block_attribute(places, device, file, text);
  if (r < 0)
    return r;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != 0)
    return -EBADMSG;
  *ret = value;
  return 0;
}

uint64_t block_bytes(const struct places *places, dev_t device) {
  uint64_t sectors;
  /* Always in units of 512 bytes, whatever the device's own sectors are. */
  if (read_number(places, device, "size", &sectors) < 0 || sectors > UINT64_MAX / 512)
    return 0;
  return sectors * 512;
}

unsigned block_sector_bytes(const struct places *places, dev_t device) {
  uint64_t bytes;
  /* A partition has no queue of its own: the disk is the directory above. */
  if (read_number(places, device, "queue/logical_block_size", &bytes) < 0 &&
      read_number(places, device, "../queue/logical_block_size", &bytes) < 0)
    return 512;
  return bytes >= 512 && bytes <= 1024 * 1024 && (bytes & (bytes - 1)) == 0 ? (unsigned)bytes : 512;
}

static bool is_node_of(const char *path, dev_t device) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == device;
}

static char *search_nodes(const char *directory, dev_t device, unsigned depth) {
  CLEANUP_CLOSEDIR DIR *dir = opendir(directory);
  struct dirent *entry;
  while (dir && (entry = readdir(dir))) {
    char path[PATH_MAX];
    if (entry->d_name[0] == '.' ||
        (size_t)snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) >= sizeof path)
      continue;
    if ((entry->d_type == DT_BLK || entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN) &&
        is_node_of(path, device))
      return strdup(path);
    /* Not into other mounts of /dev worth speaking of: shm, pts and mqueue hold no block devices. */
    if (entry->d_type != DT_DIR || depth == 0 || strcmp(entry->d_name, "shm") == 0 ||
        strcmp(entry->d_name, "pts") == 0 || strcmp(entry->d_name, "mqueue") == 0 || strcmp(entry->d_name, "fd") == 0)
      continue;
    char *found = search_nodes(path, device, depth - 1);
    if (found)
      return found;
  }
  return NULL;
}

char *block_node(const struct places *places, dev_t device, const char *hint) {
  char name[BLOCK_TEXT_BYTES], text[BLOCK_TEXT_BYTES], path[PATH_MAX];
  if (device == 0)
    return NULL;
  if (hint && path_is_below(hint, places->dev) && is_node_of(hint, device))
    return strdup(hint);
  if (block_attribute(places, device, "dm/name", text) == 0 &&
      (size_t)snprintf(path, sizeof path, "%s/mapper/%s", places->dev, text) < sizeof path &&
      is_node_of(path, device))
    return strdup(path);
  if (block_name(places, device, name) == 0) {
    /* sysfs writes '!' for the '/' of names such as "cciss/c0d0". */
    for (char *c = name; *c; c++)
      if (*c == '!')
        *c = '/';
    if ((size_t)snprintf(path, sizeof path, "%s/%s", places->dev, name) < sizeof path && is_node_of(path, device))
      return strdup(path);
  }
  return search_nodes(places->dev, device, DEV_DEPTH_MAX);
}

static int parse_device(const char *text, dev_t *ret) {
  unsigned major_number, minor_number;
  int length = 0;
  if (sscanf(text, "%u:%u%n", &major_number, &minor_number, &length) != 2 || text[length] != 0)
    return -EBADMSG;
  *ret = makedev(major_number, minor_number);
  return 0;
}

static int compare_devices(const void *a, const void *b) {
  dev_t x = *(const dev_t *)a, y = *(const dev_t *)b;
  return x < y ? -1 : x > y;
}

/* DIRECTORY/NAME/dev for every NAME, in order of their numbers. */
static size_t devices_in(const char *directory, dev_t ret[BLOCK_BELOW_MAX]) {
  CLEANUP_CLOSEDIR DIR *dir = opendir(directory);
  struct dirent *entry;
  size_t count = 0;
  while (dir && count < BLOCK_BELOW_MAX && (entry = readdir(dir))) {
    char path[PATH_MAX], text[BLOCK_TEXT_BYTES];
    if (entry->d_name[0] == '.' ||
        (size_t)snprintf(path, sizeof path, "%s/%s/dev", directory, entry->d_name) >= sizeof path)
      continue;
    if (read_line(path, text) == 0 && parse_device(text, &ret[count]) == 0)
      count++;
  }
  qsort(ret, count, sizeof *ret, compare_devices);
  return count;
}

size_t block_below(const struct places *places, dev_t device, dev_t ret[BLOCK_BELOW_MAX]) {
  char path[PATH_MAX], text[BLOCK_TEXT_BYTES];
  if (block_attribute(places, device, "partition", text) == 0)
    return block_attribute(places, device, "../dev", text) == 0 && parse_device(text, &ret[0]) == 0 ? 1 : 0;
  if (device_path(places, device, "slaves", path) < 0)
    return 0;
  return devices_in(path, ret);
}

bool block_backing_file(const struct places *places, dev_t device, char **ret_path) {
  char path[PATH_MAX];
  CLEANUP_FREE char *text = NULL;
  size_t length = 0;
  if (device_path(places, device, "loop/backing_file", path) < 0 ||
      fd_read_file(AT_FDCWD, path, PATH_MAX * 4, &text, &length) < 0 || length == 0)
    return false;
  /* One newline ends the attribute; those before it belong to the name. */
  if (text[length - 1] == '\n')
    text[--length] = 0;
  *ret_path = take_pointer(text);
  return length > 0;
}

size_t block_btrfs_members(const struct places *places, dev_t device, dev_t ret[BLOCK_BELOW_MAX]) {
  char directory[PATH_MAX];
  if ((size_t)snprintf(directory, sizeof directory, "%s/fs/btrfs", places->sysfs) >= sizeof directory)
    return 0;
  CLEANUP_CLOSEDIR DIR *dir = opendir(directory);
  struct dirent *entry;
  while (dir && (entry = readdir(dir))) {
    char path[PATH_MAX];
    if (entry->d_name[0] == '.' ||
        (size_t)snprintf(path, sizeof path, "%s/%s/devices", directory, entry->d_name) >= sizeof path)
      continue;
    size_t count = devices_in(path, ret);
    for (size_t i = 0; i < count; i++)
      if (ret[i] == device)
        return count;
  }
  return 0;
}
