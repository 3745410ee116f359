/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all verbs share: the client, how results are printed, exit statuses. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "umbra/umbra.h"

#include <jansson.h>
#include <stdbool.h>

struct option; /* getopt.h */

enum exit_status {
  STATUS_DONE = 0,
  STATUS_FAILED = 1,
  STATUS_USAGE = 2,
  STATUS_DEGRADED = 3, /* done, but with less consistency than a writer promised */
  STATUS_RUN_FAILED = 125,
};

struct cli {
  struct umbra_client *client;
  bool json, quiet, json_progress, standalone;
  struct progress *progress; /* progress.h */
};

struct verb {
  const char *name;
  const char *usage;            /* "[OPTION…] PATH…" */
  const char *summary;          /* one line */
  const char *help;             /* the options, a line each; ends in a newline. May be NULL */
  const struct option *options; /* its own, without those of options.h that may stand everywhere; values 1 to 31 and
                                   from 1000. May be NULL */
  bool by_daemon;               /* umbrad does it, where it runs */
  bool program_follows;         /* the first operand ends the options */
  /* argv[0] is the verb. The options are right, options_next() gives them; without any, optind is at the operands.
   * Returns an exit status. */
  int (*run)(struct cli *cli, int argc, char **argv);
};

extern const struct verb verb_attach, verb_backup, verb_create, verb_delete, verb_detach, verb_diff, verb_doctor,
    verb_list, verb_ls, verb_mount, verb_recover, verb_restore, verb_revert, verb_run, verb_show, verb_storage, verb_stream,
    verb_unmount, verb_verify, verb_writers;

/* "umbra: WHAT: WHY" from the client's last error; returns STATUS_FAILED. */
int cli_failed(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says what is wrong with the command line (verb NULL: before the verb) and where the help is; returns STATUS_USAGE.
 */
int cli_usage(const struct verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_help(const struct verb *verb); /* prints the help; returns STATUS_DONE */
int cli_help_of_all(void);             /* of umbra itself */

/* Prints a JSON document on standard output. */
void cli_print_json(const json_t *document);

/* Parses a document that libumbra gave and frees the text. Never NULL for what libumbra makes. */
json_t *cli_parse(char *text);

/* Of the set or shadow copy that a prefix or label means. The caller's; NULL: it means none. */
char *cli_whole_id(struct cli *cli, const char *text);

/* "1.5 GiB"; the buffer is the caller's. */
enum { CLI_SIZE_TEXT_BYTES = 32 };
const char *cli_size(json_int_t bytes, char buffer[CLI_SIZE_TEXT_BYTES]);

#endif
