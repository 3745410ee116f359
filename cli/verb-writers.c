/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra writers: which there are, whether they go through a set, whether they are to take part. */
#include "cli/cli.h"
#include "cli/table.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <stdio.h>
#include <string.h>

static const struct table_column list_columns[] = {{"name", "WRITER", false},
                                                   {"instance", "INSTANCE", false},
                                                   {"level", "LEVEL", false},
                                                   {"kind", "KIND", false},
                                                   {"state", "STATE", false},
                                                   {"pid", "PID", false},
                                                   {"unit", "UNIT", false},
                                                   {"failure", "FAILURE", false},
                                                   {"last_failure.when", "LAST FAILED", false},
                                                   {"last_failure.failure", "LAST FAILURE", false},
                                                   {"path", "PROGRAM", false}};

static const struct table_column limit_columns[] = {
    {"event", "EVENT", false}, {"limit_ms", "LIMIT MS", false}, {"set", "SET", false}};

static const struct table_column test_columns[] = {{"name", "WRITER", false},
                                                   {"instance", "INSTANCE", false},
                                                   {"timings_ms.prepare-backup", "PREPARE MS", false},
                                                   {"timings_ms.prepare-snapshot", "SNAPSHOT MS", false},
                                                   {"timings_ms.freeze", "FREEZE MS", false},
                                                   {"timings_ms.thaw", "THAW MS", false},
                                                   {"timings_ms.post-snapshot", "POST MS", false},
                                                   {"state", "STATE", false},
                                                   {"failure", "FAILURE", false}};

static int print_writers(const struct cli *cli, const json_t *document, const struct table_column *columns,
                         size_t count) {
  const json_t *list = json_object_get(document, "writers");
  if (cli->json)
    cli_print_json(document);
  else if (json_array_size(list) == 0)
    printf("no writers\n");
  else
    return table_print(list, columns, count) < 0 ? STATUS_FAILED : STATUS_DONE;
  return STATUS_DONE;
}

static int list(struct cli *cli) {
  char *text = NULL;
  if (umbra_list(cli->client, "writers", &text) < 0)
    return cli_failed(cli, "listing writers");
  CLEANUP_JSON json_t *document = cli_parse(text);
  return print_writers(cli, document, list_columns, sizeof list_columns / sizeof list_columns[0]);
}

static int test(struct cli *cli, const char *name) {
  char *text = NULL;
  int r = umbra_writer_test(cli->client, name, &text);
  if (r < 0)
    return cli_failed(cli, "testing writer '%s'", name);
  CLEANUP_JSON json_t *document = cli_parse(text);
  if (print_writers(cli, document, test_columns, sizeof test_columns / sizeof test_columns[0]) != STATUS_DONE)
    return STATUS_FAILED;
  if (!cli->json && !cli->quiet)
    printf("frozen for %.1f ms, of which the volumes were held %.1f ms\n",
           json_real_value(json_object_get(document, "freeze_ms")),
           json_real_value(json_object_get(document, "hold_ms")));
  return r > 0 ? STATUS_DEGRADED : STATUS_DONE;
}

static int enable(struct cli *cli, const char *name) {
  return umbra_writer_enable(cli->client, name, 1) < 0 ? cli_failed(cli, "enabling writer '%s'", name) : STATUS_DONE;
}

static int disable(struct cli *cli, const char *name) {
  return umbra_writer_enable(cli->client, name, 0) < 0 ? cli_failed(cli, "disabling writer '%s'", name) : STATUS_DONE;
}

static int timeouts(struct cli *cli, const char *name, const char *const *changes, size_t count) {
  char *text = NULL;
  if (umbra_writer_timeouts(cli->client, name, changes, count, &text) < 0)
    return cli_failed(cli, count > 0 ? "setting timeouts of writer '%s'" : "reading timeouts of writer '%s'", name);
  CLEANUP_JSON json_t *document = cli_parse(text);
  if (cli->json) {
    cli_print_json(document);
    return STATUS_DONE;
  }
  return table_print(json_object_get(document, "limits"), limit_columns,
                     sizeof limit_columns / sizeof limit_columns[0]) < 0
             ? STATUS_FAILED
             : STATUS_DONE;
}

static int run_writers(struct cli *cli, int argc, char **argv) {
  static const struct {
    const char *name;
    int (*act)(struct cli *cli, const char *name);
  } acts[] = {{"test", test}, {"enable", enable}, {"disable", disable}};
  const char *what = optind < argc ? argv[optind] : "list";
  if (strcmp(what, "list") == 0 && argc - optind <= 1)
    return list(cli);
  if (strcmp(what, "timeouts") == 0 && argc - optind >= 2)
    return timeouts(cli, argv[optind + 1], (const char *const *)argv + optind + 2, (size_t)(argc - optind - 2));
  for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
    if (strcmp(acts[i].name, what) == 0)
      return argc - optind == 2 ? acts[i].act(cli, argv[optind + 1])
                                : cli_usage(&verb_writers, "%s which writer?", what);
  return cli_usage(&verb_writers, "list, or test, timeouts, enable or disable and a writer");
}

const struct verb verb_writers = {
    .name = "writers",
    .by_daemon = true,
    .usage = "[list] | test NAME | timeouts NAME [EVENT=MS…] | enable NAME | disable NAME",
    .summary = "who is told when shadow copies are made",
    .run = run_writers,
};
