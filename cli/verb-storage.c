/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra storage check, umbra storage dump: persistent storage of attached volumes, looked at and never written to. */
#include "cli/cli.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <stdio.h>
#include <string.h>

static void print_check(const struct cli *cli, const json_t *document) {
  size_t i;
  json_t *problem;
  json_array_foreach(json_object_get(document, "problems"), i, problem) printf("%s\n", json_string_value(problem));
  if (!cli->quiet)
    printf("%s, %s: shadow copies %d, dropped %d; entries %lld, left over %lld, unfinished %lld\n",
           json_get_boolean_or(document, "sound", false) ? "sound" : "damaged",
           json_get_boolean_or(document, "clean", false) ? "detached in good order" : "as a crash left it",
           (int)json_get_integer_or(document, "live", 0), (int)json_get_integer_or(document, "dropped", 0),
           (long long)json_get_integer_or(document, "entries", 0),
           (long long)json_get_integer_or(document, "left_over", 0),
           (long long)json_get_integer_or(document, "unfinished", 0));
}

static int run_check(struct cli *cli, const char *where) {
  char *text = NULL;
  if (umbra_storage_check(cli->client, where, &text) < 0)
    return cli_failed(cli, "checking '%s'", where);
  CLEANUP_JSON json_t *document = cli_parse(text);
  if (cli->json)
    cli_print_json(document);
  else
    print_check(cli, document);
  return json_get_boolean_or(document, "sound", false) ? STATUS_DONE : STATUS_FAILED;
}

/* "superblock index=0 state=good …" */
static int print_line(void *userdata, const char *text) {
  const struct cli *cli = userdata;
  if (cli->json)
    return printf("%s\n", text) < 0;
  CLEANUP_JSON json_t *line = json_loads(text, 0, NULL);
  const char *key;
  json_t *value;
  (void)fputs(json_get_string_or(line, "kind", ""), stdout);
  json_object_foreach(line, key, value) {
    if (strcmp(key, "kind") == 0)
      continue;
    CLEANUP_FREE char *encoded = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    (void)printf(" %s=%s", key, encoded ? encoded : "");
  }
  return putchar('\n') == EOF;
}

static int run_storage(struct cli *cli, int argc, char **argv) {
  if (argc - optind != 2)
    return cli_usage(&verb_storage, "check or dump, and a file or device");
  const char *what = argv[optind], *where = argv[optind + 1];
  if (strcmp(what, "check") == 0)
    return run_check(cli, where);
  if (strcmp(what, "dump") != 0)
    return cli_usage(&verb_storage, "check or dump, not '%s'", what);
  return umbra_storage_dump(cli->client, where, print_line, cli) < 0 ? cli_failed(cli, "dumping '%s'", where)
                                                                     : STATUS_DONE;
}

const struct verb verb_storage = {
    .name = "storage",
    .usage = "check|dump WHERE",
    .summary = "look at the persistent storage of an attached volume: is it sound, what is in it",
    .run = run_storage,
};
