/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors on the bus: org.umbra.Umbra1.Error.REASON, a reason of umbra/error.h in words put together
 * ("writer-timeout": WriterTimeout). */
#ifndef COMMON_BUS_ERROR_H
#define COMMON_BUS_ERROR_H

#include "umbra/error.h"

#define BUS_ERROR_PREFIX "org.umbra.Umbra1.Error."
enum { BUS_ERROR_BYTES = 64 };

/* The name; the buffer is the caller's. */
const char *bus_error_name(enum umbra_reason reason, char buffer[BUS_ERROR_BYTES]);

/* The reason that a name means, and the errno that goes with it best (*ret_code, negative). Other names:
 * UMBRA_REASON_INTERNAL, -EIO. */
enum umbra_reason bus_error_reason(const char *name, int *ret_code);

#endif
