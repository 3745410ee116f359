/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The systemd units of a namespace's journald (systemd-journald@.service(8)): two sockets and the service.  Units
 * with LogNamespace= require the sockets, and would be stopped with them (systemd.exec(5)).  All block on systemctl.
 */
#ifndef WRITERS_JOURNAL_UNITS_H
#define WRITERS_JOURNAL_UNITS_H

#include "common/error.h"

#include <stdbool.h>

/*
 * -EBUSY, and nothing is stopped: units that log there are active, systemd does not run here, or one of the three
 * does not stop; those that were stopped are started again then.
 */
int units_stop(const char *namespace, struct umbra_error *err);

/* False if one of them does not start, or systemd does not run here. */
bool units_start(const char *namespace);

#endif
