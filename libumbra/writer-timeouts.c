/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Limits that an admin sees and sets for one writer's program. */
#include "coordinator/writer-limits.h"
#include "libumbra/handles.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int apply_changes(int64_t ms[WRITER_EVENT_MAX], const char *const *changes, size_t count,
                         struct umbra_error *err) {
  for (size_t i = 0; i < count; i++) {
    const char *equals = strchr(changes[i], '=');
    CLEANUP_FREE char *event = equals ? strndup(changes[i], (size_t)(equals - changes[i])) : NULL;
    if (!event)
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' is not EVENT=MS", changes[i]);
    int r = writer_limits_set(ms, event, equals + 1, err);
    if (r < 0)
      return r;
  }
  return 0;
}

static json_t *describe(const int64_t ms[WRITER_EVENT_MAX], const struct coordinator_limits *machine) {
  json_t *list = json_array();
  for (int i = 0; i < WRITER_EVENT_MAX; i++) {
    enum writer_event event = (enum writer_event)i;
    json_int_t limit_ms = ms[i] > 0 ? ms[i] : writer_limit_of_machine_ms(event, machine);
    if (event != WRITER_ABORT)
      (void)json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "event", writer_event_name(event), "limit_ms",
                                                  limit_ms, "set", ms[i] > 0 ? "here" : "machine"));
  }
  return list;
}

static bool is_program(const struct umbra_client *client, const char *name) {
  const char *config_dir = client->coordinator->config_dir;
  const struct {
    const char *directory, *folder;
  } places[] = {{config_dir, "writers.d"}, {config_dir, "fsfreeze-hook.d"}, {UMBRA_LIBEXEC_DIR, "writers"}};
  char path[PATH_MAX];
  struct stat st;
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
    if ((size_t)snprintf(path, sizeof path, "%s/%s/%s", places[i].directory, places[i].folder, name) < sizeof path &&
        lstat(path, &st) == 0)
      return true;
  return false;
}

int umbra_writer_timeouts(struct umbra_client *client, const char *name, const char *const *changes, size_t count,
                          char **ret_json) {
  struct coordinator *c = client->coordinator;
  struct umbra_error *err = &client->error;
  int64_t ms[WRITER_EVENT_MAX];
  error_clear(err);
  if (!*name || strchr(name, '/') || name[0] == '.' || !is_program(client, name))
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "no writer's program '%s' (see: umbra writers)", name);
  int r = limits_load(c->config_dir, &c->limits, err);
  if (r >= 0)
    r = writer_limits_load(c->config_dir, name, ms, err);
  if (r >= 0)
    r = apply_changes(ms, changes, count, err);
  if (r >= 0 && count > 0)
    r = writer_limits_store(c->config_dir, name, ms, err);
  if (r < 0 || !ret_json)
    return r;
  return client_return_json(client, json_pack("{s:s, s:o}", "program", name, "limits", describe(ms, &c->limits)),
                            ret_json);
}
