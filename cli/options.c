/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/options.h"

#include "cli/progress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  GLOBAL_FIRST = 2000,
  GLOBAL_JSON = GLOBAL_FIRST,
  GLOBAL_PROGRESS,
  GLOBAL_STATE,
  GLOBAL_RUNTIME,
  GLOBAL_CONFIG,
  GLOBAL_STANDALONE
};
enum { OPTIONS_MAX = 40, VERSION = 'V' };

static const struct option everywhere[] = {
    {"json", no_argument, NULL, GLOBAL_JSON},
    {"quiet", no_argument, NULL, 'q'},
    {"progress", required_argument, NULL, GLOBAL_PROGRESS},
    {"state-dir", required_argument, NULL, GLOBAL_STATE},
    {"runtime-dir", required_argument, NULL, GLOBAL_RUNTIME},
    {"config-dir", required_argument, NULL, GLOBAL_CONFIG},
    {"standalone", no_argument, NULL, GLOBAL_STANDALONE},
    {"help", no_argument, NULL, 'h'},
};
static const struct option before_the_verb[] = {{"version", no_argument, NULL, VERSION}, {NULL, 0, NULL, 0}};

/* The verb's own options and those of everywhere, in a table that ends as getopt_long() wants it. */
static void fill_table(const struct option *own, struct option table[OPTIONS_MAX]) {
  size_t count = sizeof everywhere / sizeof everywhere[0];
  memset(table, 0, OPTIONS_MAX * sizeof *table);
  memcpy(table, everywhere, sizeof everywhere);
  for (; own && own->name && count + 1 < OPTIONS_MAX; own++)
    table[count++] = *own;
}

static int next(const struct verb *verb, const struct option *table, int argc, char **argv) {
  /* '+': what follows the first operand belongs to a program, or to the verb. ':': we say ourselves what is wrong. */
  return getopt_long(argc, argv, !verb || verb->program_follows ? "+:qh" : ":qh", table, NULL);
}

static const struct option *find_value(const struct option *table, int value) {
  while (table->name && table->val != value)
    table++;
  return table->name ? table : NULL;
}

static size_t count_beginning_with(const struct option *table, const char *beginning) {
  size_t count = 0, length = strcspn(beginning, "=");
  for (; table->name; table++)
    count += strncmp(table->name, beginning, length) == 0;
  return count;
}

static int complain_of_option(const struct verb *verb, const struct option *table, int found, const char *word) {
  const struct option *known = find_value(table, optopt);
  char letter[2] = {(char)optopt, 0};
  if (found == ':')
    return cli_usage(verb, "option '--%s' needs a value", known ? known->name : letter);
  if (known)
    return cli_usage(verb, "option '--%s' takes no value", known->name);
  if (optopt != 0)
    return cli_usage(verb, "there is no option '-%s'", letter);
  if (count_beginning_with(table, word + strlen("--")) > 1)
    return cli_usage(verb, "option '%s' may be several: write more of it", word);
  return cli_usage(verb, "there is no option '%s'", word);
}

static int take_directory(struct cli *cli, const struct verb *verb, const char *name) {
  if (!*optarg)
    return cli_usage(verb, "option '--%s' needs a directory", name);
  return umbra_client_set_directory(cli->client, name, optarg) < 0 ? cli_failed(cli, "starting") : -1;
}

static int take_progress(struct cli *cli, const struct verb *verb) {
  cli->json_progress = strcmp(optarg, "json") == 0;
  return cli->json_progress ? -1 : cli_usage(verb, "--progress knows only 'json', not '%s'", optarg);
}

/* One of those that may stand everywhere. -1: go on; else an exit status. */
static int take(struct cli *cli, const struct verb *verb, int option) {
  switch (option) {
  case GLOBAL_JSON:
    cli->json = true;
    return -1;
  case 'q':
    cli->quiet = true;
    return -1;
  case GLOBAL_PROGRESS:
    return take_progress(cli, verb);
  case GLOBAL_STATE:
    return take_directory(cli, verb, "state-dir");
  case GLOBAL_RUNTIME:
    return take_directory(cli, verb, "runtime-dir");
  case GLOBAL_CONFIG:
    return take_directory(cli, verb, "config-dir");
  case GLOBAL_STANDALONE:
    cli->standalone = true;
    return -1;
  default:
    return verb ? cli_help(verb) : cli_help_of_all();
  }
}

static bool is_own(int option) { return option < GLOBAL_FIRST && option != 'q' && option != 'h'; }

static int scan(struct cli *cli, const struct verb *verb, const struct option *own, int argc, char **argv) {
  struct option table[OPTIONS_MAX];
  int option, status = -1;
  fill_table(own, table);
  optind = 0;
  opterr = 0;
  while (status < 0 && (option = next(verb, table, argc, argv)) != -1)
    if (option == '?' || option == ':')
      status = complain_of_option(verb, table, option, argv[optind - 1]);
    else if (option == VERSION && !verb) {
      puts("umbra " UMBRA_VERSION);
      status = STATUS_DONE;
    } else if (!is_own(option))
      status = take(cli, verb, option);
  progress_init(cli->progress, cli->quiet, cli->json_progress);
  return status;
}

int options_take_global(struct cli *cli, int argc, char **argv) {
  return scan(cli, NULL, before_the_verb, argc, argv);
}

int options_check(struct cli *cli, const struct verb *verb, int argc, char **argv) {
  int status = scan(cli, verb, verb->options, argc, argv);
  if (status < 0 && verb->options)
    optind = 0; /* the verb looks through them anew */
  return status;
}

int options_next(const struct verb *verb, int argc, char **argv) {
  struct option table[OPTIONS_MAX];
  int option;
  fill_table(verb->options, table);
  do
    option = next(verb, table, argc, argv);
  while (option != -1 && !is_own(option));
  return option;
}

int options_number(const char *text, int first, int last, int *ret) {
  char *end = NULL;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno != 0 || end == text || *end || value < first || value > last)
    return -EINVAL;
  *ret = (int)value;
  return 0;
}
