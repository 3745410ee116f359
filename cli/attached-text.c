/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/attached-text.h"
#include "cli/cli.h"

#include "common/json.h"

#include <stdio.h>
#include <string.h>

const char *attached_text(const json_t *attached, char buffer[ATTACHED_TEXT_BYTES]) {
  const char *name = json_get_string_or(attached, "name", "?"), *why = json_get_string_or(attached, "why", NULL);
  if (why) {
    (void)snprintf(buffer, ATTACHED_TEXT_BYTES, "attached as %s, but cannot be asked: %s", name, why);
    return buffer;
  }
  char used[CLI_SIZE_TEXT_BYTES], limit[CLI_SIZE_TEXT_BYTES], dropped[64] = "", half[64] = "";
  const char *alone = json_get_boolean_or(attached, "replaceable", true)
                          ? ""
                          : "; IF ITS SERVER DIES WITH I/O UNDER WAY THE VOLUME FAILS (Linux before 6.9)";
  const char *reverting = json_get_string_or(attached, "reverting", NULL);
  if (reverting)
    (void)snprintf(half, sizeof half, ", HALF REVERTED to %.8s", reverting);
  json_int_t dropped_count = json_get_integer_or(attached, "dropped", 0);
  if (dropped_count > 0)
    (void)snprintf(dropped, sizeof dropped, " (%" JSON_INTEGER_FORMAT " of them dropped)", dropped_count);
  (void)snprintf(buffer, ATTACHED_TEXT_BYTES,
                 "attached as %s (origin %s, front %s%s), shadow copies %" JSON_INTEGER_FORMAT
                 " of %" JSON_INTEGER_FORMAT "%s, storage %s of %s in '%s'%s%s",
                 name, json_get_string_or(attached, "origin", "?"), json_get_string_or(attached, "front", "?"),
                 strcmp(json_get_string_or(attached, "way", ""), "direct") == 0 ? ", written to directly" : "",
                 json_get_integer_or(attached, "shadows", 0) + dropped_count,
                 json_get_integer_or(attached, "shadows_max", 0), dropped,
                 cli_size(json_get_integer_or(attached, "used_bytes", 0), used),
                 cli_size(json_get_integer_or(attached, "limit_bytes", 0), limit),
                 json_get_string_or(attached, "storage", "?"), half, alone);
  return buffer;
}
