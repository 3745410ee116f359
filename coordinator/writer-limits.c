/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/writer-limits.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static char *trim(char *text) {
  text += strspn(text, " \t\r");
  size_t n = strlen(text);
  while (n > 0 && strchr(" \t\r", text[n - 1]))
    text[--n] = 0;
  return text;
}

int writer_limits_set(int64_t ms[WRITER_EVENT_MAX], const char *event, const char *value, struct umbra_error *err) {
  int number = 0;
  while (number < WRITER_EVENT_MAX && strcmp(writer_event_name((enum writer_event)number), event) != 0)
    number++;
  if (number == WRITER_EVENT_MAX || number == WRITER_ABORT)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' is no event that can have a limit", event);
  if (strcmp(value, "default") == 0) {
    ms[number] = 0;
    return 0;
  }
  int64_t max_ms =
      number == WRITER_FREEZE || number == WRITER_THAW ? WRITER_FREEZE_LIMIT_MS_MAX : WRITER_LIMIT_MS_MAX;
  char *end = NULL;
  errno = 0;
  long long n = strtoll(value, &end, 10);
  if (errno || end == value || *end || n < WRITER_LIMIT_MS_MIN || n > max_ms)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID,
                     "'%s' must be a number of milliseconds from %d to %lld, or default", event, WRITER_LIMIT_MS_MIN,
                     (long long)max_ms);
  ms[number] = n;
  return 0;
}

static int take_lines(char *text, const char *path, int64_t ms[WRITER_EVENT_MAX], struct umbra_error *err) {
  char *line;
  for (int number = 1; text && (line = strsep(&text, "\n")); number++) {
    line[strcspn(line, "#")] = 0;
    char *equals = strchr(line, '=');
    if (!equals && *trim(line) == 0)
      continue;
    if (!equals)
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' line %d is not 'event = milliseconds'", path,
                       number);
    *equals = 0;
    int r = writer_limits_set(ms, trim(line), trim(equals + 1), err);
    if (r < 0)
      return error_prefix(err, r, "'%s' line %d", path, number);
  }
  return 0;
}

int writer_limits_load(const char *config_dir, const char *program, int64_t ms[WRITER_EVENT_MAX],
                       struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL, *text = NULL;
  memset(ms, 0, WRITER_EVENT_MAX * sizeof *ms);
  if (asprintf(&path, "%s/timeouts.d/%s", config_dir, program) < 0) {
    path = NULL;
    return error_code(err, -ENOMEM, "reading limits of writers");
  }
  int r = fd_read_file(AT_FDCWD, path, WRITER_LIMITS_BYTES_MAX, &text, NULL);
  if (r == -ENOENT || r == -ENOTDIR)
    return 0;
  return r < 0 ? error_code(err, r, "reading '%s'", path) : take_lines(text, path, ms, err);
}

int writer_limits_store(const char *config_dir, const char *program, const int64_t ms[WRITER_EVENT_MAX],
                        struct umbra_error *err) {
  char folder[PATH_MAX], text[WRITER_LIMITS_BYTES_MAX];
  size_t used = 0;
  if ((size_t)snprintf(folder, sizeof folder, "%s/timeouts.d", config_dir) >= sizeof folder)
    return error_code(err, -ENAMETOOLONG, "setting limits of writer '%s'", program);
  for (int i = 0; i < WRITER_EVENT_MAX; i++)
    if (ms[i] > 0)
      used += (size_t)snprintf(text + used, sizeof text - used, "%s = %lld\n",
                               writer_event_name((enum writer_event)i), (long long)ms[i]);
  int r = fd_make_directories(folder, 0755);
  CLEANUP_CLOSE int dir_fd = r < 0 ? r : fd_open_directory(folder);
  if (dir_fd < 0)
    return error_code(err, dir_fd, "making '%s'", folder);
  if (used > 0)
    r = fd_replace_file(dir_fd, program, text, used, 0644, true);
  else if (unlinkat(dir_fd, program, 0) < 0 && errno != ENOENT)
    r = -errno;
  return r < 0 ? error_code(err, r, "writing '%s/%s'", folder, program) : 0;
}

int64_t writer_limit_of_machine_ms(enum writer_event event, const struct coordinator_limits *machine) {
  /* A writer that hangs is not waited for longer than it may hold everybody up. */
  bool frozen = event == WRITER_FREEZE || event == WRITER_THAW || event == WRITER_ABORT;
  return frozen ? machine->freeze_ms : machine->prepare_ms;
}

int64_t writer_limit_ms(const struct writer *w, enum writer_event event, const struct coordinator_limits *machine) {
  int64_t machine_ms = writer_limit_of_machine_ms(event, machine);
  if (w->limits_ms[event] > 0)
    return w->limits_ms[event];
  if (event == WRITER_THAW || event == WRITER_ABORT)
    return machine_ms;
  int64_t own_ms = event == WRITER_FREEZE ? w->freeze_limit_ms : w->prepare_limit_ms;
  /* A writer may ask for less. */
  return own_ms > 0 && own_ms < machine_ms ? own_ms : machine_ms;
}
