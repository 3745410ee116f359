/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options of the command line: a verb's own, and the global ones, which may stand before the verb and after it.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/cli.h"

#include <getopt.h>

/*
 * Before the verb. Takes the global options and leaves optind at the verb. Returns -1, or the exit status with which
 * umbra ends (--help, --version, a wrong option), all being said.
 */
int options_take_global(struct cli *cli, int argc, char **argv);

/*
 * After the verb, argv[0]. Holds all of it against the verb's options, takes the global ones, and leaves optind at
 * the first operand, to which argv is ordered. Returns as options_take_global().
 */
int options_check(struct cli *cli, const struct verb *verb, int argc, char **argv);

/*
 * For the verb itself, after options_check(): the value of the next of its own options, with optarg, or -1 at the
 * end, where optind is at the first operand.
 */
int options_next(const struct verb *verb, int argc, char **argv);

/* A number and nothing else, from first to last. 0, or -EINVAL. */
int options_number(const char *text, int first, int last, int *ret);

#endif
