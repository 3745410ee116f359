/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/set-options.h"

#include <errno.h>

int set_option_take(struct umbra_set *set, int option, const char *argument) {
  switch (option) {
  case SET_OPTION_PROVIDER:
    return umbra_set_option(set, "provider", argument);
  case SET_OPTION_STORAGE:
    return umbra_set_option(set, "storage", argument);
  case SET_OPTION_STORAGE_MAX:
    return umbra_set_option(set, "storage-max", argument);
  case SET_OPTION_NO_WRITERS:
    return umbra_set_option(set, "writers", "no");
  case SET_OPTION_WRITER:
    return umbra_set_option(set, "writer", argument);
  case SET_OPTION_REQUIRE:
    return umbra_set_option(set, "require", argument);
  default:
    return -EINVAL;
  }
}
