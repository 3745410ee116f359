/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/calls.h"
#include "daemon/sets.h"
#include "daemon/writers.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

/* Storage with less than a part of this free is low. */
enum { LOW_STORAGE_PART = 10 };

/* ---- lists ---- */

static bool is_low(const json_t *line) {
  json_int_t free_bytes = json_get_integer_or(line, "free_bytes", 0),
             size_bytes = json_get_integer_or(line, "size_bytes", 0);
  return json_get_boolean_or(line, "over_warning", false) ||
         (size_bytes > 0 && free_bytes < size_bytes / LOW_STORAGE_PART);
}

/* Told once, until there is room again. */
static void tell_low_storage(struct service *s, const json_t *storage) {
  CLEANUP_JSON json_t *before = s->low_storage;
  size_t i;
  json_t *line;
  s->low_storage = json_object();
  json_array_foreach(storage, i, line) {
    const char *directory = json_get_string_or(line, "directory", "");
    if (!is_low(line))
      continue;
    (void)json_object_set_new(s->low_storage, directory, json_true());
    if (!json_object_get(before, directory))
      (void)sd_bus_emit_signal(s->bus, SERVICE_PATH, SERVICE_NAME ".Manager", "LowStorage", "stt", directory,
                               (uint64_t)json_get_integer_or(line, "free_bytes", 0),
                               (uint64_t)json_get_integer_or(line, "size_bytes", 0));
  }
}

/* Only now: who finds the name finds all sets. */
static void take_name(struct service *s) {
  if (s->named)
    return;
  s->named = true;
  int r = sd_bus_request_name(s->bus, SERVICE_NAME, 0);
  if (r < 0) {
    log_error("taking the name %s on the bus: %s%s", SERVICE_NAME, strerrordesc_np(-r),
              r == -EACCES || r == -EPERM ? " (its D-Bus policy lets user umbra have it: see umbrad(8))" : "");
    (void)sd_event_exit(s->loop, EXIT_FAILURE);
    return;
  }
  (void)sd_notify(0, "READY=1");
  service_refresh_writers(s);
}

static int answer_inventory(struct call *c, const json_t *result, int fd) {
  (void)fd;
  struct service *s = c->service;
  sets_take_list(s, json_object_get(result, "sets"), c->number);
  tell_low_storage(s, json_object_get(result, "storage"));
  take_name(s);
  return 0;
}

static int answer_writers(struct call *c, const json_t *result, int fd) {
  (void)fd;
  writers_take_list(c->service, json_object_get(result, "writers"));
  return 0;
}

/* Is a list under way? What changes meanwhile is listed once more after it. */
static bool under_way(struct service *s, const char *what) {
  for (const struct call *c = s->calls; c; c = c->next)
    if (!c->sender && strcmp(json_get_string_or(c->request, "text", ""), what) == 0)
      return true;
  return false;
}

void service_refresh_sets(struct service *s) {
  s->listing_sets_again = s->listing_sets;
  if (s->listing_sets || s->stopping)
    return;
  s->listing_sets =
      calls_begin_own(s, json_pack("{s:s, s:s}", "do", "list", "text", "inventory"), answer_inventory) != NULL;
}

void service_refresh_writers(struct service *s) {
  s->listing_writers_again = s->listing_writers;
  if (s->listing_writers || s->stopping)
    return;
  s->listing_writers =
      calls_begin_own(s, json_pack("{s:s, s:s}", "do", "list", "text", "writers"), answer_writers) != NULL;
}

/* ---- the host ---- */

static int on_line(void *context, json_t *line) {
  struct service *s = context;
  const char *event = json_get_string_or(line, "event", "");
  if (strcmp(event, "pong") == 0)
    s->ping_answered = true;
  else if (strcmp(event, "changed") == 0) {
    if (strcmp(json_get_string_or(line, "what", ""), "writers") == 0)
      service_refresh_writers(s);
    else
      service_refresh_sets(s);
  } else
    calls_take_report(s, line);
  if (s->listing_sets && !under_way(s, "inventory")) {
    s->listing_sets = false;
    if (s->listing_sets_again)
      service_refresh_sets(s);
    else if (!s->named) {
      log_error("the sets could not be listed");
      (void)sd_event_exit(s->loop, EXIT_FAILURE);
    }
  }
  if (s->listing_writers && !under_way(s, "writers")) {
    s->listing_writers = false;
    if (s->listing_writers_again)
      service_refresh_writers(s);
  }
  return 0;
}

static void on_host_gone(void *context, const char *why) {
  struct service *s = context;
  if (!s->stopping)
    log_error("the host process is gone%s%s", *why ? ": " : "", why);
  (void)sd_event_exit(s->loop, s->stopping ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* The host ends when all that is under way has come to an end, and we then. */
static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *context) {
  (void)source;
  (void)info;
  struct service *s = context;
  if (s->stopping)
    return sd_event_exit(s->loop, EXIT_FAILURE);
  s->stopping = true;
  (void)sd_notify(0, "STOPPING=1");
  lines_finish(s->host);
  return 0;
}

/* The watchdog is told only while the host answers, too. */
static int on_watchdog(sd_event_source *source, uint64_t usec, void *context) {
  (void)usec;
  struct service *s = context;
  uint64_t limit_us = 0;
  if (s->ping_answered)
    (void)sd_notify(0, "WATCHDOG=1");
  s->ping_answered = false;
  CLEANUP_JSON json_t *ping = json_pack("{s:s, s:I}", "do", "ping", "call", (json_int_t)++s->last_number);
  (void)lines_send(s->host, ping, -1);
  (void)sd_watchdog_enabled(0, &limit_us);
  (void)sd_event_source_set_time_relative(source, limit_us / 3);
  return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int start(struct service *s, int host_fd) {
  struct lines_options options = {.fd = host_fd,
                                  .line_bytes_max = LINES_REPORT_BYTES_MAX,
                                  .received = on_line,
                                  .ended = on_host_gone,
                                  .context = s};
  uint64_t limit_us = 0;
  int r = sd_event_new(&s->loop);
  if (r >= 0)
    r = lines_new(&s->host, s->loop, &options, NULL);
  if (r >= 0)
    r = sd_event_add_signal(s->loop, NULL, SIGTERM, on_stop, s);
  if (r >= 0)
    r = sd_event_add_signal(s->loop, NULL, SIGINT, on_stop, s);
  if (r >= 0 && sd_watchdog_enabled(0, &limit_us) > 0)
    r = sd_event_add_time_relative(s->loop, NULL, CLOCK_MONOTONIC, limit_us / 3, 0, on_watchdog, s);
  if (r < 0)
    log_error("starting: %s", strerrordesc_np(-r));
  return r;
}

static int join_bus(struct service *s) {
  int r = sd_bus_open_system_with_description(&s->bus, "umbrad");
  if (r < 0) {
    log_error("connecting to the system bus: %s", strerrordesc_np(-r));
    return r;
  }
  r = sd_bus_attach_event(s->bus, s->loop, SD_EVENT_PRIORITY_NORMAL);
  if (r >= 0)
    r = sd_bus_set_exit_on_disconnect(s->bus, 1);
  if (r >= 0)
    r = manager_export(s);
  if (r >= 0)
    r = sets_export(s);
  if (r >= 0)
    r = shadows_export(s);
  if (r >= 0)
    r = writers_export(s);
  if (r < 0)
    log_error("exporting objects: %s", strerrordesc_np(-r));
  return r;
}

int service_run(const struct directories *directories, const char *group, int host_fd, pid_t host_pid) {
  struct service s = {.directories = directories, .group = group, .ping_answered = true};
  struct stat mounts;
  if (stat("/proc/self/ns/mnt", &mounts) == 0)
    s.mount_namespace = mounts.st_ino;
  int r = start(&s, host_fd);
  if (r >= 0)
    r = join_bus(&s);
  if (r >= 0) {
    service_refresh_sets(&s);
    r = sd_event_loop(s.loop);
  }
  calls_free_all(&s);
  sets_free_all(&s);
  json_decref(s.writers);
  json_decref(s.low_storage);
  if (s.bus)
    (void)sd_bus_flush(s.bus);
  sd_bus_unref(s.bus);
  lines_free(s.host);
  sd_event_unref(s.loop);
  /* It ends by itself when the channel is closed, after what it has to end. */
  while (waitpid(host_pid, NULL, 0) < 0 && errno == EINTR)
    ;
  return r < 0 ? EXIT_FAILURE : r;
}
