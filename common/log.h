/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages for people, on standard error, one line each: "umbra: MESSAGE".  Libraries log only debug; a program logs
 * each error once, where it is handled.  While volumes are held nothing may reach a file or a terminal that could lie
 * on one of them: between log_hold() and log_release() lines wait in a buffer made beforehand (what does not fit is
 * counted and the count is printed).
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum { LOG_LINE_BYTES_MAX = 2048, LOG_HELD_BYTES_MAX = 64 * 1024 };

/* Messages above this level are dropped; default LOG_LEVEL_INFO, LOG_LEVEL_DEBUG with UMBRA_DEBUG set. */
void log_set_level(enum log_level level);
void log_message(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

void log_hold(void);
void log_release(void);

#endif
