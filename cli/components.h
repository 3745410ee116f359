/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The components that --component names, of the present writers or of a backup's, as umbra_gather() and
 * umbra_select_saved() give them. */
#ifndef CLI_COMPONENTS_H
#define CLI_COMPONENTS_H

#include "cli/cli.h"

#include <jansson.h>

/* Calls visit for each file set of each selected component. Ends with the first result that is not 0, and returns it.
 */
int components_visit_files(const json_t *selection,
                           int (*visit)(void *userdata, const json_t *component, const json_t *set), void *userdata);

/* Appends the directories of the selected components' file sets, each once. real: as they are named without links,
 * where they exist. -ENOMEM. */
int components_paths(const json_t *selection, bool real, char ***paths);

/* True if path, absolute, is in the file set of a writer's metadata document. */
bool components_in_file_set(const json_t *set, const char *path);

#endif
