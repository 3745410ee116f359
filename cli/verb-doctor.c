/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra doctor: what umbra can do for each volume, and why not more. */
#include "cli/cli.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <getopt.h>
#include <stdio.h>

static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

static void print_volume(const json_t *v) {
  char size[CLI_SIZE_TEXT_BYTES];
  const char *provider = json_get_string_or(v, "provider", NULL);
  printf("%s (%s on %s)\n", json_get_string_or(v, "volume", "?"), json_get_string_or(v, "filesystem", "?"),
         json_get_string_or(v, "source", "?"));
  if (json_get_string_or(v, "device", NULL))
    printf("  device:    %s, %s\n", json_get_string_or(v, "device", ""),
           cli_size(json_get_integer_or(v, "device_bytes", 0), size));
  printf("  provider:  %s\n", provider ? provider : "none: no shadow copy can be made of it");
  printf("  freeze:    %s%s\n",
         json_get_boolean_or(v, "can_freeze", false) ? "yes" : "no: ", json_get_string_or(v, "freeze_why", ""));
  printf("  tracking:  %s%s\n",
         json_get_boolean_or(v, "tracking", false) ? "yes" : "no: ", json_get_string_or(v, "tracking_why", ""));
  size_t i;
  json_t *p;
  json_array_foreach(json_object_get(v, "providers"), i, p) printf(
      "  %-9s  %s%s\n", json_get_string_or(p, "name", ""),
      json_get_boolean_or(p, "usable", false) ? "usable" : "not usable: ",
      json_get_string_or(p, "why", json_get_boolean_or(p, "only_by_name", false) ? " (only by --provider)" : ""));
}

static int run(struct cli *cli, int argc, char **argv) {
  int option;
  while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
    return option == 'h' ? cli_help(&verb_doctor) : STATUS_USAGE;
  char *text = NULL;
  if (umbra_doctor(cli->client, (const char *const *)argv + optind, (size_t)(argc - optind), &text) < 0)
    return cli_failed(cli, "looking at the volumes");
  CLEANUP_JSON json_t *document = cli_parse(text);
  bool all = true;
  size_t i;
  json_t *volume;
  json_array_foreach(json_object_get(document, "volumes"), i, volume) {
    all = all && json_is_string(json_object_get(volume, "provider"));
    if (!cli->json)
      print_volume(volume);
  }
  if (cli->json)
    cli_print_json(document);
  else if (json_array_size(json_object_get(document, "volumes")) == 0)
    puts("no volumes");
  return all ? STATUS_DONE : STATUS_FAILED;
}

const struct verb verb_doctor = {
    .name = "doctor",
    .usage = "[PATH…]",
    .summary = "what can be done for each volume, and why not more; status 0 if every volume has a provider",
    .run = run,
};
