/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading files that another process holds a write lease on (fcntl(2), F_SETLEASE; Samba's kernel oplocks) without
 * breaking the lease: every open of such a file, whatever its flags (O_PATH aside, which cannot read), signals the
 * holder and waits for it. So the file is not opened: /proc/locks says who holds a lease on what, and pidfd_getfd(2)
 * gives another descriptor of the open file the holder already has.  Reading through it with pread(2) changes nothing
 * for the holder; its file offset is never touched.
 *
 * What this cannot do: a lease taken between the look at /proc/locks and the open (some microseconds) is broken by
 * the open, which is made with O_NONBLOCK so that it never waits; and a holder that has its file open only for
 * writing gives no descriptor to read from (-EWOULDBLOCK).
 */
#ifndef PROVIDERS_FILES_LEASE_H
#define PROVIDERS_FILES_LEASE_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LEASES_MAX = 4096, LEASE_TEXT_BYTES = 64 * 1024 };

struct lease {
  uint64_t inode;
  dev_t device;
  pid_t holder;
};

struct lease_watch {
  int fd; /* /proc/locks; -1: not to be had */
  char *text;
  struct lease *leases;
  size_t count;
  int64_t looked_ns, cost_ns; /* when, and how long a look takes: the next is due after a few times that */
};

int lease_watch_init(struct lease_watch *w);
void lease_watch_done(struct lease_watch *w);

/* What lease_open() gave. */
enum lease_access {
  LEASE_NONE,        /* a descriptor of our own */
  LEASE_SHARED,      /* of another process's open file: read with pread(2) only, at multiples of 4096 */
  LEASE_FOR_WRITING, /* the same, and it cannot be read from */
};

/*
 * Opens a regular file for reading, by its name in a directory, without breaking a lease. device: of the superblock,
 * as /proc/locks names it; inode: of the file. Allocates nothing. Descriptor or negative errno: -EWOULDBLOCK when a
 * lease stands in the way, else as openat(2).
 */
int lease_open(struct lease_watch *w, int directory_fd, const char *name, dev_t device, uint64_t inode,
               enum lease_access *ret);

#endif
