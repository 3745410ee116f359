/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The umbra program: global options, then a verb of verb-*.c. */
#include "cli/cli.h"
#include "cli/progress.h"

#include "common/cleanup.h"
#include "common/json.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct verb *const verbs[] = {
    &verb_doctor, &verb_create, &verb_list,    &verb_show, &verb_mount,  &verb_unmount, &verb_delete,
    &verb_run,    &verb_backup, &verb_restore, &verb_ls,   &verb_verify, &verb_recover, &verb_attach,
    &verb_detach, &verb_revert, &verb_diff,   &verb_storage,
};

/* Where a signal finds the client; set once before handlers are. */
static struct umbra_client *signalled_client;

static void on_signal(int number) {
  (void)number;
  umbra_client_cancel(signalled_client);
}

/* What was ignored when we were started (nohup) stays ignored. */
static void catch_signals(struct umbra_client *client) {
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  struct sigaction action = {.sa_handler = on_signal}, before;
  signalled_client = client;
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
      (void)sigaction(signals[i], &action, NULL);
}

int cli_failed(const struct cli *cli, const char *format, ...) {
  progress_clear(cli->progress);
  fputs("umbra: ", stderr);
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  const char *message = umbra_client_message(cli->client);
  fprintf(stderr, "%s%s\n", *message ? ": " : "", message);
  return STATUS_FAILED;
}

int cli_usage(const struct verb *verb, const char *format, ...) {
  fprintf(stderr, "umbra: %s: ", verb->name);
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fprintf(stderr, " (see: umbra %s --help)\n", verb->name);
  return STATUS_USAGE;
}

int cli_help(const struct verb *verb) {
  printf("usage: umbra [GLOBAL OPTION…] %s %s\n%s\n%s%s", verb->name, verb->usage, verb->summary,
         verb->help ? "\n" : "", verb->help ? verb->help : "");
  return STATUS_DONE;
}

void cli_print_json(const json_t *document) {
  (void)json_dumpf(document, stdout, JSON_INDENT(2));
  putchar('\n');
}

json_t *cli_parse(char *text) {
  json_t *document = NULL;
  if (text)
    (void)json_parse(text, strlen(text), "document", &document, NULL);
  free(text);
  return document ? document : json_object();
}

const char *cli_size(json_int_t bytes, char buffer[CLI_SIZE_TEXT_BYTES]) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = (double)bytes;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
    value /= 1024;
    unit++;
  }
  (void)snprintf(buffer, CLI_SIZE_TEXT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return buffer;
}

static void on_warning(void *userdata, const char *message) {
  progress_clear(userdata);
  fprintf(stderr, "umbra: warning: %s\n", message);
}

static int print_help(void) {
  puts("usage: umbra [--json] [--quiet] [--progress=json] [--state-dir D] [--runtime-dir D] [--config-dir D] COMMAND "
       "…\n"
       "Volume shadow copies: a backup of live volumes as they were at one instant.\n");
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
    printf("  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
  puts("\n`umbra COMMAND --help` tells more, and so does umbra(8).");
  return STATUS_DONE;
}

enum { OPTION_JSON = 1, OPTION_PROGRESS, OPTION_STATE, OPTION_RUNTIME, OPTION_CONFIG, OPTION_VERSION };

static const struct option global_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"quiet", no_argument, NULL, 'q'},
    {"progress", required_argument, NULL, OPTION_PROGRESS},
    {"state-dir", required_argument, NULL, OPTION_STATE},
    {"runtime-dir", required_argument, NULL, OPTION_RUNTIME},
    {"config-dir", required_argument, NULL, OPTION_CONFIG},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static int run_verb(struct cli *cli, int argc, char **argv) {
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
    if (strcmp(verbs[i]->name, argv[0]) == 0) {
      optind = 0; /* a new scan, from the start */
      return verbs[i]->run(cli, argc, argv);
    }
  fprintf(stderr, "umbra: there is no command '%s' (see: umbra --help)\n", argv[0]);
  return STATUS_USAGE;
}

int main(int argc, char **argv) {
  struct progress progress;
  struct cli cli = {.progress = &progress};
  bool json_progress = false;
  if (umbra_client_new(&cli.client) < 0) {
    fputs("umbra: starting: out of memory\n", stderr);
    return STATUS_FAILED;
  }
  int option, r = 0, status = -1;
  /* "+": options after the command are the command's. */
  while (status < 0 && (option = getopt_long(argc, argv, "+qh", global_options, NULL)) != -1)
    switch (option) {
    case OPTION_JSON:
      cli.json = true;
      break;
    case 'q':
      cli.quiet = true;
      break;
    case OPTION_PROGRESS:
      json_progress = strcmp(optarg, "json") == 0;
      if (!json_progress) {
        fputs("umbra: --progress knows only 'json'\n", stderr);
        status = STATUS_USAGE;
      }
      break;
    case OPTION_STATE:
      r = umbra_client_set_directory(cli.client, "state-dir", optarg);
      break;
    case OPTION_RUNTIME:
      r = umbra_client_set_directory(cli.client, "runtime-dir", optarg);
      break;
    case OPTION_CONFIG:
      r = umbra_client_set_directory(cli.client, "config-dir", optarg);
      break;
    case OPTION_VERSION:
      puts("umbra " UMBRA_VERSION);
      status = STATUS_DONE;
      break;
    case 'h':
      status = print_help();
      break;
    default:
      status = STATUS_USAGE;
    }
  progress_init(&progress, cli.quiet, json_progress);
  if (status < 0 && r < 0)
    status = cli_failed(&cli, "starting");
  if (status < 0 && optind >= argc) {
    fputs("umbra: which command? (see: umbra --help)\n", stderr);
    status = STATUS_USAGE;
  }
  if (status < 0) {
    umbra_client_on_progress(cli.client, progress_show, &progress);
    umbra_client_on_warning(cli.client, on_warning, &progress);
    catch_signals(cli.client);
    status = run_verb(&cli, argc - optind, argv + optind);
    progress_clear(&progress);
  }
  umbra_client_free(cli.client);
  if (fflush(stdout) != 0 && status == STATUS_DONE) {
    perror("umbra: writing the result");
    status = STATUS_FAILED;
  }
  return status;
}
