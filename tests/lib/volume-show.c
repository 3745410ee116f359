/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * volume-show [--extents] PATH…: prints, as one JSON document, the volume that holds each path, as volume/ sees it,
 * and the level at which it would be frozen.  For integration tests of volume/ below the command line.
 */
#include "common/json.h"
#include "providers/provider.h"
#include "volume/extents.h"
#include "volume/volume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

enum { PATHS_MAX = 64, GRANULE_SHIFT = 12 };

static json_t *text_or_null(const char *text) { return text ? json_path(text) : json_null(); }

static json_t *device_text(dev_t device) { return json_sprintf("%u:%u", major(device), minor(device)); }

static void show_extents(json_t *object, const struct volume *volume, int fd) {
  struct bitmap allocated = {0};
  struct umbra_error err = {0};
  if (bitmap_init(&allocated, volume->block_bytes >> GRANULE_SHIFT) < 0)
    return;
  if (extents_allocated(fd, volume->block_device, GRANULE_SHIFT, &allocated, &err) < 0)
    (void)json_object_set_new(object, "allocated_error", json_string(err.message));
  else
    (void)json_object_set_new(object, "allocated_bytes",
                              json_integer((json_int_t)(bitmap_count(&allocated) << GRANULE_SHIFT)));
  bitmap_done(&allocated);
}

static json_t *show(const struct volume *v, const char *path, const char *canonical, bool extents) {
  struct umbra_error err = {0};
  CLEANUP_FREE char *inside = NULL;
  (void)volume_path_in_filesystem(v, canonical, &inside, NULL);
  json_t *o = json_pack("{s:o, s:o, s:s, s:o, s:o, s:s, s:o, s:o, s:b, s:o, s:o, s:I, s:i, s:b, s:o, s:o, s:o}",
                        "path", json_path(path), "canonical", json_path(canonical), "key", v->key, "mount_point",
                        json_path(v->mount_point), "fs_root", json_path(v->fs_root), "fs_type", v->fs_type, "source",
                        json_path(v->source), "device", device_text(v->device), "read_only", v->read_only,
                        "block_device", device_text(v->block_device), "block_path", text_or_null(v->block_path),
                        "block_bytes", (json_int_t)v->block_bytes, "sector_bytes", (int)v->sector_bytes, "can_freeze",
                        v->can_freeze, "freeze_why", text_or_null(v->freeze_why), "image_why",
                        text_or_null(v->image_why), "path_in_filesystem", text_or_null(inside));
  CLEANUP_CLOSE int fd = volume_open(v, &err);
  (void)json_object_set_new(o, "open", fd < 0 ? json_string(err.message) : json_true());
  if (extents && fd >= 0 && v->block_device != 0)
    show_extents(o, v, fd);
  return o;
}

int main(int argc, char **argv) {
  struct umbra_error err = {0};
  struct volume_table *table = NULL;
  const struct volume *volumes[PATHS_MAX];
  unsigned levels[PATHS_MAX];
  bool extents = argc > 1 && strcmp(argv[1], "--extents") == 0;
  bool examine = argc > 1 && strcmp(argv[1], "--examine") == 0;
  bool wait = argc > 1 && strcmp(argv[1], "--wait") == 0;
  int first = extents || wait || examine ? 2 : 1, count = argc - first;
  if (count < 1 || count > PATHS_MAX)
    return 2;
  CLEANUP_JSON json_t *list = json_array();
  if (volume_table_load(&table, &err) < 0) {
    fprintf(stderr, "volume-show: %s\n", err.message);
    return 1;
  }
  int status = 0;
  char *canonical[PATHS_MAX] = {NULL};
  for (int i = 0; i < count; i++) {
    if (volume_table_lookup(table, argv[first + i], &volumes[i], &canonical[i], &err) < 0) {
      fprintf(stderr, "volume-show: %s\n", err.message);
      volume_table_free(table);
      return 1;
    }
  }
  if (wait) {
    (void)fprintf(stderr, "waiting\n");
    (void)getchar();
  }
  for (int i = 0; i < count; i++) {
    (void)json_array_append_new(list, examine
                                          ? provider_examine(volumes[i], getenv("UMBRA_CONFIG_DIR") ?: "/etc/umbra")
                                          : show(volumes[i], argv[first + i], canonical[i], extents));
    free(canonical[i]);
  }
  if (volume_freeze_levels(volumes, (size_t)count, levels, &err) < 0) {
    fprintf(stderr, "volume-show: %s\n", err.message);
    status = 1;
  } else
    for (int i = 0; i < count; i++)
      (void)json_object_set_new(json_array_get(list, (size_t)i), "level", json_integer(levels[i]));
  (void)json_dumpf(list, stdout, JSON_INDENT(2));
  puts("");
  volume_table_free(table);
  return status;
}
