/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all sets of one process share: directories, limits, the event loop, and whom to tell.  A process has one; the
 * `umbra` program makes it for a command, a daemon could keep it.
 */
#ifndef COORDINATOR_COORDINATOR_H
#define COORDINATOR_COORDINATOR_H

#include "common/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Defaults in limits.c; an admin sets them in CONFIG/umbra.conf, umbra.conf(5). */
struct coordinator_limits {
  int64_t hold_ms;    /* first FIFREEZE to last FITHAW */
  int64_t freeze_ms;  /* a writer's freeze to its thaw */
  int64_t prepare_ms; /* each other event of a writer; a provider without progress */
  int64_t queue_ms;   /* waiting for other sets of the same volumes */
};

typedef void (*coordinator_progress)(void *userdata, const char *phase, const char *volume, uint64_t done_bytes,
                                     uint64_t total_bytes);
typedef void (*coordinator_warning)(void *userdata, const char *message);

struct coordinator {
  char *state_dir, *runtime_dir, *config_dir;
  struct coordinator_limits limits;
  sd_event *loop;
  int cancel_event; /* eventfd; written by coordinator_cancel(), cleared when a set is started */
  coordinator_progress progress;
  void *progress_userdata;
  coordinator_warning warning;
  void *warning_userdata;
};

int coordinator_new(struct coordinator **ret, struct umbra_error *err);
void coordinator_free(struct coordinator *c);

/* Makes the directories that are needed for making sets and reads the limits. Fails clearly when not allowed. */
int coordinator_prepare(struct coordinator *c, struct umbra_error *err);

/* Async-signal-safe. */
void coordinator_cancel(struct coordinator *c);
bool coordinator_cancelled(const struct coordinator *c);
void coordinator_clear_cancel(struct coordinator *c);

void coordinator_warn(const struct coordinator *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* limits.c */
int limits_load(const char *config_dir, struct coordinator_limits *ret, struct umbra_error *err);

#endif
