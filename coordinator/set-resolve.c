/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is to be done, and how: paths → volumes → providers, storage, order of freezing, involved writers, and the
 * queue. */
#include "coordinator/set.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/json.h"
#include "common/log.h"
#include "common/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { QUEUE_POLL_MS = 50 };

static struct set_member *member_for(struct set *s, const struct volume *volume, struct umbra_error *err) {
  for (size_t i = 0; i < s->member_count; i++)
    if (strcmp(s->members[i].shadow.volume->key, volume->key) == 0)
      return &s->members[i];
  if (s->member_count == SET_VOLUMES_MAX) {
    (void)error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "a set can have at most %d volumes", (int)SET_VOLUMES_MAX);
    return NULL;
  }
  struct set_member *m = &s->members[s->member_count++];
  m->set = s;
  m->shadow.volume = volume;
  id_new(m->shadow.id);
  memcpy(m->shadow.set_id, s->id, sizeof m->shadow.set_id);
  m->shadow.record = json_object();
  m->shadow.persistent = s->request.persistent;
  m->shadow.auto_release = s->request.auto_release;
  m->shadow.read_write = s->request.read_write;
  m->shadow.runtime_dir = s->coordinator->runtime_dir;
  m->shadow.config_dir = s->coordinator->config_dir;
  return m;
}

static int resolve_paths(struct set *s, struct umbra_error *err) {
  if (strv_count(s->request.paths) == 0)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "a set needs at least one path");
  for (char **path = s->request.paths; *path; path++) {
    const struct volume *volume;
    CLEANUP_FREE char *canonical = NULL;
    int r = volume_table_lookup(s->volumes, *path, &volume, &canonical, err);
    if (r < 0)
      return error_prefix(err, r, "path '%s'", *path);
    struct set_member *m = member_for(s, volume, err);
    if (!m)
      return -E2BIG;
    if (s->request.scope_paths && !strv_contains(m->shadow.paths, canonical) &&
        strv_append_take(&m->shadow.paths, take_pointer(canonical)) < 0)
      return error_code(err, -ENOMEM, "path '%s'", *path);
  }
  return 0;
}

/* A scope that names the whole volume is no scope. */
static void drop_whole_scopes(struct set *s) {
  for (size_t i = 0; i < s->member_count; i++) {
    struct shadow *shadow = &s->members[i].shadow;
    if (strv_contains(shadow->paths, shadow->volume->mount_point)) {
      strv_free(shadow->paths);
      shadow->paths = NULL;
    }
  }
}

static void tell_passed_over(const struct provider *provider, const char *why, void *context) {
  const struct set_member *m = context;
  coordinator_warn(m->set->coordinator, "volume '%s': provider %s is passed over, since %s; %s makes the shadow copy",
                   m->shadow.volume->mount_point, provider->name, why, m->provider->name);
}

static int choose_provider(struct set *s, struct set_member *m, struct umbra_error *err) {
  struct provider_needs needs = {.persistent = s->request.persistent, .read_write = s->request.read_write};
  m->provider =
      provider_choose(s->request.provider, &needs, m->shadow.volume, s->coordinator->config_dir, &m->shadow.as, err);
  if (m->provider && !s->request.provider && (needs.persistent || needs.read_write))
    provider_passed_over(m->provider, &needs, m->shadow.volume, s->coordinator->config_dir, tell_passed_over, m);
  return m->provider ? 0 : (err->code < 0 ? err->code : -EOPNOTSUPP);
}

static int choose_storage(struct set *s, struct set_member *m, struct umbra_error *err) {
  struct shadow *shadow = &m->shadow;
  const char *own = m->provider->own_storage;
  if (own && (s->request.storage || s->request.storage_bytes_max > 0 || s->request.storage_percent_max > 0))
    coordinator_warn(s->coordinator, "volume '%s': --storage is not for provider %s: its shadow copies lie %s",
                     shadow->volume->mount_point, m->provider->name, own);
  shadow->storage_named = s->request.storage != NULL && !own;
  if (shadow->storage_named) {
    int r = fd_make_directories(s->request.storage, 0700);
    if (r < 0)
      return error_code(err, r, "storage '%s'", s->request.storage);
    shadow->storage_dir = realpath(s->request.storage, NULL);
  } else if (asprintf(&shadow->storage_dir, "%s/storage", s->coordinator->state_dir) < 0)
    shadow->storage_dir = NULL;
  if (!shadow->storage_dir)
    return error_code(err, -ENOMEM, "storage");
  shadow->storage_bytes_max = s->request.storage_bytes_max;
  struct statvfs fs;
  if (s->request.storage_percent_max > 0 && statvfs(shadow->storage_dir, &fs) == 0) {
    uint64_t part = (uint64_t)fs.f_blocks * fs.f_frsize / 100 * s->request.storage_percent_max;
    if (shadow->storage_bytes_max == 0 || part < shadow->storage_bytes_max)
      shadow->storage_bytes_max = part;
  }
  return 0;
}

/*
 * Who is frozen by the guardian, and who commits when.  One volume that holds itself can share the instant of the
 * others by committing inside their hold; not if it lies on one of them (it would wait for it), and not more than
 * one.
 */
static int plan_hold(struct set *s, struct umbra_error *err) {
  const struct volume *volumes[SET_VOLUMES_MAX];
  unsigned levels[SET_VOLUMES_MAX] = {0};
  size_t selves = 0, held = 0;
  for (size_t i = 0; i < s->member_count; i++)
    volumes[i] = s->members[i].shadow.volume;
  int r = volume_freeze_levels(volumes, s->member_count, levels, err);
  if (r < 0)
    return r;
  for (size_t i = 0; i < s->member_count; i++) {
    struct set_member *m = &s->members[i];
    m->level = levels[i];
    m->hold = m->provider->hold == PROVIDER_HOLD_NEEDED && m->shadow.volume->can_freeze;
    held += m->hold;
    selves += m->provider->hold == PROVIDER_HOLD_SELF;
  }
  for (size_t i = 0; i < s->member_count; i++) {
    struct set_member *m = &s->members[i];
    if (m->provider->hold != PROVIDER_HOLD_SELF)
      continue;
    bool lies_on_held = false;
    for (size_t j = 0; j < s->member_count; j++)
      lies_on_held = lies_on_held || (s->members[j].hold && s->members[j].level > m->level);
    m->commits_alone = selves > 1 || (held > 0 && lies_on_held);
  }
  return 0;
}

/* By its name, which is that of all its instances, or as NAME/INSTANCE. */
static bool is_called(const struct writer *w, const char *wanted) {
  size_t length = strlen(w->name);
  return strcmp(wanted, w->name) == 0 || (w->instance && strncmp(wanted, w->name, length) == 0 &&
                                          wanted[length] == '/' && strcmp(wanted + length + 1, w->instance) == 0);
}

bool set_is_chosen(const struct set *s, const struct writer *w) {
  for (char **wanted = s->request.writers; wanted && *wanted; wanted++)
    if (is_called(w, *wanted))
      return true;
  return !s->request.writers;
}

static int involve_writers(struct set *s, struct umbra_error *err) {
  for (char **name = s->request.writers; name && *name; name++) {
    bool found = false;
    for (size_t i = 0; i < s->writer_count; i++)
      found = found || is_called(s->writers[i], *name);
    if (!found)
      return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "no writer '%s' (see: umbra list writers)", *name);
  }
  const struct volume *volumes[SET_VOLUMES_MAX];
  for (size_t i = 0; i < s->member_count; i++)
    volumes[i] = s->members[i].shadow.volume;
  for (size_t i = 0; i < s->writer_count; i++) {
    struct writer *w = s->writers[i];
    char title[WRITER_TITLE_BYTES];
    for (size_t j = 0; j < i; j++)
      if (!writer_failed(w) && !writer_failed(s->writers[j]) && w->kind != WRITER_HOOK &&
          s->writers[j]->kind != WRITER_HOOK && strcmp(w->name, s->writers[j]->name) == 0 &&
          strcmp(w->instance ? w->instance : "", s->writers[j]->instance ? s->writers[j]->instance : "") == 0)
        writer_fail(w, WRITER_IDENTIFY, UMBRA_REASON_INVALID, "refused: it claims the name of writer '%s' (%s)",
                    s->writers[j]->name, s->writers[j]->path);
    if (!set_is_chosen(s, w))
      continue;
    const struct volume *missing = NULL;
    /* Who could not even say what it has files on may have some here. */
    if (w->metadata || !writer_failed(w))
      writer_involve(w, s->volumes, volumes, s->member_count, s->request.scope_paths ? s->request.paths : NULL,
                     &missing);
    if (w->metadata && !w->involved)
      continue;
    if (writer_failed(w)) {
      s->degraded = true;
      coordinator_warn(s->coordinator, "writer '%s' (%s) %s: %s", writer_title(w, title), w->path, w->state,
                       w->failure);
      continue;
    }
    if (w->involved && missing) {
      s->degraded = true;
      coordinator_warn(
          s->coordinator,
          "writer '%s' also has files on volume '%s', which is not in the set: its data are not consistent "
          "as a whole (add a path there)",
          writer_title(w, title), missing->mount_point);
    }
  }
  return 0;
}

static int check_required(const struct set *s, struct umbra_error *err) {
  size_t apart = 0;
  const char *name = NULL;
  for (size_t i = 0; i < s->member_count; i++)
    if (!s->members[i].provider->instant) {
      name = s->members[i].shadow.volume->mount_point;
      apart = s->member_count + 1;
    } else if (s->members[i].commits_alone && s->member_count > 1) {
      name = s->members[i].shadow.volume->mount_point;
      apart++;
    }
  if (s->request.require_instant && apart > 0)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_CONSISTENCY,
                     "--require instant: volume '%s' cannot share one instant with the others", name);
  return 0;
}

enum set_event set_resolve(struct set *s) {
  struct umbra_error *err = set_error(s);
  int r = volume_table_load(&s->volumes, err);
  if (r >= 0)
    r = set_select_components(s, err);
  if (r >= 0)
    r = resolve_paths(s, err);
  drop_whole_scopes(s);
  for (size_t i = 0; i < s->member_count && r >= 0; i++) {
    r = choose_provider(s, &s->members[i], err);
    if (r >= 0)
      r = choose_storage(s, &s->members[i], err);
    if (r >= 0) {
      r = volume_open(s->members[i].shadow.volume, err);
      s->members[i].shadow.volume_fd = r;
    }
  }
  if (r >= 0)
    r = plan_hold(s, err);
  if (r >= 0)
    r = involve_writers(s, err);
  set_plan_repair(s);
  if (r >= 0)
    r = check_required(s, err);
  if (r >= 0 && s->degraded && s->request.require == CONSISTENCY_APPLICATION)
    r = error_set(err, -EOPNOTSUPP, UMBRA_REASON_CONSISTENCY,
                  "--require application: not all writers can take part (see the warnings)");
  if (r >= 0) {
    r = journal_open(&s->journal, s->coordinator->runtime_dir, s->id, err);
    s->journal_open = r >= 0;
  }
  if (r >= 0)
    r = set_document_build(s, err);
  return r < 0 ? SET_EVENT_FAILED : SET_EVENT_DONE;
}

/* ---- the queue: one set at a time is made of a volume; a lock goes with the process that has it ---- */

static int lock_path(const struct set_member *m, char path[PATH_MAX]) {
  char name[NAME_MAX];
  size_t n = 0;
  for (const char *at = m->shadow.volume->key; *at && n < sizeof name - 1; at++)
    name[n++] = *at == '/' ? '_' : *at;
  name[n] = 0;
  return (size_t)snprintf(path, PATH_MAX, "%s/volumes/%s", m->shadow.runtime_dir, name) >= PATH_MAX ? -ENAMETOOLONG
                                                                                                    : 0;
}

static int lock_volume(struct set *s, struct set_member *m, struct umbra_error *err) {
  char path[PATH_MAX], text[64];
  int r = lock_path(m, path);
  if (r < 0)
    return error_code(err, r, "queueing for volume '%s'", m->shadow.volume->mount_point);
  CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return error_errno(err, "queueing for volume '%s'", m->shadow.volume->mount_point);
  if (flock(fd, LOCK_EX | LOCK_NB) < 0)
    return errno == EWOULDBLOCK ? -EWOULDBLOCK
                                : error_errno(err, "queueing for volume '%s'", m->shadow.volume->mount_point);
  /* Who had it may have removed the file just before it let go; then this lock is of a file that nobody else will
   * meet. */
  struct stat named, ours;
  if (stat(path, &named) < 0 || fstat(fd, &ours) < 0 || named.st_ino != ours.st_ino)
    return -EWOULDBLOCK;
  int length = snprintf(text, sizeof text, "%s %d\n", s->id, (int)getpid());
  if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)length, 0) < 0)
    log_debug("lock of volume '%s' could not be labelled", m->shadow.volume->mount_point);
  m->volume_lock = take_fd(&fd);
  return 0;
}

void set_unlock_volumes(struct set *s) {
  char path[PATH_MAX];
  for (size_t i = 0; i < s->member_count; i++)
    if (s->members[i].volume_lock >= 0) {
      if (lock_path(&s->members[i], path) >= 0)
        (void)unlink(path);
      /* Unlocked, not only closed: the guardian has inherited the descriptor. */
      (void)flock(s->members[i].volume_lock, LOCK_UN);
      (void)close(s->members[i].volume_lock);
      s->members[i].volume_lock = -1;
    }
}

/* All or none, so that two sets that want the same volumes never wait for each other. */
static int lock_all(struct set *s, const struct volume **ret_busy, struct umbra_error *err) {
  for (size_t i = 0; i < s->member_count; i++) {
    int r = lock_volume(s, &s->members[i], err);
    if (r < 0) {
      set_unlock_volumes(s);
      *ret_busy = s->members[i].shadow.volume;
      return r;
    }
  }
  return 0;
}

static int on_queue(sd_event_source *source, uint64_t usec, void *context) {
  (void)usec;
  struct set *s = context;
  sd_event_source_disable_unref(source);
  s->on_tick = NULL;
  if (s->state == SET_QUEUED)
    set_handle(s, set_queue(s));
  return 0;
}

static int start_guardian(struct set *s, struct umbra_error *err) {
  struct hold_volume volumes[SET_VOLUMES_MAX];
  size_t n = 0;
  for (size_t i = 0; i < s->member_count; i++)
    if (s->members[i].hold)
      volumes[n++] = (struct hold_volume){.fd = s->members[i].shadow.volume_fd,
                                          .level = s->members[i].level,
                                          .name = s->members[i].shadow.volume->mount_point};
  return hold_start(&s->hold, volumes, n, s->coordinator->cancel_event, set_guardian_abort_writers,
                    set_guardian_clean_up, s, err);
}

enum set_event set_queue(struct set *s) {
  const struct volume *busy = NULL;
  int64_t now_ns = clock_monotonic_ns();
  if (s->queued_ns == 0)
    s->queued_ns = now_ns;
  int r = lock_all(s, &busy, set_error(s));
  if (r == -EWOULDBLOCK) {
    if (now_ns - s->queued_ns >= s->coordinator->limits.queue_ms * NS_PER_MS) {
      (void)error_set(set_error(s), -EBUSY, UMBRA_REASON_BUSY,
                      "volume '%s': another set is still being made of it (waited %lld ms)", busy->mount_point,
                      (long long)s->coordinator->limits.queue_ms);
      return SET_EVENT_FAILED;
    }
    if (!s->queue_told)
      coordinator_warn(s->coordinator, "volume '%s': waiting for another set that is being made of it",
                       busy->mount_point);
    s->queue_told = true;
    r = sd_event_add_time_relative(s->coordinator->loop, &s->on_tick, CLOCK_MONOTONIC, QUEUE_POLL_MS * 1000, 0,
                                   on_queue, s);
    if (r >= 0)
      return SET_EVENT_NONE;
  }
  if (r >= 0)
    r = start_guardian(s, set_error(s));
  return r < 0 ? SET_EVENT_FAILED : SET_EVENT_DONE;
}
