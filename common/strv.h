/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Growing, NULL-terminated lists of strings that own their strings. */
#ifndef COMMON_STRV_H
#define COMMON_STRV_H

#include <stdbool.h>
#include <stddef.h>

size_t strv_count(char *const *list);            /* NULL counts as empty */
int strv_append(char ***list, const char *text); /* copies; 0 or -ENOMEM */
int strv_append_take(char ***list, char *text);  /* owns text from now on, even on failure */
bool strv_contains(char *const *list, const char *text);
void strv_free(char **list);

static inline void cleanup_strv_free(char ***list) { strv_free(*list); }
#define CLEANUP_STRV __attribute__((cleanup(cleanup_strv_free)))

#endif
