/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus process: no privilege, one loop, D-Bus on one side and the host on the other.  Everything that D-Bus can
 * read is answered from memory; everything that does something is a call (calls.h) that the host answers later.
 */
#ifndef DAEMON_SERVICE_H
#define DAEMON_SERVICE_H

#include "daemon/lines.h"
#include "daemon/directories.h"

#include "common/bus-error.h"
#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#define SERVICE_NAME "org.umbra.Umbra1"
#define SERVICE_PATH "/org/umbra/Umbra1"
enum { SERVICE_PATH_BYTES = 512 };

struct call;
struct set_object;

struct service {
  const struct directories *directories;
  const char *group; /* whose members may do everything */
  sd_event *loop;
  sd_bus *bus;
  struct lines *host;
  struct call *calls;       /* calls.c */
  uint64_t mount_namespace; /* of both processes: its inode */
  size_t call_count, ordinary_count;
  int64_t last_number;
  struct set_object *sets; /* sets.c */
  json_t *writers;         /* as they were listed last: an array; writers.c */
  json_t *low_storage;     /* of which directories it has been told: an array of them */
  bool listing_sets, listing_sets_again, listing_writers, listing_writers_again;
  bool named, stopping;
  bool ping_answered; /* the host, since the last time the watchdog was told */
};

/* As umbrad's bus process: host_fd is the channel, host_pid who is at its other end. Returns an exit status. */
int service_run(const struct directories *directories, const char *group, int host_fd, pid_t host_pid);

/* The catalogue or the writers may have changed: they are listed again, once at a time. */
void service_refresh_sets(struct service *s);
void service_refresh_writers(struct service *s);

/* A job's report of something that is not an answer. */
struct call *service_find_call(struct service *s, int64_t number);

/* manager.c, sets.c, shadows.c, writers.c: put their objects on the bus. 0 or negative errno. */
int manager_export(struct service *s);
int sets_export(struct service *s);
int shadows_export(struct service *s);
int writers_export(struct service *s);

#endif
