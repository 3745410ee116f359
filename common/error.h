/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error a caller gets: negative errno, a reason from the public list, and one phrase without newline or full stop
 * that says what was being done and why it failed, with the operand quoted.  Owned by the caller, fixed size, never
 * allocates, so that it can be filled in while volumes are held.  Every function takes NULL for "not interested".
 *
 *     if (open(...) < 0)
 *       return error_errno(err, "opening '%s'", path);
 *     r = callee(err);
 *     if (r < 0)
 *       return error_prefix(err, r, "volume '%s'", name);
 */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

#include "umbra/error.h"

enum { ERROR_MESSAGE_BYTES_MAX = 1024 };

struct umbra_error {
  int code; /* negative errno, 0 = none */
  enum umbra_reason reason;
  char message[ERROR_MESSAGE_BYTES_MAX];
};

/* Sets all three and returns code, which must be negative. An existing error is replaced. */
int error_set(struct umbra_error *err, int code, enum umbra_reason reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Sets the error from errno: "FORMAT: strerror". The reason is derived from errno. Returns -errno. */
int error_errno(struct umbra_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Same, from a negative errno value in hand. */
int error_code(struct umbra_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "FORMAT: " before the message and returns code. An empty error is filled from code first. */
int error_prefix(struct umbra_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The reason that fits an errno (positive or negative). */
enum umbra_reason error_reason_from_errno(int code);

/* Lower-case name of a reason for documents and JSON, e.g. "writer-timeout". Never NULL. */
const char *error_reason_name(enum umbra_reason reason);

void error_clear(struct umbra_error *err);

#endif
