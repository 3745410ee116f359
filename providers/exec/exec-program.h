/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The executables in CONFIG/providers.d: which there are, and which may be run.  One may be run if it and the
 * directory belong to root or to the user umbra runs as and nobody else can write to them.
 */
#ifndef PROVIDERS_EXEC_EXEC_PROGRAM_H
#define PROVIDERS_EXEC_EXEC_PROGRAM_H

#include "common/error.h"

enum { EXEC_PROGRAMS_MAX = 64, EXEC_NAME_BYTES_MAX = 64 };

/*
 * Names in providers.d in alphabetical order, those that begin with a dot or are not executable left out. The caller
 * frees the list with strv_free(). NULL list and 0 if there is no such directory.
 */
int exec_program_list(const char *config_dir, char ***ret, struct umbra_error *err);

/* Its path (caller frees). -ENOENT: there is none; -EPERM: it may not be run, with the reason. */
int exec_program_path(const char *config_dir, const char *name, char **ret, struct umbra_error *err);

#endif
