/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/serve/mapped.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

void mapped_names(const char *directory, struct mapped_names *ret) {
  const char *slash = strrchr(directory, '/'), *name = slash ? slash + 1 : directory;
  const unsigned long long sum = XXH3_64bits(directory, strlen(directory));
  (void)snprintf(ret->volume, sizeof ret->volume, "umbra-%s", name);
  (void)snprintf(ret->volume_uuid, sizeof ret->volume_uuid, "UMBRA-VOLUME-%016llx-%s", sum, name);
  /* A colon is in no volume's name. */
  (void)snprintf(ret->guard, sizeof ret->guard, "umbra-%s:origin", name);
  (void)snprintf(ret->guard_uuid, sizeof ret->guard_uuid, "UMBRA-ORIGIN-%016llx-%s", sum, name);
}

int mapped_make(const char *directory, dev_t origin, dev_t front, uint64_t volume_bytes, uint32_t sector_bytes,
                dev_t *ret, struct umbra_error *err) {
  struct mapped_names names;
  dev_t guard;
  const uint64_t one = sector_bytes / MAPPER_SECTOR_BYTES;
  const struct mapper_table both = {.pieces = {{origin, one}, {front, one}}, .count = 2};
  const struct mapper_table through = {.pieces = {{front, volume_bytes / MAPPER_SECTOR_BYTES}}, .count = 1};
  mapped_names(directory, &names);
  int r = mapper_create(names.guard, names.guard_uuid, &both, true, &guard, err);
  if (r < 0)
    return r;
  r = mapper_create(names.volume, names.volume_uuid, &through, false, ret, err);
  if (r < 0)
    (void)mapper_remove(names.guard, names.guard_uuid, NULL);
  return r;
}

int mapped_there(const char *directory) {
  struct mapped_names names;
  struct mapper_state state;
  mapped_names(directory, &names);
  return mapper_usable(NULL) >= 0 && (mapper_look(names.volume, names.volume_uuid, &state, NULL) >= 0 ||
                                      mapper_look(names.guard, names.guard_uuid, &state, NULL) >= 0);
}

int mapped_remove(const char *directory, struct umbra_error *err) {
  struct mapped_names names;
  mapped_names(directory, &names);
  int r = mapper_remove(names.volume, names.volume_uuid, err);
  return r < 0 ? r : mapper_remove(names.guard, names.guard_uuid, err);
}
