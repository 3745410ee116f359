/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ids of sets and shadow copies: random UUIDs as 36 lower-case characters. */
#ifndef COMMON_ID_H
#define COMMON_ID_H

#include <stdbool.h>

enum { ID_TEXT_BYTES = 37, ID_PREFIX_CHARACTERS_MIN = 4 };

void id_new(char ret[ID_TEXT_BYTES]);
bool id_valid(const char *text);

/* True if prefix is a prefix of id, long enough to name it (ID_PREFIX_CHARACTERS_MIN). */
bool id_matches(const char *id, const char *prefix);

#endif
