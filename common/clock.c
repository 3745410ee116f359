/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int64_t now_ns(clockid_t id) {
  struct timespec t;
  (void)clock_gettime(id, &t);
  return clock_from_timespec(t);
}

int64_t clock_monotonic_ns(void) { return now_ns(CLOCK_MONOTONIC); }
int64_t clock_realtime_ns(void) { return now_ns(CLOCK_REALTIME); }

const char *clock_format(int64_t realtime_ns, char buffer[CLOCK_TEXT_BYTES]) {
  int64_t seconds = realtime_ns / NS_PER_S, rest_ns = realtime_ns % NS_PER_S;
  if (rest_ns < 0) {
    rest_ns += NS_PER_S;
    seconds--;
  }
  time_t t = (time_t)seconds;
  struct tm tm;
  gmtime_r(&t, &tm);
  size_t used = strftime(buffer, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
  (void)snprintf(buffer + used, CLOCK_TEXT_BYTES - used, ".%09dZ", (int)rest_ns);
  return buffer;
}

int clock_parse(const char *text, int64_t *ret_realtime_ns) {
  struct tm tm = {0};
  const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
  if (!rest || *rest != '.')
    return -EINVAL;
  int64_t fraction_ns = 0;
  int digits = 0;
  for (rest++; *rest >= '0' && *rest <= '9' && digits < 9; rest++, digits++)
    fraction_ns = fraction_ns * 10 + (*rest - '0');
  if (digits != 9 || strcmp(rest, "Z") != 0)
    return -EINVAL;
  *ret_realtime_ns = (int64_t)timegm(&tm) * NS_PER_S + fraction_ns;
  return 0;
}
