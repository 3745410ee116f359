/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra list, umbra show: what there is. */
#include "cli/attached-text.h"
#include "cli/cli.h"
#include "cli/table.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS_MAX = 9 };

static const struct {
  const char *what;
  struct table_column columns[COLUMNS_MAX]; /* ends where key is NULL */
} lists[] = {
    {"shadows",
     {{"id", "SHADOW", false},
      {"set", "SET", false},
      {"created", "CREATED", false},
      {"volume", "VOLUME", false},
      {"provider", "PROVIDER", false},
      {"consistency", "CONSISTENCY", false},
      {"state", "STATE", false},
      {"storage_bytes", "STORAGE", true},
      {"mount", "MOUNTED AT", false}}},
    {"sets",
     {{"id", "SET", false},
      {"label", "LABEL", false},
      {"created", "CREATED", false},
      {"consistency", "CONSISTENCY", false},
      {"instant", "INSTANT", false},
      {"persistent", "PERSISTENT", false},
      {"hold_ms", "HELD MS", false},
      {"shadows", "SHADOWS", false},
      {"state", "STATE", false}}},
    {"volumes",
     {{"volume", "VOLUME", false},
      {"filesystem", "TYPE", false},
      {"source", "SOURCE", false},
      {"device", "DEVICE", false},
      {"device_bytes", "SIZE", true},
      {"can_freeze", "CAN FREEZE", false}}},
    {"providers",
     {{"name", "PROVIDER", false},
      {"hold", "HOLD", false},
      {"instant", "INSTANT", false},
      {"persistent", "PERSISTENT", false},
      {"read_write", "READ-WRITE", false},
      {"summary", "WHAT IT DOES", false}}},
    {"writers",
     {{"name", "WRITER", false},
      {"instance", "INSTANCE", false},
      {"level", "LEVEL", false},
      {"kind", "KIND", false},
      {"state", "STATE", false},
      {"failure", "FAILURE", false}}},
    {"components",
     {{"component", "COMPONENT", false},
      {"type", "TYPE", false},
      {"selectable", "SELECTABLE", false},
      {"directories", "DIRECTORIES", false}}},
    {"storage",
     {{"directory", "DIRECTORY", false},
      {"attached", "OF", false},
      {"shadows", "SHADOWS", false},
      {"used_bytes", "USED", true},
      {"free_bytes", "FREE", true},
      {"size_bytes", "SIZE", true},
      {"limit_percent", "PERCENT", false}}},
};

/* Of a component's file sets: the first, and how many more. */
static json_t *directories(const json_t *files) {
  CLEANUP_FREE char *path = NULL;
  if (json_path_value(json_object_get(json_array_get(files, 0), "path"), &path) < 0)
    return json_null();
  CLEANUP_JSON json_t *text = json_path(path);
  size_t more = json_array_size(files) - 1;
  return more > 0 ? json_sprintf("%s (+%zu)", json_string_value(text), more) : json_incref(text);
}

/* What is said in several members of a line, in the one that the table has of them. */
static void join_members(json_t *list) {
  size_t i;
  json_t *line;
  json_array_foreach(list, i, line) {
    const char *why = json_get_string_or(line, "why", NULL);
    const json_t *attached = json_object_get(line, "attached");
    char text[ATTACHED_TEXT_BYTES];
    if (json_is_array(json_object_get(line, "files")))
      (void)json_object_set_new(line, "directories", directories(json_object_get(line, "files")));
    if (why)
      (void)json_object_set_new(line, "state", json_sprintf("%s: %s", json_get_string_or(line, "state", "?"), why));
    if (json_is_object(attached))
      (void)json_object_set_new(line, "device", json_string(attached_text(attached, text)));
  }
}

static int print_list(const json_t *document, size_t which) {
  json_t *list = json_object_get(document, lists[which].what);
  join_members(list);
  size_t count = 0;
  while (count < COLUMNS_MAX && lists[which].columns[count].key)
    count++;
  if (json_array_size(list) == 0) {
    printf("no %s\n", lists[which].what);
    return STATUS_DONE;
  }
  return table_print(list, lists[which].columns, count) < 0 ? STATUS_FAILED : STATUS_DONE;
}

/* Somebody has to do something: said on standard error, and by the status. */
static int warn_of_attached(const json_t *document) {
  size_t i;
  const json_t *line;
  int status = STATUS_DONE;
  json_array_foreach(json_object_get(document, "storage"), i, line) {
    const char *name = json_get_string_or(line, "attached", ""),
               *reverting = json_get_string_or(line, "reverting", NULL);
    if (json_get_boolean_or(line, "over_warning", false))
      fprintf(stderr,
              "umbra: the storage of attached volume '%s' is nearly full: delete shadow copies, or they will be "
              "dropped\n",
              name);
    if (reverting)
      fprintf(stderr,
              "umbra: attached volume '%s' is half reverted: end that before it is used (umbra revert %.8s)\n", name,
              reverting);
    if (reverting || json_get_boolean_or(line, "over_warning", false))
      status = STATUS_FAILED;
  }
  return status;
}

static int run_list(struct cli *cli, int argc, char **argv) {
  const char *what = optind < argc ? argv[optind] : "shadows";
  if (argc - optind > 1)
    return cli_usage(&verb_list, "one list at a time");
  for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
    if (strcmp(lists[i].what, what) != 0)
      continue;
    char *text = NULL;
    if (umbra_list(cli->client, what, &text) < 0)
      return cli_failed(cli, "listing %s", what);
    CLEANUP_JSON json_t *document = cli_parse(text);
    if (!cli->json && print_list(document, i) != STATUS_DONE)
      return STATUS_FAILED;
    if (cli->json)
      cli_print_json(document);
    return warn_of_attached(document);
  }
  return cli_usage(&verb_list, "there is no list '%s'", what);
}

/* One line a value; lists and objects below, indented. */
static void print_value(const char *key, const json_t *value, int depth) {
  const char *name;
  json_t *member;
  size_t i;
  if (json_is_object(value)) {
    if (key)
      printf("%*s%s:\n", depth * 2, "", key);
    json_object_foreach((json_t *)value, name, member) print_value(name, member, depth + (key != NULL));
  } else if (json_is_array(value)) {
    printf("%*s%s:%s\n", depth * 2, "", key, json_array_size(value) ? "" : " none");
    json_array_foreach(value, i, member) {
      printf("%*s-\n", depth * 2 + 2, "");
      print_value(json_is_object(member) ? NULL : "", member, depth + 2);
    }
  } else {
    CLEANUP_FREE char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
    printf("%*s%s: %s\n", depth * 2, "", key, json_is_string(value) ? json_string_value(value) : text ? text : "?");
  }
}

static int run_show(struct cli *cli, int argc, char **argv) {
  if (argc - optind != 1)
    return cli_usage(&verb_show, "which set or shadow copy?");
  char *text = NULL;
  if (umbra_show(cli->client, argv[optind], &text) < 0)
    return cli_failed(cli, "showing '%s'", argv[optind]);
  CLEANUP_JSON json_t *document = cli_parse(text);
  if (cli->json)
    cli_print_json(document);
  else
    print_value(NULL, document, 0);
  return STATUS_DONE;
}

const struct verb verb_list = {
    .name = "list",
    .by_daemon = true,
    .usage = "[sets|shadows|volumes|providers|writers|components|storage]",
    .summary = "what there is (default: shadows)",
    .run = run_list,
};

const struct verb verb_show = {
    .name = "show",
    .by_daemon = true,
    .usage = "ID",
    .summary = "all about one set or shadow copy",
    .run = run_show,
};
