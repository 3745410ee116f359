/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shadow copies that writers repair: each is mounted writable at RUNTIME/repair/ID while they hear post-snapshot, and
 * is sealed when nobody has it any more.  The journal names the directory before anything is mounted there, so that
 * recovery finds it.  What a writer left half done is not hidden: its failure degrades the set as at every event.
 */
#include "coordinator/set.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"
#include "view/view.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a writer ran lets go of its files a moment after it has ended. */
enum { CLOSE_WAIT_MS = 2000, CLOSE_POLL_MS = 20 };

/* Itself, or by having files taken out of it. */
static bool repairs(const struct writer *w) {
  return w->involved && !writer_failed(w) && (w->repairs || writer_has_shadow_excludes(w));
}

void set_plan_repair(struct set *s) {
  bool wanted = false;
  for (size_t i = 0; i < s->writer_count; i++)
    wanted = wanted || repairs(s->writers[i]);
  for (size_t i = 0; i < s->member_count; i++)
    s->members[i].shadow.repair = wanted && !s->request.no_repair && s->members[i].provider->seal;
}

/* Nothing is mounted at m->repair_mount any more. */
static void forget(struct set_member *m) {
  (void)rmdir(m->repair_mount);
  free(m->repair_mount);
  m->repair_mount = NULL;
}

static int open_one(struct set *s, struct set_member *m, struct umbra_error *err) {
  const struct view_options options = {.read_write = true};
  CLEANUP_FREE char *parent = NULL;
  if (asprintf(&parent, "%s/repair", m->shadow.runtime_dir) < 0)
    parent = NULL;
  if (!parent || asprintf(&m->repair_mount, "%s/%s", parent, m->shadow.id) < 0) {
    m->repair_mount = NULL;
    return error_code(err, -ENOMEM, "opening the shadow copy");
  }
  int r = fd_make_directories(m->repair_mount, 0700);
  if (r < 0)
    return error_code(err, r, "making '%s'", m->repair_mount);
  r = set_journal(s, err);
  if (r < 0)
    return r;
  CLEANUP_CLOSE int view_fd = view_open(m->shadow.record, &options, NULL, err);
  return view_fd < 0 ? view_fd : view_attach(view_fd, m->repair_mount, err);
}

void set_open_repairs(struct set *s) {
  bool wanted = false;
  for (size_t i = 0; i < s->writer_count; i++)
    wanted = wanted || repairs(s->writers[i]);
  for (size_t i = 0; i < s->member_count && wanted; i++) {
    struct set_member *m = &s->members[i];
    struct umbra_error why = {0};
    if (!m->shadow.repair || open_one(s, m, &why) >= 0)
      continue;
    s->degraded = true;
    coordinator_warn(s->coordinator, "volume '%s': writers cannot repair their files in the shadow copy: %s",
                     m->shadow.volume->mount_point, why.message);
    if (m->repair_mount)
      forget(m);
  }
}

/* An image is written back as a whole: whoever mounts it read-only replays nothing. */
static int close_one(struct set_member *m, struct umbra_error *err) {
  int r = -EBUSY;
  for (unsigned waited_ms = 0; r == -EBUSY && waited_ms <= CLOSE_WAIT_MS; waited_ms += CLOSE_POLL_MS) {
    error_clear(err);
    r = view_write_back(m->shadow.record, m->repair_mount, err);
    if (r >= 0)
      r = view_detach(m->repair_mount, err);
    if (r == -EBUSY)
      (void)poll(NULL, 0, CLOSE_POLL_MS);
  }
  if (r < 0)
    return error_prefix(err, r, "volume '%s': closing the shadow copy that writers repaired",
                        m->shadow.volume->mount_point);
  forget(m);
  return 0;
}

int set_close_repairs(struct set *s, struct umbra_error *err) {
  int r = 0;
  set_drop_excluded(s);
  for (size_t i = 0; i < s->member_count && r >= 0; i++)
    if (s->members[i].repair_mount)
      r = close_one(&s->members[i], err);
  return r;
}

void set_drop_repairs(struct set *s) {
  for (size_t i = 0; i < s->member_count; i++)
    if (s->members[i].repair_mount) {
      set_drop_repair(s->members[i].repair_mount);
      free(s->members[i].repair_mount);
      s->members[i].repair_mount = NULL;
    }
}

void set_drop_repair(const char *directory) {
  /* Whoever still uses it has it for himself from now on. */
  while (umount2(directory, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
    ;
  (void)rmdir(directory);
}
