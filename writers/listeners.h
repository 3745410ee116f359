/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a process listens, as far as we can connect to it: Unix sockets by path, TCP of our own network namespace. */
#ifndef WRITERS_LISTENERS_H
#define WRITERS_LISTENERS_H

#include <limits.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/types.h>

enum { LISTENERS_MAX = 64, LISTENER_SOCKETS_MAX = 1024 /* of a process that are looked at */ };

struct listener {
  char path[128]; /* in the process's mount namespace; "": host and port */
  char host[INET6_ADDRSTRLEN];
  int port;
};

/* Unix sockets first, then TCP by port. Returns how many; those past LISTENERS_MAX are left out. As root. */
size_t listeners_of(pid_t pid, struct listener list[LISTENERS_MAX]);

#endif
