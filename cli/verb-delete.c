/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra delete, umbra recover: sets go; what dead processes left goes. */
#include "cli/cli.h"
#include "cli/options.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <stdio.h>

enum { OPTION_ALL = 1, OPTION_OLDEST };

static const struct option options[] = {
    {"all", no_argument, NULL, OPTION_ALL},
    {"oldest", required_argument, NULL, OPTION_OLDEST},
    {NULL, 0, NULL, 0},
};

static int delete_all(struct cli *cli) {
  char *text = NULL;
  int r = umbra_delete_all(cli->client, &text);
  CLEANUP_JSON json_t *document = text ? cli_parse(text) : NULL;
  if (cli->json && document)
    cli_print_json(document);
  else if (!cli->quiet && document)
    printf("deleted %zu sets\n", json_array_size(json_object_get(document, "deleted")));
  return r < 0 ? cli_failed(cli, "deleting all sets") : STATUS_DONE;
}

static int delete_oldest(struct cli *cli, const char *path) {
  CLEANUP_FREE char *id = NULL;
  if (umbra_delete_oldest(cli->client, path, &id) < 0)
    return cli_failed(cli, "deleting the oldest set of '%s'", path);
  if (cli->json) {
    CLEANUP_JSON json_t *document = json_pack("{s:[s]}", "deleted", id);
    cli_print_json(document);
  } else if (!cli->quiet)
    printf("deleted %s\n", id);
  return STATUS_DONE;
}

/* Those that are gone, by their whole ids: also if others could not be deleted. */
static int delete_these(struct cli *cli, char **ids, int count) {
  CLEANUP_JSON json_t *deleted = json_array();
  int status = STATUS_DONE;
  for (int i = 0; i < count; i++) {
    CLEANUP_FREE char *id = cli->json ? cli_whole_id(cli, ids[i]) : NULL;
    if (umbra_delete(cli->client, ids[i]) < 0)
      status = cli_failed(cli, "deleting '%s'", ids[i]);
    else
      (void)json_array_append_new(deleted, json_path(id ? id : ids[i]));
  }
  if (cli->json) {
    CLEANUP_JSON json_t *document = json_pack("{s:O}", "deleted", deleted);
    cli_print_json(document);
  }
  return status;
}

static int run_delete(struct cli *cli, int argc, char **argv) {
  bool all = false;
  const char *oldest = NULL;
  int option;
  while ((option = options_next(&verb_delete, argc, argv)) != -1)
    switch (option) {
    case OPTION_ALL:
      all = true;
      break;
    case OPTION_OLDEST:
      oldest = optarg;
      break;
    default:
      break;
    }
  if ((all != 0) + (oldest != NULL) + (optind < argc) != 1)
    return cli_usage(&verb_delete, "either ids, or --all, or --oldest PATH");
  if (all)
    return delete_all(cli);
  if (oldest)
    return delete_oldest(cli, oldest);
  return delete_these(cli, argv + optind, argc - optind);
}

static int run_recover(struct cli *cli, int argc, char **argv) {
  (void)argv;
  if (optind < argc)
    return cli_usage(&verb_recover, "takes no arguments");
  size_t count = 0;
  if (umbra_recover(cli->client, &count) < 0)
    return cli_failed(cli, "cleaning up");
  if (cli->json) {
    CLEANUP_JSON json_t *document = json_pack("{s:I}", "recovered", (json_int_t)count);
    cli_print_json(document);
  } else if (!cli->quiet)
    printf("cleaned up after %zu sets\n", count);
  return STATUS_DONE;
}

const struct verb verb_delete = {
    .name = "delete",
    .by_daemon = true,
    .usage = "ID… | --all | --oldest PATH",
    .summary = "remove sets and their shadow copies",
    .help = "  --all             all sets\n"
            "  --oldest PATH     the oldest set with the volume that holds PATH\n",
    .options = options,
    .run = run_delete,
};

const struct verb verb_recover = {
    .name = "recover",
    .usage = "",
    .summary = "thaw and clean up what processes that died have left (other commands do so, too)",
    .run = run_recover,
};
