/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra attach, umbra detach: volumes whose shadow copies are made at once. */
#include "cli/cli.h"
#include "cli/options.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  OPTION_STORAGE = 1,
  OPTION_LIMIT,
  OPTION_CHUNK,
  OPTION_FULL,
  OPTION_FRONT,
  OPTION_FORCE,
  OPTION_RESTART,
  OPTION_ALL,
  OPTION_PERSISTENT,
  OPTION_DM
};

static const struct option attach_options[] = {
    {"storage", required_argument, NULL, OPTION_STORAGE},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"chunk", required_argument, NULL, OPTION_CHUNK},
    {"full", required_argument, NULL, OPTION_FULL},
    {"front", required_argument, NULL, OPTION_FRONT},
    {"persistent", no_argument, NULL, OPTION_PERSISTENT},
    {"dm", required_argument, NULL, OPTION_DM},
    {"all", no_argument, NULL, OPTION_ALL},
    {NULL, 0, NULL, 0},
};
static const struct option detach_options[] = {
    {"force", no_argument, NULL, OPTION_FORCE},
    {"all", no_argument, NULL, OPTION_ALL},
    {"restart", no_argument, NULL, OPTION_RESTART},
    {NULL, 0, NULL, 0},
};
static const char *const names[] = {[OPTION_STORAGE] = "storage",
                                    [OPTION_LIMIT] = "limit",
                                    [OPTION_CHUNK] = "chunk",
                                    [OPTION_FULL] = "full",
                                    [OPTION_FRONT] = "front",
                                    [OPTION_PERSISTENT] = "persistent",
                                    [OPTION_DM] = "dm"};

static int attach_all(struct cli *cli) {
  size_t count = 0;
  int r = umbra_attach_all(cli->client, &count);
  if (cli->json) {
    CLEANUP_JSON json_t *document = json_pack("{s:I}", "attached", (json_int_t)count);
    cli_print_json(document);
  } else if (!cli->quiet)
    printf("attached %zu\n", count);
  return r < 0 ? cli_failed(cli, "attaching the volumes of umbratab") : STATUS_DONE;
}

static int run_attach(struct cli *cli, int argc, char **argv) {
  struct umbra_attach_option given[8];
  size_t count = 0;
  bool all = false;
  int option;
  while ((option = options_next(&verb_attach, argc, argv)) != -1) {
    if (option == OPTION_ALL) {
      all = true;
      continue;
    }
    if (count == sizeof given / sizeof given[0])
      return cli_usage(&verb_attach, "each option once");
    given[count++] = (struct umbra_attach_option){names[option], optarg ? optarg : "yes"};
  }
  if (all && argc == optind && count == 0)
    return attach_all(cli);
  if (all || argc - optind != 2)
    return cli_usage(&verb_attach, "a device and a name");
  CLEANUP_FREE char *path = NULL;
  if (umbra_attach(cli->client, argv[optind], argv[optind + 1], given, count, &path) < 0)
    return cli_failed(cli, "attaching '%s'", argv[optind]);
  if (cli->json) {
    CLEANUP_JSON json_t *document = json_pack("{s:s}", "device", path);
    cli_print_json(document);
  } else
    printf("%s\n", path);
  return STATUS_DONE;
}

static int detach_all(struct cli *cli, bool force) {
  size_t count = 0;
  int r = umbra_detach_all(cli->client, force, &count);
  if (cli->json) {
    CLEANUP_JSON json_t *document = json_pack("{s:I}", "detached", (json_int_t)count);
    cli_print_json(document);
  } else if (!cli->quiet)
    printf("detached %zu\n", count);
  return r < 0 ? cli_failed(cli, "detaching all volumes") : STATUS_DONE;
}

static int run_detach(struct cli *cli, int argc, char **argv) {
  bool force = false, restart = false, all = false;
  int option;
  while ((option = options_next(&verb_detach, argc, argv)) != -1)
    switch (option) {
    case OPTION_FORCE:
      force = true;
      break;
    case OPTION_RESTART:
      restart = true;
      break;
    case OPTION_ALL:
      all = true;
      break;
    default:
      break;
    }
  if (all && !restart && argc == optind)
    return detach_all(cli, force);
  if (all || argc - optind != 1 || (force && restart))
    return cli_usage(&verb_detach, "a name");
  if (restart)
    return umbra_attached_restart(cli->client, argv[optind]) < 0 ? cli_failed(cli, "restarting '%s'", argv[optind])
                                                                 : STATUS_DONE;
  return umbra_detach(cli->client, argv[optind], force) < 0 ? cli_failed(cli, "detaching '%s'", argv[optind])
                                                            : STATUS_DONE;
}

const struct verb verb_attach = {
    .name = "attach",
    .usage = "[OPTION…] DEVICE NAME | --all",
    .summary = "put umbra below a volume, so that its shadow copies are made at once",
    .help =
        "  --storage WHERE   for what is overwritten: directory or block device elsewhere, or inside: the volume itself\n"
        "  --limit N|N%      how much of it: bytes, or percent of what holds it (default: a tenth of the device)\n"
        "  --chunk BYTES     what is copied as one: 4096 to 65536 (default 16384)\n"
        "  --full POLICY     when it is full: drop-oldest (default), drop-newest, stop-writes\n"
        "  --front FRONT     what makes it a block device: ublk (default where the kernel has it) or fuse\n"
        "  --persistent      shadow copies made with create --persistent are kept there and come back\n"
        "  --dm WHEN         use device-mapper, so that writes go to DEVICE directly while there is no\n"
        "                    shadow copy: auto (default), yes, no\n"
        "  --all             those that umbratab(5) lists and that are not attached yet\n",
    .options = attach_options,
    .run = run_attach,
};

const struct verb verb_detach = {
    .name = "detach",
    .usage = "[--force | --restart] NAME | [--force] --all",
    .summary = "give the plain device back",
    .help = "  --force           although it has shadow copies: they go with it\n"
            "  --restart         only start its programs anew, as after an update\n"
            "  --all             all that are attached\n",
    .options = detach_options,
    .run = run_detach,
};
