/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CONFIG/umbra.conf: lines `name = value`, `#` begins a comment.  Unknown names are errors: a limit that is silently
 * not applied is worse than a command that says so.
 */
#include "coordinator/coordinator.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIGURATION_BYTES_MAX = 64 * 1024 };

static const struct limit {
  const char *name;
  size_t offset;
  int64_t initial_ms, min_ms, max_ms;
} limits[] = {
    /* The answered system cancels a hold after 10 s and allows writers 60 s. */
    {"hold_limit_ms", offsetof(struct coordinator_limits, hold_ms), 10000, 100, 60000},
    {"freeze_limit_ms", offsetof(struct coordinator_limits, freeze_ms), 60000, 500, 3600000},
    {"prepare_limit_ms", offsetof(struct coordinator_limits, prepare_ms), 600000, 500, 86400000},
    {"queue_limit_ms", offsetof(struct coordinator_limits, queue_ms), 3600000, 0, 86400000},
};

static int64_t *field(struct coordinator_limits *l, const struct limit *limit) {
  /* By way of void *: the offset is that of an int64_t, which the compiler cannot know. */
  return (void *)((char *)l + limit->offset);
}

static int apply(struct coordinator_limits *l, const char *name, const char *value, struct umbra_error *err) {
  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    if (strcmp(limits[i].name, name) != 0)
      continue;
    char *end = NULL;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (errno || end == value || *end || n < limits[i].min_ms || n > limits[i].max_ms)
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' must be a number of milliseconds from %lld to %lld",
                       name, (long long)limits[i].min_ms, (long long)limits[i].max_ms);
    *field(l, &limits[i]) = n;
    return 0;
  }
  return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' is not a known setting", name);
}

static char *trim(char *text) {
  text += strspn(text, " \t\r");
  size_t n = strlen(text);
  while (n > 0 && strchr(" \t\r", text[n - 1]))
    text[--n] = 0;
  return text;
}

int limits_load(const char *config_dir, struct coordinator_limits *ret, struct umbra_error *err) {
  struct coordinator_limits l;
  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
    *field(&l, &limits[i]) = limits[i].initial_ms;
  CLEANUP_FREE char *path = NULL, *text = NULL;
  if (asprintf(&path, "%s/umbra.conf", config_dir) < 0)
    return error_code(err, -ENOMEM, "reading the configuration");
  int r = fd_read_file(AT_FDCWD, path, CONFIGURATION_BYTES_MAX, &text, NULL);
  if (r < 0 && r != -ENOENT && r != -ENOTDIR)
    return error_code(err, r, "reading '%s'", path);
  char *rest = text, *line;
  for (int number = 1; rest && (line = strsep(&rest, "\n")); number++) {
    line[strcspn(line, "#")] = 0;
    char *equals = strchr(line, '=');
    if (!equals && *trim(line) == 0)
      continue;
    if (!equals)
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' line %d is not 'name = value'", path, number);
    *equals = 0;
    r = apply(&l, trim(line), trim(equals + 1), err);
    if (r < 0)
      return error_prefix(err, r, "'%s' line %d", path, number);
  }
  *ret = l;
  return 0;
}
