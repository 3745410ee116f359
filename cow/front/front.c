/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/front/front.h"

#include "cow/front/fuse.h"
#include "cow/front/ublk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Best first; the last one is what every machine has. */
static const struct front *const fronts[] = {&front_ublk, &front_fuse};
enum { FRONTS = sizeof fronts / sizeof fronts[0] };

const struct front *front_named(const char *name) {
  for (size_t i = 0; i < FRONTS; i++)
    if (strcmp(fronts[i]->name, name) == 0)
      return fronts[i];
  return NULL;
}

bool front_has_lost(const struct front_seat *seat) {
  return atomic_load(&seat->resends) == FRONT_RESENDS_NOT && atomic_load(&seat->held) > 0;
}

int front_choose(const char *asked, const struct front **ret, char why[FRONT_WHY_BYTES], struct umbra_error *err) {
  struct umbra_error missing = {0};
  *ret = asked ? front_named(asked) : NULL;
  if (asked && !*ret)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "there is no front '%s'", asked);
  if (*ret) {
    (void)snprintf(why, FRONT_WHY_BYTES, "asked for");
    return (*ret)->usable(err);
  }
  for (size_t i = 0; i < FRONTS; i++) {
    *ret = fronts[i];
    if (i == FRONTS - 1 || fronts[i]->usable(&missing) >= 0)
      break;
  }
  (void)snprintf(why, FRONT_WHY_BYTES, "%.*s", FRONT_WHY_BYTES - 1,
                 missing.message[0] != '\0' ? missing.message : "the best there is");
  return 0;
}
