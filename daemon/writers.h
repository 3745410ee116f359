/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_WRITERS_H
#define DAEMON_WRITERS_H

#include "daemon/service.h"

enum { WRITER_OBJECTS_MAX = 4096 };

/* What the host has listed: objects come, change and go. */
void writers_take_list(struct service *s, const json_t *list);

/* For Manager.ListWriters(): a(ssssss) of name, instance, level, kind, state, failure. */
int writers_append(const struct service *s, sd_bus_message *reply);

/* As sets_append_paths(). */
int writers_append_paths(struct service *s, char ***paths);

#endif
