/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The writers there are, for umbra_list(). */
#ifndef LIBUMBRA_WRITERS_H
#define LIBUMBRA_WRITERS_H

#include "umbra/umbra.h"

#include <jansson.h>

/* All that are found, after each has said who it is. *ret: an array, the caller's. Blocks until the last has answered. */
int writers_list(struct umbra_client *client, json_t **ret);

/* Their components. *ret: an array, the caller's; docs/DOCUMENTS.md has its members. Blocks as above. */
int components_list(struct umbra_client *client, json_t **ret);

#endif
