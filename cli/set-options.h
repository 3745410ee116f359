/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options that choose a shadow copy, common to create, run and backup. */
#ifndef CLI_SET_OPTIONS_H
#define CLI_SET_OPTIONS_H

#include "umbra/umbra.h"

#include <getopt.h>

/*
 * For getopt_long(): entries and help text, to be put among a verb's own. Values from SET_OPTION_FIRST on are these;
 * a verb's own are below.
 */
enum {
  SET_OPTION_FIRST = 1000,
  SET_OPTION_PROVIDER = SET_OPTION_FIRST,
  SET_OPTION_STORAGE,
  SET_OPTION_STORAGE_MAX,
  SET_OPTION_NO_WRITERS,
  SET_OPTION_WRITER,
  SET_OPTION_REQUIRE
};

#define SET_OPTIONS                                                                                                  \
  {"provider", required_argument, NULL, SET_OPTION_PROVIDER},                                                        \
      {"storage", required_argument, NULL, SET_OPTION_STORAGE},                                                      \
      {"storage-max", required_argument, NULL, SET_OPTION_STORAGE_MAX},                                              \
      {"no-writers", no_argument, NULL, SET_OPTION_NO_WRITERS},                                                      \
      {"writer", required_argument, NULL, SET_OPTION_WRITER}, {                                                      \
    "require", required_argument, NULL, SET_OPTION_REQUIRE                                                           \
  }

#define SET_OPTIONS_HELP                                                                                             \
  "  --provider P      make the shadow copy with provider P (umbra list providers)\n"                                \
  "  --storage DIR     keep images and stores in DIR; what helps the next set stays there\n"                         \
  "  --storage-max N   use at most N bytes there (K, M, G, T), or N% of its filesystem\n"                            \
  "  --no-writers      tell no writers\n"                                                                            \
  "  --writer W        only writer W takes part, or W/INSTANCE; may be given again\n"                                \
  "  --require LEVEL   fail with less than application, filesystem, crash; or without one instant: instant\n"

/* Takes one of these options. 0 or negative (the client has the message). */
int set_option_take(struct umbra_set *set, int option, const char *argument);

#endif
