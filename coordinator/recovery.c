/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/recovery.h"

#include "coordinator/catalog.h"
#include "coordinator/journal.h"
#include "coordinator/set.h"
#include "coordinator/set-states.h"
#include "coordinator/writer-call.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/json.h"
#include "common/log.h"
#include "common/process.h"
#include "providers/provider.h"
#include "view/loop.h"
#include "view/users.h"
#include "view/view.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>

/* How long a writer may take to hear that the set came to nothing. */
enum { ABORT_LIMIT_MS = 10000 };

/* Both the coordinator and its guardian are dead: only the journal knows what was being held. */
static void thaw_held(const json_t *document) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(document, "held"), i, item) {
    CLEANUP_FREE char *path = NULL;
    if (json_path_value(item, &path) < 0)
      continue;
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && ioctl(fd, FITHAW, 0) == 0)
      log_warning("volume '%s' was still frozen by a set that died: thawed", path);
  }
}

/* What the guardian sets for the length of a freeze and could not put back. */
static void restore_expedited(const json_t *document) {
  if (strcmp(json_get_string_or(document, "expedited_before", ""), "0") != 0)
    return;
  CLEANUP_CLOSE int fd = open("/sys/kernel/rcu_expedited", O_WRONLY | O_CLOEXEC);
  if (fd >= 0)
    (void)!write(fd, "0", 1);
}

struct abort_call {
  struct writer writer; /* as far as a program is called by it: path, kind, instance */
  const char *set_id;
  int document_fd, limit_ms;
  pthread_t thread;
};

static void *abort_main(void *context) {
  const struct abort_call *call = context;
  (void)writer_call_now(&call->writer, WRITER_ABORT, call->set_id, call->document_fd, call->limit_ms);
  return NULL;
}

/* Side by side: one that hangs must not keep another frozen. */
static void abort_writers(const json_t *document, const char *id, int document_fd, int limit_ms) {
  const json_t *writers = json_object_get(document, "writers");
  size_t count = json_array_size(writers), started = 0;
  if (count > WRITERS_MAX)
    count = WRITERS_MAX;
  CLEANUP_FREE struct abort_call *calls = calloc(count + 1, sizeof *calls);
  for (size_t i = 0; calls && i < count; i++) {
    const json_t *writer = json_array_get(writers, i);
    struct abort_call *call = &calls[started];
    *call = (struct abort_call){.set_id = id, .document_fd = document_fd, .limit_ms = limit_ms};
    json_int_t kind = json_get_integer_or(writer, "kind", 0);
    call->writer.kind = kind == WRITER_HOOK ? WRITER_HOOK : WRITER_EXEC;
    if (kind == WRITER_SESSION)
      continue; /* it ended with its coordinator, or goes on by itself */
    call->writer.instance = (char *)json_get_string_or(writer, "instance", NULL);
    if (json_path_value(json_object_get(writer, "path"), &call->writer.path) < 0)
      continue;
    if (pthread_create(&call->thread, NULL, abort_main, call) == 0)
      started++;
    else
      free(call->writer.path);
  }
  for (size_t i = 0; i < started; i++) {
    (void)pthread_join(calls[i].thread, NULL);
    free(calls[i].writer.path);
  }
}

static bool in_catalogue(const char *state_dir, const char *id) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/sets/%s.json", state_dir, id);
  return access(path, F_OK) == 0;
}

/* 0 if nothing is left of the set's shadow copies. */
static int remove_shadows(const json_t *document) {
  int result = 0;
  size_t i;
  json_t *shadow;
  json_array_foreach(json_object_get(document, "shadows"), i, shadow) {
    const struct provider *p = provider_find(json_get_string_or(shadow, "provider", ""));
    const json_t *record = json_object_get(shadow, "record");
    struct umbra_error err = {0};
    CLEANUP_FREE char *mount_point = NULL, *repair = NULL;
    if (json_path_value(json_object_get(shadow, "repair"), &repair) >= 0)
      set_drop_repair(repair);
    int r = p ? 0 : error_set(&err, -ENOENT, UMBRA_REASON_NOT_FOUND, "its provider is not there");
    /* A program that outlived its umbra must not find its files gone and call that a backup. */
    if (r >= 0 && json_path_value(json_object_get(shadow, "volume"), &mount_point) >= 0)
      r = view_end_users(record, mount_point, &err);
    const char *device = json_get_string_or(shadow, "device", NULL);
    const char *image = json_get_string_or(json_object_get(record, "view"), "path", NULL);
    if (r >= 0 && device && image)
      r = loop_drop(device, image, &err);
    if (r >= 0)
      r = p->remove(record, &err);
    if (r < 0) {
      log_warning("removing shadow copy %s of a set that died: %s", json_get_string_or(shadow, "id", "?"),
                  err.message);
      result = r;
    }
  }
  return result;
}

static int clean_up(const char *state_dir, const char *id, const json_t *document) {
  thaw_held(document);
  restore_expedited(document);
  abort_writers(document, id, -1, ABORT_LIMIT_MS);
  /* In the catalogue it is whole and stays, unless it belonged to its owner. */
  if (in_catalogue(state_dir, id))
    return 0;
  return remove_shadows(document);
}

struct recovery {
  const struct coordinator *coordinator;
  size_t count;
};

static int on_entry(void *context, const char *id, const json_t *document, bool alive) {
  struct recovery *recovery = context;
  if (alive)
    return 0;
  /* No document: its owner died between taking the lock and writing, so it made nothing. */
  if (json_is_object(document)) {
    recovery->count++;
    if (clean_up(recovery->coordinator->state_dir, id, document) < 0)
      return 0;
  }
  return 1;
}

/* Sets that are not persistent end with the boot they were made in. */
static void remove_of_earlier_boots(const struct coordinator *c, size_t *count) {
  char boot_id[37];
  CLEANUP_JSON json_t *entries = NULL;
  if (journal_boot_id(boot_id) < 0 || catalog_load(c->state_dir, &entries, NULL, NULL) < 0)
    return;
  size_t i;
  json_t *entry;
  json_array_foreach(entries, i, entry) {
    const char *id = json_get_string_or(json_object_get(entry, "set"), "id", "");
    if (json_get_boolean_or(entry, "persistent", false) ||
        strcmp(json_get_string_or(entry, "boot_id", boot_id), boot_id) == 0)
      continue;
    bool gone = true;
    const char *shadow_id;
    json_t *made;
    json_object_foreach(json_object_get(entry, "records"), shadow_id, made) {
      const struct provider *p = provider_find(json_get_string_or(made, "provider", ""));
      struct umbra_error err = {0};
      if (p && p->remove(json_object_get(made, "record"), &err) < 0) {
        coordinator_warn(c, "removing shadow copy %s, which was not persistent: %s", shadow_id, err.message);
        gone = false;
      }
    }
    if (gone && catalog_remove(c->state_dir, id, NULL) >= 0)
      (*count)++;
  }
}

/* Lock files of volumes whose owner, and whose owner's guardian, died. */
static void remove_stale_locks(const struct coordinator *c) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/volumes", c->runtime_dir);
  CLEANUP_CLOSEDIR DIR *dir = opendir(path);
  struct dirent *entry;
  while (dir && (entry = readdir(dir))) {
    CLEANUP_CLOSE int fd =
        entry->d_type == DT_REG ? openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
    /* While this lock is held nobody else takes the file for theirs, see lock_volume(). */
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
      (void)unlinkat(dirfd(dir), entry->d_name, 0);
  }
}

/* What fd_replace_file() had begun when its process died: ".NAME.PID.new". */
static void remove_unfinished(const char *parent, const char *folder) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/%s", parent, folder);
  CLEANUP_CLOSEDIR DIR *dir = opendir(path);
  struct dirent *entry;
  while (dir && (entry = readdir(dir))) {
    size_t length = strlen(entry->d_name);
    if (entry->d_name[0] != '.' || length < 5 || strcmp(entry->d_name + length - 4, ".new") != 0)
      continue;
    const char *pid = (const char *)memrchr(entry->d_name, '.', length - 4);
    long number = pid ? strtol(pid + 1, NULL, 10) : 0;
    if (number > 0 && kill((pid_t)number, 0) < 0 && errno == ESRCH)
      (void)unlinkat(dirfd(dir), entry->d_name, 0);
  }
}

int recovery_run(const struct coordinator *c, size_t *ret_count, struct umbra_error *err) {
  struct recovery recovery = {.coordinator = c};
  int r = journal_scan(c->runtime_dir, on_entry, &recovery, err);
  if (r < 0)
    return error_prefix(err, r, "cleaning up after earlier sets");
  remove_stale_locks(c);
  remove_unfinished(c->runtime_dir, "sets");
  remove_unfinished(c->runtime_dir, "mounts");
  remove_unfinished(c->state_dir, "sets");
  remove_of_earlier_boots(c, &recovery.count);
  if (ret_count)
    *ret_count = recovery.count;
  return 0;
}

static int read_entry(const char *runtime_dir, const char *id, json_t **ret) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/sets/%s.json", runtime_dir, id);
  return json_read_file(AT_FDCWD, path, ret, NULL);
}

void recovery_of_set(const char *state_dir, const char *runtime_dir, const char *id) {
  CLEANUP_JSON json_t *document = NULL;
  char path[PATH_MAX];
  if (read_entry(runtime_dir, id, &document) >= 0 && clean_up(state_dir, id, document) < 0)
    return; /* stays: the next command tries again */
  (void)snprintf(path, sizeof path, "%s/sets/%s.json", runtime_dir, id);
  (void)unlink(path);
  (void)snprintf(path, sizeof path, "%s/sets/%s.lock", runtime_dir, id);
  (void)unlink(path);
}

void recovery_abort_writers(const char *runtime_dir, const char *id, int document_fd, int limit_ms) {
  CLEANUP_JSON json_t *document = NULL;
  if (read_entry(runtime_dir, id, &document) >= 0)
    abort_writers(document, id, document_fd, limit_ms);
}
