/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra mount, umbra unmount: a shadow copy as a read-only tree. */
#include "cli/cli.h"
#include "cli/options.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <stdio.h>

enum { OPTION_SUID = 1, OPTION_DEV };

static const struct option mount_options[] = {
    {"suid", no_argument, NULL, OPTION_SUID},
    {"dev", no_argument, NULL, OPTION_DEV},
    {NULL, 0, NULL, 0},
};

static int run_mount(struct cli *cli, int argc, char **argv) {
  unsigned flags = 0;
  int option;
  while ((option = options_next(&verb_mount, argc, argv)) != -1)
    switch (option) {
    case OPTION_SUID:
      flags |= UMBRA_MOUNT_SUID;
      break;
    case OPTION_DEV:
      flags |= UMBRA_MOUNT_DEV;
      break;
    default:
      break;
    }
  if (argc - optind < 1 || argc - optind > 2)
    return cli_usage(&verb_mount, "which shadow copy, and at most one directory");
  CLEANUP_FREE char *directory = NULL;
  if (umbra_mount(cli->client, argv[optind], argc - optind > 1 ? argv[optind + 1] : NULL, flags, &directory) < 0)
    return cli_failed(cli, "mounting '%s'", argv[optind]);
  if (cli->json) {
    CLEANUP_JSON json_t *document = json_pack("{s:o}", "mount", json_path(directory));
    cli_print_json(document);
  } else
    puts(directory);
  return STATUS_DONE;
}

static int run_unmount(struct cli *cli, int argc, char **argv) {
  if (argc - optind != 1)
    return cli_usage(&verb_unmount, "which shadow copy or directory?");
  CLEANUP_FREE char *id = cli->json ? cli_whole_id(cli, argv[optind]) : NULL;
  if (umbra_unmount(cli->client, argv[optind]) < 0)
    return cli_failed(cli, "unmounting '%s'", argv[optind]);
  if (cli->json) {
    CLEANUP_JSON json_t *document = json_pack("{s:o}", "unmounted", json_path(id ? id : argv[optind]));
    cli_print_json(document);
  }
  return STATUS_DONE;
}

const struct verb verb_mount = {
    .name = "mount",
    .by_daemon = true,
    .usage = "[--suid] [--dev] ID [DIR]",
    .summary = "show a shadow copy as a read-only tree; prints the directory",
    .help = "  --suid            honour set-user-ID bits there\n"
            "  --dev             honour device nodes there\n",
    .options = mount_options,
    .run = run_mount,
};

const struct verb verb_unmount = {
    .name = "unmount",
    .by_daemon = true,
    .usage = "ID|DIR",
    .summary = "end showing it",
    .run = run_unmount,
};
