/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/libvirt/restore.h"

#include "common/cleanup.h"

#include <errno.h>

static void close_connection(virConnectPtr *c) {
  if (*c)
    (void)virConnectClose(*c);
}
#define CLEANUP_CONNECTION CLEANUP(close_connection)

int restore_begin(struct umbra_writer_session *s, const struct domain *d) {
  CLEANUP_CONNECTION virConnectPtr connection = NULL;
  struct umbra_error err = {0};
  if (umbra_writer_restores_elsewhere(s))
    return 0;
  int r = domain_connect(&connection, &err);
  if (r < 0)
    return umbra_writer_fail(s, r, "%s", err.message);
  virDomainPtr handle = virDomainLookupByUUIDString(connection, d->uuid);
  bool runs = handle && virDomainIsActive(handle) != 0;
  if (handle)
    (void)virDomainFree(handle);
  return runs ? umbra_writer_fail(s, -EBUSY, "domain '%s' runs: end it first (virsh shutdown '%s')", d->name, d->name)
              : 0;
}

static char *place(const void *context, const char *path) { return umbra_writer_restore_path(context, path); }

static int define(struct umbra_writer_session *s, const struct domain *d, const char *xml) {
  CLEANUP_CONNECTION virConnectPtr connection = NULL;
  struct umbra_error err = {0};
  int r = domain_connect(&connection, &err);
  virDomainPtr handle = r < 0 ? NULL : virDomainDefineXML(connection, xml);
  if (r == 0 && !handle)
    r = domain_failed(&err, -EIO, "defining", d->name);
  if (r < 0)
    return umbra_writer_fail(s, r, "%s", err.message);
  CLEANUP_FREE char *message = NULL;
  if (asprintf(&message, "domain '%s' is defined; virsh start '%s' starts it", virDomainGetName(handle),
               virDomainGetName(handle)) < 0)
    message = NULL;
  (void)virDomainFree(handle);
  if (message)
    umbra_writer_answer(s, "message", message);
  return 0;
}

int restore_end(struct umbra_writer_session *s, const struct domain *d) {
  bool elsewhere = umbra_writer_restores_elsewhere(s);
  const char *xml = umbra_writer_saved_answer(s, "prepare-backup", elsewhere ? RESTORE_RUNNING : RESTORE_PERSISTENT);
  CLEANUP_FREE char *moved = NULL;
  struct umbra_error err = {0};
  if (!xml) {
    umbra_writer_answer(s, "message",
                        "the backup has no domain to be defined: it was transient, or did not take part");
    return 0;
  }
  int r = elsewhere ? domain_move(xml, d, place, s, &moved, &err) : 0;
  return r < 0 ? umbra_writer_fail(s, r, "%s", err.message) : define(s, d, elsewhere ? moved : xml);
}
