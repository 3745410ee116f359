/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking journald, over its varlink socket (https://varlink.org: JSON objects that end in NUL), as journalctl --sync,
 * --flush and --relinquish-var do.  Blocks until journald has done it, or the deadline.
 */
#ifndef WRITERS_JOURNAL_JOURNALD_H
#define WRITERS_JOURNAL_JOURNALD_H

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { JOURNALD_REPLY_BYTES_MAX = 64 * 1024 };

/* namespace: "" for the system's. True if it has a socket: it runs, or would be started. */
bool journald_is_there(const char *namespace);

/*
 * method: "Synchronize", "FlushToVar", "RelinquishVar". 0; -EOPNOTSUPP: it does not do that, as in a
 * namespace; -ETIMEDOUT; -ECONNREFUSED, -ENOENT: it does not run; -EIO, -EBADMSG.
 */
int journald_ask(const char *namespace, const char *method, int64_t deadline_ns, struct umbra_error *err);

#endif
