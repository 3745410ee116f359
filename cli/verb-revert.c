/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra revert, umbra diff: what shadow copies of attached volumes can do besides. */
#include "cli/cli.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <inttypes.h>
#include <stdio.h>

static int run_revert(struct cli *cli, int argc, char **argv) {
  if (argc - optind != 1)
    return cli_usage(&verb_revert, "one shadow copy");
  uint64_t bytes = 0;
  if (umbra_revert(cli->client, argv[optind], &bytes) < 0)
    return cli_failed(cli, "going back to '%s'", argv[optind]);
  char size[CLI_SIZE_TEXT_BYTES];
  if (cli->json) {
    CLEANUP_JSON json_t *document = json_pack("{s:I}", "bytes", (json_int_t)bytes);
    cli_print_json(document);
  } else if (!cli->quiet)
    printf("put back %s\n", cli_size((json_int_t)bytes, size));
  return STATUS_DONE;
}

struct listing {
  json_t *ranges; /* NULL: printed as they come */
  uint64_t bytes;
};

static int list_range(void *userdata, uint64_t offset_bytes, uint64_t length_bytes) {
  struct listing *l = userdata;
  l->bytes += length_bytes;
  if (!l->ranges)
    return printf("%" PRIu64 " %" PRIu64 "\n", offset_bytes, length_bytes) < 0;
  return json_array_append_new(l->ranges, json_pack("{s:I, s:I}", "offset_bytes", (json_int_t)offset_bytes,
                                                    "length_bytes", (json_int_t)length_bytes));
}

static int run_diff(struct cli *cli, int argc, char **argv) {
  if (argc - optind < 1 || argc - optind > 2)
    return cli_usage(&verb_diff, "one or two shadow copies");
  struct listing l = {.ranges = cli->json ? json_array() : NULL};
  const char *to = argc - optind == 2 ? argv[optind + 1] : NULL;
  int r = umbra_difference(cli->client, argv[optind], to, list_range, &l);
  if (cli->json && r >= 0) {
    CLEANUP_JSON json_t *document = json_pack("{s:O, s:I}", "ranges", l.ranges, "bytes", (json_int_t)l.bytes);
    cli_print_json(document);
  }
  json_decref(l.ranges);
  return r < 0 ? cli_failed(cli, "what changed since '%s'", argv[optind]) : STATUS_DONE;
}

const struct verb verb_revert = {
    .name = "revert",
    .usage = "ID",
    .summary = "make an attached volume, unmounted, what its shadow copy is",
    .run = run_revert,
};

const struct verb verb_diff = {
    .name = "diff",
    .usage = "ID [ID]",
    .summary = "what changed on an attached volume since a shadow copy, or between two: offset and length, in bytes",
    .run = run_diff,
};
