/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One domain that runs under libvirt's QEMU driver (qemu:///system), and the files it has as disks. Blocks on
 * libvirtd. */
#ifndef WRITERS_LIBVIRT_DOMAIN_H
#define WRITERS_LIBVIRT_DOMAIN_H

#include "common/error.h"

#include <libvirt/libvirt.h>
#include <stdbool.h>
#include <stddef.h>

enum {
  DOMAINS_MAX = 256,
  DOMAIN_IMAGES_MAX = 256,
  DOMAIN_INSTANCE_BYTES = 65,
  DOMAIN_DOCUMENT_BYTES_MAX = 256 * 1024
};

struct domain {
  char *name;
  char uuid[VIR_UUID_STRING_BUFLEN];
  char *images[DOMAIN_IMAGES_MAX]; /* absolute: disks with their backing chains, NVRAM; regular files only */
  size_t count;
  bool has_agent; /* a channel for a guest agent */
};

/* Whether libvirtd (or virtqemud) has a socket: it runs, or systemd starts it when it is asked. */
bool domain_daemon_is_there(void);

/* *ret: virConnectClose(). -EOPNOTSUPP: it is there without its QEMU driver; -ECONNREFUSED. */
int domain_connect(virConnectPtr *ret, struct umbra_error *err);

/* Of one that runs; *ret: domain_done() in any case. -E2BIG: it has more images than DOMAIN_IMAGES_MAX. */
int domain_examine(virDomainPtr handle, struct domain *ret, struct umbra_error *err);
void domain_done(struct domain *d);

/* What it is called as an instance: its name, or, of a name that no instance may have, its UUID. */
const char *domain_instance(const struct domain *d, char buffer[DOMAIN_INSTANCE_BYTES]);

/* What events bring back: JSON text, free(); NULL: no memory. The reverse: *ret is the caller's. */
char *domain_key(const struct domain *d);
int domain_from_key(const char *key, struct domain *ret, struct umbra_error *err);

/*
 * A domain's document for another place, where each image is at what place() gives for it (free()): without UUID, MAC
 * addresses and what was of the running one, named NAME-restored.  The backing chains are in it, since those in the
 * images name the old place. *ret: free().
 */
int domain_move(const char *xml, const struct domain *d, char *(*place)(const void *context, const char *path),
                const void *context, char **ret, struct umbra_error *err);

/* What libvirt says of the last call that failed in this thread. Returns code. */
int domain_failed(struct umbra_error *err, int code, const char *what, const char *name);

#endif
