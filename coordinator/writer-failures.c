/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/writer-failures.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

static const char file_name[] = "writer-failures.json", lock_name[] = "writer-failures.lock";

static bool is_of(const json_t *one, const char *name, const char *instance) {
  return strcmp(json_get_string_or(one, "name", ""), name) == 0 &&
         strcmp(json_get_string_or(one, "instance", ""), instance ? instance : "") == 0;
}

const json_t *writer_failures_find(const json_t *failures, const char *name, const char *instance) {
  size_t i;
  const json_t *one;
  json_array_foreach(failures, i, one) {
    if (is_of(one, name, instance))
      return one;
  }
  return NULL;
}

static json_t *read_list(int dir_fd) {
  CLEANUP_JSON json_t *document = NULL;
  if (json_read_file(dir_fd, file_name, &document, NULL) < 0)
    return json_array();
  json_t *list = json_object_get(document, "failures");
  return json_is_array(list) ? json_incref(list) : json_array();
}

int writer_failures_load(const char *state_dir, json_t **ret, struct umbra_error *err) {
  CLEANUP_CLOSE int dir_fd = fd_open_directory(state_dir);
  *ret = dir_fd < 0 ? json_array() : read_list(dir_fd);
  return *ret ? 0 : error_code(err, -ENOMEM, "reading how writers failed");
}

static int add(json_t *list, const struct writer *w, const char *set_id) {
  char when[CLOCK_TEXT_BYTES];
  for (size_t i = json_array_size(list); i > 0; i--)
    if (is_of(json_array_get(list, i - 1), w->name, w->instance))
      (void)json_array_remove(list, i - 1);
  while (json_array_size(list) >= WRITER_FAILURES_MAX)
    (void)json_array_remove(list, 0);
  return json_array_append_new(list, json_pack("{s:s, s:s?, s:s, s:s, s:s, s:s?, s:s}", "name", w->name, "instance",
                                               w->instance, "state", w->state, "reason", error_reason_name(w->reason),
                                               "failure", w->failure, "set", set_id, "when",
                                               clock_format(w->failed_ns, when)));
}

/* One whose set was given up has not failed. */
static bool is_new(const struct writer *w) {
  return writer_failed(w) && !w->failure_kept && w->reason != UMBRA_REASON_CANCELLED;
}

int writer_failures_keep(const char *state_dir, const char *set_id, struct writer *const *writers, size_t count,
                         struct umbra_error *err) {
  bool any = false;
  for (size_t i = 0; i < count; i++)
    any = any || is_new(writers[i]);
  if (!any)
    return 0;
  CLEANUP_CLOSE int dir_fd = fd_open_directory(state_dir),
                    lock_fd = dir_fd < 0 ? -1 : openat(dir_fd, lock_name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd < 0 || flock(lock_fd, LOCK_EX) < 0)
    return error_errno(err, "keeping how writers failed in '%s'", state_dir);
  CLEANUP_JSON json_t *list = read_list(dir_fd);
  int r = list ? 0 : -ENOMEM;
  for (size_t i = 0; i < count && r == 0; i++)
    if (is_new(writers[i]))
      r = add(list, writers[i], set_id);
  CLEANUP_JSON json_t *document = r == 0 ? json_pack("{s:O}", "failures", list) : NULL;
  if (!document)
    return error_code(err, -ENOMEM, "keeping how writers failed");
  r = json_write_file(dir_fd, file_name, document, 0600, false, err);
  for (size_t i = 0; i < count && r == 0; i++)
    writers[i]->failure_kept = writers[i]->failure_kept || is_new(writers[i]);
  return r;
}
