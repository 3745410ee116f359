/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra doctor: what umbra can do for each volume, and why not more. */
#include "cli/attached-text.h"
#include "cli/cli.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <stdio.h>

/* "yes", or "no: WHY" */
static void print_answer(const char *heading, const json_t *answer) {
  const char *why = json_get_string_or(answer, "why", NULL);
  printf("  %-10s %s%s%s\n", heading, json_get_boolean_or(answer, "can", false) ? "yes" : "no", why ? ": " : "",
         why ? why : "");
}

static void print_provider(const json_t *answer) {
  const char *name = json_get_string_or(answer, "name", "");
  if (!json_get_boolean_or(answer, "can", false)) {
    printf("    %-8s not usable: %s\n", name, json_get_string_or(answer, "why", ""));
    return;
  }
  bool persistent = json_get_boolean_or(answer, "persistent", false),
       read_write = json_get_boolean_or(answer, "read_write", false);
  printf("    %-8s usable%s%s%s%s\n", name,
         json_get_boolean_or(answer, "only_by_name", false) ? ", when named with --provider" : "",
         persistent && read_write ? "" : ", not for ", persistent ? "" : "--persistent",
         read_write   ? ""
         : persistent ? "--read-write"
                      : " or --read-write");
}

static void print_volume(const json_t *v) {
  char size[CLI_SIZE_TEXT_BYTES], text[ATTACHED_TEXT_BYTES];
  const json_t *attached = json_object_get(v, "attached");
  const char *provider = json_get_string_or(v, "provider", NULL), *lies_on = json_get_string_or(v, "lies_on", NULL);
  printf("%s (%s on %s)\n", json_get_string_or(v, "mount_point", "?"), json_get_string_or(v, "filesystem", "?"),
         json_get_string_or(v, "source", "?"));
  if (json_is_object(attached))
    printf("  %-10s %s, %s\n", "lies on:", attached_text(attached, text),
           cli_size(json_get_integer_or(v, "size_bytes", 0), size));
  else if (lies_on)
    printf("  %-10s %s, %s\n", "lies on:", lies_on, cli_size(json_get_integer_or(v, "size_bytes", 0), size));
  if (json_get_string_or(attached, "front", NULL))
    printf("  %-10s %s: %s\n", "front:", json_get_string_or(attached, "front", "?"),
           json_get_string_or(attached, "front_why", "?"));
  printf("  %-10s %s\n", "provider:", provider ? provider : "none: no shadow copy can be made of it");
  print_answer("freeze:", json_object_get(v, "freeze"));
  print_answer("tracking:", json_object_get(v, "tracking"));
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(v, "providers"), i, item) print_provider(item);
  json_array_foreach(json_object_get(v, "notes"), i, item) printf("  note: %s\n", json_string_value(item));
}

static int run(struct cli *cli, int argc, char **argv) {
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
    .by_daemon = true,
    .usage = "[PATH…]",
    .summary = "what can be done for each volume, and why not more; status 0 if every volume has a provider",
    .run = run,
};
