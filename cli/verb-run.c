/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra run: a former program over shadow copies, under the same paths. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/set-options.h"

#include "common/strv.h"

#include <stdio.h>
#include <string.h>

enum { OPTION_OF = 1, OPTION_KEEP };

static const struct option options[] = {
    SET_OPTIONS,
    {"of", required_argument, NULL, OPTION_OF},
    {"keep", required_argument, NULL, OPTION_KEEP},
    {NULL, 0, NULL, 0},
};

/* Fills the set and keep; -1: go on, else an exit status. */
static int take_options(struct cli *cli, struct umbra_set *set, int argc, char **argv, char ***keep) {
  int option, r = 0;
  bool any = false;
  while (r >= 0 && (option = options_next(&verb_run, argc, argv)) != -1)
    switch (option) {
    case OPTION_OF:
      if (umbra_set_add_path(set, optarg) < 0) {
        (void)cli_failed(cli, "running a program");
        return STATUS_RUN_FAILED;
      }
      any = true;
      break;
    case OPTION_KEEP:
      r = strv_append(keep, optarg);
      break;
    default:
      r = set_option_take(set, option, optarg);
    }
  if (r < 0)
    return cli_usage(&verb_run, "%s", umbra_client_message(cli->client));
  if (optind >= argc)
    return cli_usage(&verb_run, "which program?");
  if (!any && umbra_set_add_path(set, ".") < 0) {
    (void)cli_failed(cli, "running a program");
    return STATUS_RUN_FAILED;
  }
  return -1;
}

static int run_program(struct cli *cli, struct umbra_set *set, char **arguments, char **keep) {
  if (umbra_set_create(set) < 0) {
    (void)cli_failed(cli, "running '%s'", arguments[0]);
    return STATUS_RUN_FAILED;
  }
  progress_clear(cli->progress);
  int status = umbra_set_run(set, arguments, (const char *const *)keep);
  if (status < 0)
    (void)cli_failed(cli, "running '%s'", arguments[0]);
  else if (*umbra_client_message(cli->client)) /* 126, 127: it says itself what could not be run */
    fprintf(stderr, "umbra: %s\n", umbra_client_message(cli->client));
  (void)umbra_set_complete(set, status == 0);
  return status < 0 ? STATUS_RUN_FAILED : status;
}

static int run(struct cli *cli, int argc, char **argv) {
  struct umbra_set *set = NULL;
  CLEANUP_STRV char **keep = NULL;
  if (umbra_set_new(cli->client, &set) < 0) {
    (void)cli_failed(cli, "running a program");
    return STATUS_RUN_FAILED;
  }
  (void)umbra_set_option(set, "auto-release", "yes");
  int status = take_options(cli, set, argc, argv, &keep);
  if (status < 0)
    status = run_program(cli, set, argv + optind, keep);
  umbra_set_free(set);
  return status;
}

const struct verb verb_run = {
    .name = "run",
    .usage = "[--of PATH]… [--keep PATH]… [OPTION…] -- PROGRAM ARG…",
    .summary = "run a program in which the volumes are their shadow copies, under the same paths",
    .help = "  --of PATH         the volume that holds PATH (default: the working directory); may be given again\n"
            "  --keep PATH       PATH stays live inside a shadowed volume; may be given again\n" SET_OPTIONS_HELP,
    .options = options,
    .program_follows = true,
    .run = run,
};
