/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/strv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

size_t strv_count(char *const *list) {
  size_t n = 0;
  while (list && list[n])
    n++;
  return n;
}

int strv_append_take(char ***list, char *text) {
  if (!text)
    return -ENOMEM;
  size_t n = strv_count(*list);
  /* Room is made in powers of two: the list is full when its length is one. */
  if (n == 0 || (n & (n - 1)) == 0) {
    char **larger = realloc(*list, ((n ? n * 2 : 1) + 1) * sizeof *larger);
    if (!larger) {
      free(text);
      return -ENOMEM;
    }
    *list = larger;
  }
  (*list)[n] = text;
  (*list)[n + 1] = NULL;
  return 0;
}

int strv_append(char ***list, const char *text) { return strv_append_take(list, strdup(text)); }

bool strv_contains(char *const *list, const char *text) {
  for (; list && *list; list++)
    if (strcmp(*list, text) == 0)
      return true;
  return false;
}

void strv_free(char **list) {
  for (char **at = list; at && *at; at++)
    free(*at);
  free(list);
}
