/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The umbra program: global options, then a verb of verb-*.c. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/progress.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/given.h"
#include "common/json.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct verb *const verbs[] = {
    &verb_doctor, &verb_create, &verb_list,    &verb_show,    &verb_mount,   &verb_unmount, &verb_delete,
    &verb_run,    &verb_backup, &verb_restore, &verb_ls,      &verb_verify,  &verb_recover, &verb_attach,
    &verb_detach, &verb_revert, &verb_diff,    &verb_storage, &verb_stream, &verb_writers,
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

static void block_signals(void) {
  sigset_t all;
  sigfillset(&all);
  (void)sigprocmask(SIG_BLOCK, &all, NULL);
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
  fprintf(stderr, "umbra: %s%s", verb ? verb->name : "", verb ? ": " : "");
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fprintf(stderr, " (see: umbra %s%s--help)\n", verb ? verb->name : "", verb ? " " : "");
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

char *cli_whole_id(struct cli *cli, const char *text) {
  char *shown = NULL;
  if (umbra_show(cli->client, text, &shown) < 0)
    return NULL;
  CLEANUP_JSON json_t *document = cli_parse(shown);
  const json_t *shadow = json_object_get(document, "shadow");
  const char *id = json_get_string_or(shadow ? shadow : json_object_get(document, "set"), "id", NULL);
  return id ? strdup(id) : NULL;
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

int cli_help_of_all(void) {
  puts("usage: umbra [--json] [--quiet] [--progress=json] [--state-dir D] [--runtime-dir D] [--config-dir D] [--standalone] COMMAND "
       "…\n"
       "Volume shadow copies: a backup of live volumes as they were at one instant.\n");
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
    printf("  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
  puts("\n`umbra COMMAND --help` tells more, and so does umbra(8).");
  return STATUS_DONE;
}

static int run_verb(struct cli *cli, int argc, char **argv) {
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
    if (strcmp(verbs[i]->name, argv[0]) == 0) {
      int status = options_check(cli, verbs[i], argc, argv);
      if (status >= 0)
        return status;
      if (verbs[i]->by_daemon && !cli->standalone && umbra_client_use_daemon(cli->client) < 0)
        return cli_failed(cli, "starting");
      return verbs[i]->run(cli, argc, argv);
    }
  return cli_usage(NULL, "there is no command '%s'", argv[0]);
}

int main(int argc, char **argv) {
  struct progress progress;
  struct cli cli = {.progress = &progress};
  if (fd_occupy_standard() < 0)
    return STATUS_FAILED;
  given_change();
  if (umbra_client_new(&cli.client) < 0) {
    fputs("umbra: starting: out of memory\n", stderr);
    return STATUS_FAILED;
  }
  int status = options_take_global(&cli, argc, argv);
  if (status < 0 && optind >= argc)
    status = cli_usage(NULL, "which command?");
  if (status < 0) {
    umbra_client_on_progress(cli.client, progress_show, &progress);
    umbra_client_on_warning(cli.client, on_warning, &progress);
    catch_signals(cli.client);
    status = run_verb(&cli, argc - optind, argv + optind);
    progress_clear(&progress);
  }
  if (fflush(stdout) != 0 || ferror(stdout)) {
    perror("umbra: writing the result");
    status = status == STATUS_DONE ? STATUS_FAILED : status;
  }
  block_signals(); /* their handlers use the client */
  umbra_client_free(cli.client);
  return status;
}
