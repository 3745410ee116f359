/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-id128.h>

void id_new(char ret[ID_TEXT_BYTES]) {
  sd_id128_t id;
  /* Fails only where the kernel has no random numbers; ids that repeat would mix up shadow copies. */
  if (sd_id128_randomize(&id) < 0)
    abort();
  (void)sd_id128_to_uuid_string(id, ret);
}

bool id_valid(const char *text) {
  sd_id128_t id;
  return strlen(text) == ID_TEXT_BYTES - 1 && sd_id128_from_string(text, &id) >= 0;
}

bool id_matches(const char *id, const char *prefix) {
  size_t length = strlen(prefix);
  return length >= ID_PREFIX_CHARACTERS_MIN && strncmp(id, prefix, length) == 0;
}
