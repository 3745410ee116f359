/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long a writer may take for an event.  The machine's limits are in umbra.conf (limits.c); a writer may ask for
 * less in its metadata document; what the admin has set for a writer's program and an event, in
 * CONFIG/timeouts.d/PROGRAM (lines `EVENT = MS`, umbra.conf(5)), counts before both.
 */
#ifndef COORDINATOR_WRITER_LIMITS_H
#define COORDINATOR_WRITER_LIMITS_H

#include "coordinator/coordinator.h"
#include "coordinator/writer.h"

enum {
  WRITER_LIMITS_BYTES_MAX = 4096, /* of a file */
  WRITER_LIMIT_MS_MIN = 100,
  WRITER_LIMIT_MS_MAX = 86400000,
  WRITER_FREEZE_LIMIT_MS_MAX = 3600000,
};

/* ms: by event, 0: not set. None are set without a file. Names the file and the line of what is wrong. */
int writer_limits_load(const char *config_dir, const char *program, int64_t ms[WRITER_EVENT_MAX],
                       struct umbra_error *err);

/* Durable, as a whole; the file goes when none is set. */
int writer_limits_store(const char *config_dir, const char *program, const int64_t ms[WRITER_EVENT_MAX],
                        struct umbra_error *err);

/* value: milliseconds, or "default", which is 0. -EINVAL: no such event (abort cannot be limited), or no such number.
 */
int writer_limits_set(int64_t ms[WRITER_EVENT_MAX], const char *event, const char *value, struct umbra_error *err);

int64_t writer_limit_ms(const struct writer *w, enum writer_event event, const struct coordinator_limits *machine);

/* Of all writers without a limit of their own. */
int64_t writer_limit_of_machine_ms(enum writer_event event, const struct coordinator_limits *machine);

#endif
