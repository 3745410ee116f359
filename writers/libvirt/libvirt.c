/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writer for libvirt: an instance a domain that runs with disks in files.  Its guest agent freezes the filesystems in
 * it, and thaws them, by a process that outlives this one if need be (keeper.h).  A domain without an agent, or one
 * that is paused, is as after a power cut, and an answer says so: it promises no more.
 */
#include "common/cleanup.h"
#include "common/log.h"
#include "umbra/writer.h"
#include "writers/libvirt/domain.h"
#include "writers/libvirt/keeper.h"
#include "writers/libvirt/restore.h"

#include <errno.h>
#include <string.h>

enum {
  IDENTIFY_S = 20, /* a libvirtd that does not answer ends the process then */
  FREEZE_WAIT_MS = 30000,
  THAW_WAIT_MS = 10000,
};

struct job {
  struct domain domain;
  struct keeper *keeper; /* NULL: none is needed */
};

/* ---- identify ---- */

static int add_images(struct umbra_writer_instance *one, const struct domain *d) {
  for (size_t i = 0; i < d->count; i++) {
    const char *slash = strrchr(d->images[i], '/');
    CLEANUP_FREE char *directory = strndup(d->images[i], (size_t)(slash - d->images[i]));
    if (!directory)
      return -ENOMEM;
    umbra_writer_instance_add_files(one, "images", directory[0] ? directory : "/", slash + 1, 0);
  }
  return 0;
}

static int add_domain(struct umbra_writer_list *list, virDomainPtr handle) {
  char name[DOMAIN_INSTANCE_BYTES];
  struct domain d;
  struct umbra_error err = {0};
  int r = domain_examine(handle, &d, &err);
  if (r == 0 && d.count > 0) {
    struct umbra_writer_instance *one = umbra_writer_list_add(list, domain_instance(&d, name), UMBRA_WRITER_BACK_END);
    CLEANUP_FREE char *key = domain_key(&d);
    if (key) {
      umbra_writer_instance_set_key(one, key);
      umbra_writer_instance_set_restore(one, "custom", NULL);
      r = add_images(one, &d);
    } else
      r = -ENOMEM;
  } else if (r < 0 && r != -ENOMEM && virDomainIsActive(handle) == 1) {
    umbra_writer_instance_fail(umbra_writer_list_add(list, domain_instance(&d, name), UMBRA_WRITER_BACK_END), "%s",
                               err.message);
    r = 0;
  } else if (r < 0 && r != -ENOMEM)
    r = 0; /* it has ended since */
  domain_done(&d);
  return r;
}

static int identify(struct umbra_writer_list *list) {
  virConnectPtr connection = NULL;
  virDomainPtr *domains = NULL;
  struct umbra_error err = {0};
  if (!domain_daemon_is_there())
    return 0;
  (void)alarm(IDENTIFY_S);
  int r = domain_connect(&connection, &err);
  if (r == -EOPNOTSUPP)
    return 0; /* a libvirt of other machines */
  int count = r < 0 ? 0 : virConnectListAllDomains(connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
  if (r < 0)
    log_error("%s", err.message);
  else if (count < 0 || count > DOMAINS_MAX) {
    log_error("more than %d domains run, or none can be listed", DOMAINS_MAX);
    r = count < 0 ? -EIO : -E2BIG;
  }
  for (int i = 0; i < count; i++) {
    if (r == 0)
      r = add_domain(list, domains[i]);
    (void)virDomainFree(domains[i]);
  }
  free(domains);
  if (connection)
    (void)virConnectClose(connection);
  return r;
}

/* ---- events ---- */

static int forget(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  if (!job)
    return 0;
  keeper_free(job->keeper);
  domain_done(&job->domain);
  free(job);
  umbra_writer_set_userdata(s, NULL);
  return 0;
}

/* Its documents come into the backup, and whether its guest can be frozen is found. */
static int learn(struct umbra_writer_session *s, struct job *job, virDomainPtr handle, struct umbra_error *err) {
  CLEANUP_FREE char *running = virDomainGetXMLDesc(handle, 0),
                    *persistent = virDomainGetXMLDesc(handle, VIR_DOMAIN_XML_INACTIVE);
  int state = 0;
  if (!running || !persistent || virDomainGetState(handle, &state, NULL, 0) < 0)
    return domain_failed(err, -EIO, "asking for the document of", job->domain.name);
  umbra_writer_answer(s, RESTORE_RUNNING, running);
  if (virDomainIsPersistent(handle) == 1)
    umbra_writer_answer(s, RESTORE_PERSISTENT, persistent);
  if (job->domain.has_agent && state == VIR_DOMAIN_RUNNING)
    return 0;
  umbra_writer_answer(s, "not-frozen",
                      job->domain.has_agent ? "it does not run at the moment"
                                            : "it has no channel for a guest agent");
  keeper_free(take_pointer(job->keeper));
  return 0;
}

static int prepare_backup(struct umbra_writer_session *s) {
  struct umbra_error err = {0};
  virConnectPtr connection = NULL;
  struct job *job = calloc(1, sizeof *job);
  if (!job)
    return umbra_writer_fail(s, -ENOMEM, "out of memory");
  umbra_writer_set_userdata(s, job);
  int r = domain_from_key(umbra_writer_key(s), &job->domain, &err);
  /* Before there is a connection, of which it could take nothing with it. */
  if (r == 0)
    r = keeper_start(&job->domain, &job->keeper, &err);
  if (r == 0)
    r = domain_connect(&connection, &err);
  virDomainPtr handle = r < 0 ? NULL : virDomainLookupByUUIDString(connection, job->domain.uuid);
  if (r == 0)
    r = handle ? learn(s, job, handle, &err) : domain_failed(&err, -EAGAIN, "looking for", job->domain.name);
  if (handle)
    (void)virDomainFree(handle);
  if (connection)
    (void)virConnectClose(connection);
  return r < 0 ? umbra_writer_fail(s, r, "%s", err.message) : 0;
}

static int freeze(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  struct umbra_error err = {0};
  int r = job->keeper ? keeper_freeze(job->keeper, FREEZE_WAIT_MS, &err) : 0;
  if (r == 0)
    return 0;
  keeper_free(take_pointer(job->keeper));
  return umbra_writer_fail(s, r == -ETIMEDOUT ? -EAGAIN : r, "%s", err.message);
}

static int thaw(struct umbra_writer_session *s) {
  struct job *job = umbra_writer_userdata(s);
  struct umbra_error err = {0};
  int r = job->keeper ? keeper_thaw(job->keeper, THAW_WAIT_MS, &err) : 0;
  keeper_free(take_pointer(job->keeper));
  return r < 0 ? umbra_writer_fail(s, r == -ETIMEDOUT ? -EAGAIN : r, "%s", err.message) : 0;
}

static int restoring(struct umbra_writer_session *s,
                     int (*work)(struct umbra_writer_session *s, const struct domain *d)) {
  struct umbra_error err = {0};
  struct domain d;
  int r = domain_from_key(umbra_writer_key(s), &d, &err);
  r = r < 0 ? umbra_writer_fail(s, r, "%s", err.message) : work(s, &d);
  domain_done(&d);
  return r;
}

static int pre_restore(struct umbra_writer_session *s) { return restoring(s, restore_begin); }
static int post_restore(struct umbra_writer_session *s) { return restoring(s, restore_end); }

static const struct umbra_writer writer = {
    .name = "libvirt",
    .identify = identify,
    .prepare_backup = prepare_backup,
    .freeze = freeze,
    .thaw = thaw,
    .abort = forget,
    .shutdown = forget,
    .pre_restore = pre_restore,
    .post_restore = post_restore,
};

int main(int argc, char **argv) { return umbra_writer_main(&writer, argc, argv); }
