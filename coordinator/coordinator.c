/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/coordinator.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static char *directory_from(const char *variable, const char *fallback) {
  const char *value = getenv(variable);
  return strdup(value && *value ? value : fallback);
}

int coordinator_new(struct coordinator **ret, struct umbra_error *err) {
  struct coordinator *c = calloc(1, sizeof *c);
  if (!c)
    return error_code(err, -ENOMEM, "starting the coordinator");
  c->state_dir = directory_from("UMBRA_STATE_DIR", "/var/lib/umbra");
  c->runtime_dir = directory_from("UMBRA_RUNTIME_DIR", "/run/umbra");
  c->config_dir = directory_from("UMBRA_CONFIG_DIR", "/etc/umbra");
  c->cancel_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int r = sd_event_new(&c->loop);
  if (r < 0 || c->cancel_event < 0 || !c->state_dir || !c->runtime_dir || !c->config_dir) {
    coordinator_free(c);
    return error_code(err, r < 0 ? r : -ENOMEM, "starting the coordinator");
  }
  *ret = c;
  return 0;
}

void coordinator_free(struct coordinator *c) {
  if (!c)
    return;
  sd_event_unref(c->loop);
  if (c->cancel_event >= 0)
    (void)close(c->cancel_event);
  free(c->state_dir);
  free(c->runtime_dir);
  free(c->config_dir);
  free(c);
}

static int make_directory(const char *base, const char *name, mode_t mode, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "%s%s%s", base, *name ? "/" : "", name) < 0)
    return error_code(err, -ENOMEM, "making '%s'", base);
  int r = fd_make_directories(path, mode);
  return r < 0 ? error_code(err, r, "making directory '%s'", path) : 0;
}

int coordinator_prepare(struct coordinator *c, struct umbra_error *err) {
  if (geteuid() != 0)
    return error_set(err, -EPERM, UMBRA_REASON_ACCESS, "only root can make, show or remove shadow copies");
  /* 0700: what shadow copies hold is not for everybody, whatever the live file's mode was meanwhile changed to. */
  static const char *const state[] = {"", "sets", "storage"}, *const runtime[] = {"", "sets", "volumes", "mounts",
                                                                                  "mnt"};
  for (size_t i = 0; i < sizeof state / sizeof state[0]; i++) {
    int r = make_directory(c->state_dir, state[i], 0700, err);
    if (r < 0)
      return r;
  }
  for (size_t i = 0; i < sizeof runtime / sizeof runtime[0]; i++) {
    int r = make_directory(c->runtime_dir, runtime[i], 0700, err);
    if (r < 0)
      return r;
  }
  return limits_load(c->config_dir, &c->limits, err);
}

void coordinator_cancel(struct coordinator *c) { (void)eventfd_write(c->cancel_event, 1); }

bool coordinator_cancelled(const struct coordinator *c) {
  struct pollfd p = {.fd = c->cancel_event, .events = POLLIN};
  return poll(&p, 1, 0) == 1;
}

void coordinator_clear_cancel(struct coordinator *c) {
  eventfd_t ignored;
  (void)eventfd_read(c->cancel_event, &ignored);
}

void coordinator_warn(const struct coordinator *c, const char *format, ...) {
  char message[ERROR_MESSAGE_BYTES_MAX];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(message, sizeof message, format, args);
  va_end(args);
  if (c->warning)
    c->warning(c->warning_userdata, message);
}
