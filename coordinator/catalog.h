/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The catalogue of sets: STATE/sets/ID.json, one file a set, written as a whole when the set is ready.  A file holds
 *   {"set": the public document, "records": {shadow id: {"provider", "record"}}, "documents": [writer metadata…],
 *    "persistent", "boot_id"}.
 */
#ifndef COORDINATOR_CATALOG_H
#define COORDINATOR_CATALOG_H

#include "common/error.h"

#include <jansson.h>

enum { CATALOG_SETS_MAX = 4096 };

int catalog_put(const char *state_dir, const char *id, const json_t *entry, struct umbra_error *err);
int catalog_remove(const char *state_dir, const char *id, struct umbra_error *err); /* -ENOENT is success */

/* All entries, oldest first, as a new array. A damaged file is left out and named in *ret_damaged (new array). */
int catalog_load(const char *state_dir, json_t **ret, json_t **ret_damaged, struct umbra_error *err);

/*
 * Finds the one entry that text names: id, unique prefix or label of the set, or id or unique prefix of a shadow copy
 * of it. *ret_shadow (may be NULL): borrowed id of that shadow copy, NULL when the set itself was named.
 */
int catalog_find(const json_t *entries, const char *text, json_t **ret_borrowed, const char **ret_shadow,
                 struct umbra_error *err);

#endif
