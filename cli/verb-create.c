/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra create: make a set that stays until it is deleted. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/set-options.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <stdio.h>
#include <string.h>

enum { OPTION_LABEL = 1, OPTION_PERSISTENT, OPTION_READ_WRITE, OPTION_NO_REPAIR };

static const struct option options[] = {
    SET_OPTIONS,
    {"label", required_argument, NULL, OPTION_LABEL},
    {"persistent", no_argument, NULL, OPTION_PERSISTENT},
    {"read-write", no_argument, NULL, OPTION_READ_WRITE},
    {"no-repair", no_argument, NULL, OPTION_NO_REPAIR},
    {NULL, 0, NULL, 0},
};

static void print_set(const json_t *document) {
  const json_t *set = json_object_get(document, "set");
  printf("set %s: %s-consistent, instant: %s, held %.1f ms\n", json_get_string_or(set, "id", ""),
         json_get_string_or(set, "consistency", ""), json_get_string_or(set, "instant", ""),
         json_number_value(json_object_get(set, "hold_ms")));
  size_t i;
  json_t *shadow;
  json_array_foreach(json_object_get(set, "shadows"), i, shadow) {
    char size[CLI_SIZE_TEXT_BYTES];
    printf("shadow %s of %s by %s, %s\n", json_get_string_or(shadow, "id", ""),
           json_get_string_or(shadow, "volume", ""), json_get_string_or(shadow, "provider", ""),
           cli_size(json_get_integer_or(shadow, "storage_bytes", 0), size));
  }
}

static int create(struct cli *cli, struct umbra_set *set) {
  if (umbra_set_create(set) < 0)
    return cli_failed(cli, "making a set");
  progress_clear(cli->progress);
  CLEANUP_JSON json_t *document = cli_parse(strdup(umbra_set_document(set)));
  (void)json_object_del(document, "documents");
  (void)json_object_del(document, "components");
  if (cli->json)
    cli_print_json(document);
  else
    print_set(document);
  return umbra_set_degraded(set) ? STATUS_DEGRADED : STATUS_DONE;
}

static int run(struct cli *cli, int argc, char **argv) {
  struct umbra_set *set = NULL;
  int option, r = 0;
  if (umbra_set_new(cli->client, &set) < 0)
    return cli_failed(cli, "making a set");
  while (r >= 0 && (option = options_next(&verb_create, argc, argv)) != -1)
    switch (option) {
    case OPTION_LABEL:
      r = umbra_set_option(set, "label", optarg);
      break;
    case OPTION_PERSISTENT:
      r = umbra_set_option(set, "persistent", "yes");
      break;
    case OPTION_READ_WRITE:
      r = umbra_set_option(set, "read-write", "yes");
      break;
    case OPTION_NO_REPAIR:
      r = umbra_set_option(set, "repair", "no");
      break;
    default:
      r = set_option_take(set, option, optarg);
    }
  int status = r < 0 ? cli_usage(&verb_create, "%s", umbra_client_message(cli->client)) : -1;
  if (status < 0 && optind >= argc)
    status = cli_usage(&verb_create, "which paths?");
  for (int i = optind; status < 0 && i < argc; i++)
    if (umbra_set_add_path(set, argv[i]) < 0)
      status = cli_failed(cli, "making a set");
  if (status < 0)
    status = create(cli, set);
  umbra_set_free(set);
  return status;
}

const struct verb verb_create = {
    .name = "create",
    .by_daemon = true,
    .usage = "[OPTION…] PATH…",
    .summary = "make shadow copies of the volumes that hold the paths",
    .help = SET_OPTIONS_HELP "  --label L         a name for the set\n"
                             "  --persistent      survives a reboot\n"
                             "  --read-write      the shadow copies can be written to\n"
                             "  --no-repair       writers do not change their files in the shadow copies\n",
    .options = options,
    .run = run,
};
