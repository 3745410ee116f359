/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rank: innermost; no other lock is taken while it is held. Protects everything below. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum log_level level_max = LOG_LEVEL_INFO;
static bool level_known;
static bool holding;
static char held[LOG_HELD_BYTES_MAX];
static size_t held_bytes;
static unsigned dropped;

void log_set_level(enum log_level level) {
  pthread_mutex_lock(&lock);
  level_max = level;
  level_known = true;
  pthread_mutex_unlock(&lock);
}

static void put(const char *line, size_t length) {
  while (length > 0) {
    ssize_t n = write(STDERR_FILENO, line, length);
    if (n <= 0)
      return; /* nowhere left to complain */
    line += n;
    length -= (size_t)n;
  }
}

void log_message(enum log_level level, const char *format, ...) {
  char line[LOG_LINE_BYTES_MAX];
  pthread_mutex_lock(&lock);
  if (!level_known) {
    level_known = true;
    if (getenv("UMBRA_DEBUG"))
      level_max = LOG_LEVEL_DEBUG;
  }
  bool wanted = level <= level_max;
  pthread_mutex_unlock(&lock);
  if (!wanted)
    return;

  size_t used = (size_t)snprintf(line, sizeof line, "umbra: %s", level == LOG_LEVEL_WARNING ? "warning: " : "");
  va_list args;
  va_start(args, format);
  int n = vsnprintf(line + used, sizeof line - used - 1, format, args);
  va_end(args);
  if (n < 0)
    return;
  used = strlen(line);
  line[used++] = '\n';

  pthread_mutex_lock(&lock);
  if (!holding)
    put(line, used);
  else if (held_bytes + used <= sizeof held) {
    memcpy(held + held_bytes, line, used);
    held_bytes += used;
  } else
    dropped++;
  pthread_mutex_unlock(&lock);
}

void log_hold(void) {
  pthread_mutex_lock(&lock);
  holding = true;
  pthread_mutex_unlock(&lock);
}

void log_release(void) {
  pthread_mutex_lock(&lock);
  holding = false;
  put(held, held_bytes);
  held_bytes = 0;
  unsigned lost = dropped;
  dropped = 0;
  pthread_mutex_unlock(&lock);
  if (lost)
    log_warning("%u messages did not fit the buffer while volumes were held", lost);
}
