/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const reason_names[] = {
    [UMBRA_REASON_NONE] = "none",
    [UMBRA_REASON_INTERNAL] = "internal",
    [UMBRA_REASON_BAD_STATE] = "bad-state",
    [UMBRA_REASON_NOT_FOUND] = "not-found",
    [UMBRA_REASON_INVALID] = "invalid",
    [UMBRA_REASON_ACCESS] = "access",
    [UMBRA_REASON_VOLUME_NOT_SUPPORTED] = "volume-not-supported",
    [UMBRA_REASON_PROVIDER] = "provider",
    [UMBRA_REASON_STORAGE] = "storage",
    [UMBRA_REASON_HOLD_TIMEOUT] = "hold-timeout",
    [UMBRA_REASON_FREEZE] = "freeze",
    [UMBRA_REASON_WRITER] = "writer",
    [UMBRA_REASON_WRITER_RETRY] = "writer-retry",
    [UMBRA_REASON_WRITER_TIMEOUT] = "writer-timeout",
    [UMBRA_REASON_CONSISTENCY] = "consistency",
    [UMBRA_REASON_LIMIT] = "limit",
    [UMBRA_REASON_CANCELLED] = "cancelled",
    [UMBRA_REASON_BUSY] = "busy",
    [UMBRA_REASON_DAMAGED] = "damaged",
    [UMBRA_REASON_COORDINATOR_DIED] = "coordinator-died",
};

const char *error_reason_name(enum umbra_reason reason) {
  if ((size_t)reason >= sizeof reason_names / sizeof reason_names[0] || !reason_names[reason])
    return "unknown";
  return reason_names[reason];
}

enum umbra_reason error_reason_from_errno(int code) {
  switch (code < 0 ? -code : code) {
  case ENOENT:
  case ENODEV:
  case ENXIO:
    return UMBRA_REASON_NOT_FOUND;
  case EACCES:
  case EPERM:
    return UMBRA_REASON_ACCESS;
  case ENOSPC:
  case EDQUOT:
    return UMBRA_REASON_STORAGE;
  case EBUSY:
    return UMBRA_REASON_BUSY;
  case EINVAL:
    return UMBRA_REASON_INVALID;
  case ECANCELED:
    return UMBRA_REASON_CANCELLED;
  case EBADMSG:
    return UMBRA_REASON_DAMAGED;
  default:
    return UMBRA_REASON_INTERNAL;
  }
}

static int __attribute__((format(printf, 4, 0)))
set_va(struct umbra_error *err, int code, enum umbra_reason reason, const char *format, va_list args) {
  if (!err)
    return code;
  err->code = code;
  err->reason = reason;
  (void)vsnprintf(err->message, sizeof err->message, format, args);
  return code;
}

int error_set(struct umbra_error *err, int code, enum umbra_reason reason, const char *format, ...) {
  va_list args;
  va_start(args, format);
  set_va(err, code, reason, format, args);
  va_end(args);
  return code;
}

static void append_strerror(struct umbra_error *err, int code) {
  if (!err)
    return;
  size_t used = strlen(err->message);
  /* strerrordesc_np() returns static text: it neither allocates nor reads a locale, so it is safe during a hold. */
  const char *text = strerrordesc_np(-code);
  (void)snprintf(err->message + used, sizeof err->message - used, ": %s", text ? text : "unknown error");
}

int error_errno(struct umbra_error *err, const char *format, ...) {
  int code = errno > 0 ? -errno : -EIO;
  va_list args;
  va_start(args, format);
  set_va(err, code, error_reason_from_errno(code), format, args);
  va_end(args);
  append_strerror(err, code);
  return code;
}

int error_code(struct umbra_error *err, int code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  set_va(err, code, error_reason_from_errno(code), format, args);
  va_end(args);
  append_strerror(err, code);
  return code;
}

int error_prefix(struct umbra_error *err, int code, const char *format, ...) {
  if (!err)
    return code;
  if (err->code == 0) {
    error_set(err, code, error_reason_from_errno(code), "%s", "");
    const char *text = strerrordesc_np(-code);
    (void)snprintf(err->message, sizeof err->message, "%s", text ? text : "unknown error");
  }
  char prefix[ERROR_MESSAGE_BYTES_MAX];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(prefix, sizeof prefix, format, args);
  va_end(args);
  size_t length = strlen(prefix);
  if (length > sizeof err->message - 3)
    length = sizeof err->message - 3;
  size_t keep = strlen(err->message);
  if (keep > sizeof err->message - 3 - length)
    keep = sizeof err->message - 3 - length;
  memmove(err->message + length + 2, err->message, keep);
  memcpy(err->message, prefix, length);
  memcpy(err->message + length, ": ", 2);
  err->message[length + 2 + keep] = 0;
  err->code = code;
  return code;
}

void error_clear(struct umbra_error *err) {
  if (err)
    *err = (struct umbra_error){0};
}
