/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/bus-error.h"

#include "common/error.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

const char *bus_error_name(enum umbra_reason reason, char buffer[BUS_ERROR_BYTES]) {
  size_t used = (size_t)snprintf(buffer, BUS_ERROR_BYTES, "%s", BUS_ERROR_PREFIX);
  bool capital = true;
  for (const char *at = error_reason_name(reason); *at && used + 1 < BUS_ERROR_BYTES; at++) {
    if (*at != '-')
      buffer[used++] = capital && *at >= 'a' && *at <= 'z' ? (char)(*at - 'a' + 'A') : *at;
    capital = *at == '-';
  }
  buffer[used] = 0;
  return buffer;
}

static int code_of(enum umbra_reason reason) {
  static const int codes[] = {
      [UMBRA_REASON_NOT_FOUND] = -ENOENT, [UMBRA_REASON_INVALID] = -EINVAL,      [UMBRA_REASON_ACCESS] = -EACCES,
      [UMBRA_REASON_BUSY] = -EBUSY,       [UMBRA_REASON_BAD_STATE] = -EBUSY,     [UMBRA_REASON_STORAGE] = -ENOSPC,
      [UMBRA_REASON_LIMIT] = -E2BIG,      [UMBRA_REASON_CANCELLED] = -ECANCELED, [UMBRA_REASON_DAMAGED] = -EBADMSG,
  };
  return (size_t)reason < sizeof codes / sizeof codes[0] && codes[reason] != 0 ? codes[reason] : -EIO;
}

enum umbra_reason bus_error_reason(const char *name, int *ret_code) {
  enum umbra_reason found = UMBRA_REASON_INTERNAL;
  char known[BUS_ERROR_BYTES];
  for (int reason = UMBRA_REASON_INTERNAL; strcmp(error_reason_name((enum umbra_reason)reason), "unknown") != 0;
       reason++)
    if (strcmp(bus_error_name((enum umbra_reason)reason, known), name) == 0)
      found = (enum umbra_reason)reason;
  *ret_code = code_of(found);
  return found;
}
