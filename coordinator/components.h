/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writers' components, and which of them a requester's selection comes to.  The rules are those of the answered
 * system ("Working with selectability and logical paths", "Adding component dependencies"):
 *
 * A component is named by its logical path and name, "databases/accounts/log"; one is above another if its whole name
 * is how the other's logical path begins.  What is selected by name is *explicit*.  What lies below a selected
 * component that is selectable comes with it: *implicit*.  One that is not selectable, and has none above it that is,
 * cannot be left out when anything of its writer is in: *required*.  What a selected component depends on, of
 * whatever writer, comes too: *dependency*.
 */
#ifndef COORDINATOR_COMPONENTS_H
#define COORDINATOR_COMPONENTS_H

#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>

enum {
  COMPONENTS_MAX = 4096 /* of one writer */,
  COMPONENT_NAME_BYTES_MAX = 512,
  SELECTIONS_MAX = 4096 /* names that a requester gives */
};

/* NULL if the components of a metadata document are as umbra-writers(7) says, else what is wrong: static text. */
const char *components_wrong(const json_t *components);

/* Logical path and name. The buffer is the caller's, the return value the buffer. */
const char *component_name(const json_t *component, char buffer[COMPONENT_NAME_BYTES_MAX]);

/*
 * writers: [{"name", "instance", "metadata", "failure"…}], as in a set's document. wanted: NULL-terminated names as
 * components_spec() makes them, the instance may be left out; NULL: no selection.  for_restore: writers are a
 * backup's ("selected" says what is in it), and the rules are those of restore: what came in with another one comes
 * back alone only if it is "selectable_for_restore".
 *
 * *ret (the caller's): {"components": [{"component", "writer", "instance", "name", "type", "selectable", "selected",
 * "files", "excludes", "restore"}], "missing": ["…"]}: all there are, selected being how, or null; missing: what was
 * depended on and is not there. -ENOENT, -EINVAL (what cannot be selected), -E2BIG, -ENOMEM.
 */
int components_select(const json_t *writers, char *const *wanted, bool for_restore, json_t **ret,
                      struct umbra_error *err);

/* How a component is called by requesters: "WRITER:NAME" or "WRITER/INSTANCE:NAME". The caller's; NULL: out of
 * memory. */
char *components_spec(const json_t *writer, const char *name);

/* Of what components_select() found: {NAME: how} of one writer (instance may be NULL). The caller's. */
json_t *components_of(const json_t *selection, const char *writer, const char *instance);

#endif
