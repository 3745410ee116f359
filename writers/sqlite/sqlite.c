/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writer for SQLite databases: an instance an owner, a component a database.  While volumes are held each database is
 * in a write transaction of ours that writes nothing, so that nobody else is in one; it ends with this process.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "umbra/writer.h"
#include "writers/sqlite/databases.h"
#include "writers/sqlite/locks.h"
#include "writers/sqlite/restore.h"
#include "writers/sqlite/discovery.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum {
  CHECKPOINT_WAIT_MS = 50, /* of the checkpoint that keeps others from writing, for each database */
  PROBE_WAIT_MS = 1000,    /* before anybody is frozen: who has it locked longer than that is not waited for again */
  FREEZE_WAIT_MS = 5000,   /* for all databases together */
  DESCRIPTORS_EACH = 4,    /* file, log, index, journal */
  KEY_BYTES_MAX = 100000,  /* it goes through the environment: MAX_ARG_STRLEN of execve(2) */
};

/* ---- identify ---- */

static bool name_fits(const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; i < length; i++)
    if (!isalnum((unsigned char)name[i]) && !strchr("._-/@:", name[i]))
      return false;
  return length > 0 && length < 32;
}

/* "mail", "mail:www-data" if the group is not the user's own, numbers where there is no name. */
static void instance_name(uid_t user, gid_t group, char *ret, size_t ret_bytes) {
  const struct passwd *p = getpwuid(user);
  bool own_group = p && p->pw_gid == group;
  int n = p && name_fits(p->pw_name) ? snprintf(ret, ret_bytes, "%s", p->pw_name)
                                     : snprintf(ret, ret_bytes, "%u", (unsigned)user);
  if (own_group)
    return;
  const struct group *g = getgrgid(group);
  if (g && name_fits(g->gr_name))
    (void)snprintf(ret + n, ret_bytes - (size_t)n, ":%s", g->gr_name);
  else
    (void)snprintf(ret + n, ret_bytes - (size_t)n, ":%u", (unsigned)group);
}

/* The name as a pattern that matches nothing else; bytes that no document can hold match any. */
static void escape(const char *name, const char *suffix, char *ret) {
  CLEANUP_JSON json_t *text = json_string(name);
  for (; *name; name++) {
    if (!text && *name & 0x80) {
      *ret++ = '?';
      continue;
    }
    if (strchr("*?[\\", *name))
      *ret++ = '\\';
    *ret++ = *name;
  }
  strcpy(ret, suffix);
}

static int add_component(struct umbra_writer_instance *i, const char *path) {
  static const char *const kept[] = {"", "-wal", "-journal"};
  const char *name = strrchr(path, '/') + 1;
  CLEANUP_JSON json_t *text = json_path(path);
  CLEANUP_FREE char *directory = strndup(path, name - path > 1 ? (size_t)(name - path) - 1 : 1);
  CLEANUP_FREE char *pattern = malloc(2 * strlen(name) + sizeof "-journal");
  if (!text || !directory || !pattern)
    return -ENOMEM;
  for (size_t k = 0; k < sizeof kept / sizeof *kept; k++) {
    escape(name, kept[k], pattern);
    umbra_writer_instance_add_files(i, json_string_value(text), directory, pattern, 0);
  }
  /* An index of the log in shared memory: whoever opens the database next makes it anew. */
  escape(name, "-shm", pattern);
  umbra_writer_instance_add_exclude(i, json_string_value(text), directory, pattern);
  return 0;
}

static int add_instance(struct umbra_writer_list *list, const struct found *found, size_t count) {
  char name[80];
  instance_name(found->user, found->group, name, sizeof name);
  struct umbra_writer_instance *i = umbra_writer_list_add(list, name, UMBRA_WRITER_BACK_END);
  CLEANUP_FREE char *key = databases_key(found, count);
  if (!key)
    return -ENOMEM;
  if (strlen(key) > KEY_BYTES_MAX)
    umbra_writer_instance_fail(i, "too many databases of one owner: more than %d bytes of paths", KEY_BYTES_MAX);
  umbra_writer_instance_set_key(i, key);
  umbra_writer_instance_set_restore(i, "if-can-replace", NULL);
  for (size_t k = 0; k < count; k++) {
    int r = add_component(i, found[k].path);
    if (r < 0)
      return r;
  }
  return 0;
}

static int identify(struct umbra_writer_list *list) {
  const char *config_dir = getenv("UMBRA_CONFIG_DIR");
  CLEANUP(discovery_done) struct discovery all;
  struct umbra_error err = {0};
  int r = discover_databases(config_dir ? config_dir : "/etc/umbra", &all, &err);
  if (r < 0) {
    log_error("%s", err.message);
    return r;
  }
  for (size_t from = 0, to; from < all.count; from = to) {
    for (to = from + 1; to < all.count; to++)
      if (all.list[to].user != all.list[from].user || all.list[to].group != all.list[from].group)
        break;
    r = add_instance(list, all.list + from, to - from);
    if (r < 0)
      return r;
  }
  return 0;
}

/* ---- events ---- */

/* The databases of the instance; the session's until forget(). NULL: failed, and said so. */
static struct databases *databases_of(struct umbra_writer_session *s) {
  struct databases *all = umbra_writer_userdata(s);
  if (all)
    return all;
  struct umbra_error err = {0};
  all = calloc(1, sizeof *all);
  if (!all || databases_from_key(umbra_writer_key(s), all, &err) < 0) {
    (void)umbra_writer_fail(s, -EINVAL, "%s", all ? err.message : "out of memory");
    if (all)
      databases_done(all);
    free(all);
    return NULL;
  }
  umbra_writer_set_userdata(s, all);
  return all;
}

static int forget(struct umbra_writer_session *s) {
  struct databases *all = umbra_writer_userdata(s);
  if (!all)
    return 0;
  databases_done(all);
  free(all);
  umbra_writer_set_userdata(s, NULL);
  return 0;
}

static int prepare_backup(struct umbra_writer_session *s) {
  struct databases *all = databases_of(s);
  struct umbra_error err = {0};
  if (!all)
    return -EINVAL;
  int r = databases_keep_of_set(all, umbra_writer_document(s), &err);
  if (r < 0)
    return umbra_writer_fail(s, r, "%s", err.message);
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    rlim_t wanted = all->count * DESCRIPTORS_EACH + 64;
    if (limit.rlim_cur < wanted) {
      limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
      (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
  }
  r = geteuid() == 0 ? umbra_writer_become(all->user, all->group) : 0;
  return r < 0 ? umbra_writer_fail(s, r, "becoming user %u", (unsigned)all->user) : 0;
}

static int prepare_snapshot(struct umbra_writer_session *s) {
  struct databases *all = databases_of(s);
  if (!all)
    return -EINVAL;
  for (size_t i = 0; i < all->count; i++) {
    struct database_entry *e = &all->list[i];
    struct umbra_error err = {0};
    int r = database_open(&e->database, &err);
    if (r < 0)
      return umbra_writer_fail(s, r, "%s", err.message);
    database_checkpoint(&e->database, clock_monotonic_ns() + CHECKPOINT_WAIT_MS * NS_PER_MS);
    r = database_lock(&e->database, clock_monotonic_ns() + PROBE_WAIT_MS * NS_PER_MS, &err);
    database_unlock(&e->database);
    e->impatient = r == -EBUSY && all->one_instant;
  }
  return 0;
}

/* "'/srv/a.db' is locked by process 17" */
static void describe_holder(const char *path, char *ret, size_t ret_bytes) {
  CLEANUP_FREE struct lock *locks = NULL;
  size_t count = 0;
  struct statx file;
  pid_t holder = 0;
  if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &file) == 0 && locks_read(&locks, &count) == 0)
    holder = locks_holder(locks, count, &file);
  if (holder > 0)
    (void)snprintf(ret, ret_bytes, "'%s' is locked by process %d", path, (int)holder);
  else
    (void)snprintf(ret, ret_bytes, "'%s' is locked by another process", path);
}

/* What could not be locked is as after a crash in the shadow copy: sound if all of it is of one instant, else not. */
static int judge_skipped(struct umbra_writer_session *s, const struct databases *all) {
  for (size_t i = 0; i < all->count; i++) {
    const char *path = all->list[i].database.path;
    char words[PATH_MAX + 64];
    if (!all->list[i].skipped)
      continue;
    describe_holder(path, words, sizeof words);
    if (!all->one_instant)
      return umbra_writer_fail(s, -EAGAIN, "%s", words);
    CLEANUP_JSON json_t *name = json_path(path);
    log_warning("sqlite: %s: its shadow copy is as after a crash, and is recovered when it is opened", words);
    umbra_writer_answer(s, json_string_value(name), words);
  }
  return 0;
}

static int freeze(struct umbra_writer_session *s) {
  struct databases *all = databases_of(s);
  struct umbra_error err = {0};
  if (!all)
    return -EINVAL;
  int r = databases_lock(all, clock_monotonic_ns() + FREEZE_WAIT_MS * NS_PER_MS, &err);
  if (r < 0)
    return umbra_writer_fail(s, r, "%s", err.message);
  r = judge_skipped(s, all);
  if (r < 0)
    databases_unlock(all);
  return r;
}

static int thaw(struct umbra_writer_session *s) {
  struct databases *all = umbra_writer_userdata(s);
  if (!all)
    return 0;
  /* All of them first: closing may write. */
  databases_unlock(all);
  databases_close(all);
  return 0;
}

static int restoring(struct umbra_writer_session *s,
                     int (*work)(struct umbra_writer_session *s, const struct databases *all)) {
  const struct databases *all = databases_of(s);
  int r = all ? work(s, all) : -EINVAL;
  (void)forget(s);
  return r;
}

static int pre_restore(struct umbra_writer_session *s) { return restoring(s, restore_begin); }
static int post_restore(struct umbra_writer_session *s) { return restoring(s, restore_end); }

static const struct umbra_writer writer = {
    .name = "sqlite",
    .identify = identify,
    .prepare_backup = prepare_backup,
    .prepare_snapshot = prepare_snapshot,
    .freeze = freeze,
    .thaw = thaw,
    .abort = forget,
    .shutdown = forget,
    .pre_restore = pre_restore,
    .post_restore = post_restore,
};

int main(int argc, char **argv) { return umbra_writer_main(&writer, argc, argv); }
