/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The systemd unit of a cluster, by systemctl(1). All functions block until systemd is done. */
#ifndef WRITERS_POSTGRESQL_UNIT_H
#define WRITERS_POSTGRESQL_UNIT_H

#include <stdbool.h>

bool unit_known(const char *unit);  /* systemd runs here and has it. NULL: no. */
bool unit_active(const char *unit); /* NULL: no */

int unit_stop(const char *unit);  /* 0, or -EIO: systemctl says why on standard error */
int unit_start(const char *unit); /* the same */

#endif
