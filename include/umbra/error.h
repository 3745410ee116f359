/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Why something failed, as a number that programs can act on.  The list is append-only: a reason never changes its
 * value or its meaning.  Each has a counterpart in the answered system's VSS_E_* codes, named beside it.
 */
#ifndef UMBRA_ERROR_H
#define UMBRA_ERROR_H

enum umbra_reason {
  UMBRA_REASON_NONE = 0,
  UMBRA_REASON_INTERNAL = 1,             /* our own defect, or an errno with no better name (UNEXPECTED) */
  UMBRA_REASON_BAD_STATE = 2,            /* call in the wrong order (BAD_STATE) */
  UMBRA_REASON_NOT_FOUND = 3,            /* no such set, shadow copy, path, writer (OBJECT_NOT_FOUND) */
  UMBRA_REASON_INVALID = 4,              /* unusable argument or document (E_INVALIDARG) */
  UMBRA_REASON_ACCESS = 5,               /* permission (E_ACCESSDENIED) */
  UMBRA_REASON_VOLUME_NOT_SUPPORTED = 6, /* no provider can (VOLUME_NOT_SUPPORTED) */
  UMBRA_REASON_PROVIDER = 7,             /* a provider failed (PROVIDER_VETO) */
  UMBRA_REASON_STORAGE = 8,              /* no room for the shadow copy (INSUFFICIENT_STORAGE) */
  UMBRA_REASON_HOLD_TIMEOUT = 9,         /* volumes held longer than the limit (HOLD_WRITES_TIMEOUT) */
  UMBRA_REASON_FREEZE = 10,              /* a volume could not be frozen (FLUSH_WRITES_TIMEOUT) */
  UMBRA_REASON_WRITER = 11,              /* a writer failed for good (WRITERERROR_NONRETRYABLE) */
  UMBRA_REASON_WRITER_RETRY = 12,        /* a writer failed, trying again may help (WRITERERROR_RETRYABLE) */
  UMBRA_REASON_WRITER_TIMEOUT = 13,      /* a writer missed its deadline (WRITERERROR_TIMEOUT) */
  UMBRA_REASON_CONSISTENCY = 14,         /* less consistent than --require asks for */
  UMBRA_REASON_LIMIT = 15,               /* a named limit was reached (MAXIMUM_NUMBER_OF_*) */
  UMBRA_REASON_CANCELLED = 16,           /* stopped by the user (ASYNC_CANCELLED) */
  UMBRA_REASON_BUSY = 17,                /* in use by somebody else (SNAPSHOT_SET_IN_PROGRESS, VOLUME_IN_USE) */
  UMBRA_REASON_DAMAGED = 18,             /* a checksum or a structure does not hold */
  UMBRA_REASON_COORDINATOR_DIED = 19,    /* found by recovery: the process that led the set is gone */
};

#ifdef __cplusplus
extern "C" {
#endif

/* As documents and messages have it, "writer-retry"; "unknown" if it is none of these. Static text. */
const char *umbra_reason_name(int reason);

#ifdef __cplusplus
}
#endif

#endif
