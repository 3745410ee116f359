/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time: monotonic for deadlines and figures, realtime for documents. Neither call blocks or allocates. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

int64_t clock_monotonic_ns(void);
int64_t clock_realtime_ns(void);

/* "2026-11-22T10:00:00.123456789Z"; the buffer is the caller's. */
enum { CLOCK_TEXT_BYTES = 40 };
const char *clock_format(int64_t realtime_ns, char buffer[CLOCK_TEXT_BYTES]);

/* The reverse, only for the form that clock_format() writes. 0 or -EINVAL. */
int clock_parse(const char *text, int64_t *ret_realtime_ns);

static inline int64_t clock_from_timespec(struct timespec t) { return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec; }
static inline double clock_ns_to_ms(int64_t duration_ns) { return (double)duration_ns / (double)NS_PER_MS; }

#endif
