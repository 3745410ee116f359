/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writer for the systemd journal: an instance the system's, and one each namespace that has a journald.  Before
 * volumes are held journald takes in what was sent to it and marks its files as closed, and they are synced; it goes
 * on.
 *
 * At freeze no other writer is active any more (level system), so what they logged is there.  Messages that come
 * between freeze and the hold are there as after a crash: journald sets a file aside (as .journal~) that was being
 * written, and readers read it up to what was being appended.  That is why those files are in the backup: they hold
 * messages.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "umbra/writer.h"
#include "writers/journal/journald.h"
#include "writers/journal/units.h"
#include "writers/service.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>
#include <time.h>

enum {
  FLUSH_WAIT_S = 60,
  PREPARE_WAIT_S = 30,
  FREEZE_WAIT_S = 5,
  NAMESPACES_MAX = 64,
  NAMESPACE_BYTES = 56, /* a socket's path has no more room */
};

static const char system_name[] = "system"; /* as an instance */

/* ---- where it is ---- */

/* /var/log/journal/MACHINE or MACHINE.NAMESPACE */
static int journal_directory(const char *namespace, char ret[PATH_MAX]) {
  sd_id128_t machine;
  char text[SD_ID128_STRING_MAX];
  int r = sd_id128_get_machine(&machine);
  if (r < 0)
    return r;
  (void)snprintf(ret, PATH_MAX, "/var/log/journal/%s%s%s", sd_id128_to_string(machine, text), namespace[0] ? "." : "",
                 namespace);
  return 0;
}

static const char *namespace_of(const struct umbra_writer_session *s) { return umbra_writer_key(s); }

/* ---- identify ---- */

static void unit_of(const char *namespace, char ret[NAME_MAX]) {
  (void)snprintf(ret, NAME_MAX, "systemd-journald%s%s.service", namespace[0] ? "@" : "", namespace);
}

static bool is_name(const char *namespace) {
  return namespace[0] && strlen(namespace) < NAMESPACE_BYTES && strcmp(namespace, system_name) != 0 &&
         strspn(namespace, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:") == strlen(namespace);
}

/* One that keeps its messages in /run, or whose files have another place here, is nobody's that has to take part. */
static void add_instance(struct umbra_writer_list *list, const char *namespace) {
  char directory[PATH_MAX], unit[NAME_MAX];
  struct stat st;
  if (!journald_is_there(namespace) || journal_directory(namespace, directory) < 0 || stat(directory, &st) < 0 ||
      !S_ISDIR(st.st_mode))
    return;
  unit_of(namespace, unit);
  struct umbra_writer_instance *one =
      umbra_writer_list_add(list, namespace[0] ? namespace : system_name, UMBRA_WRITER_SYSTEM);
  umbra_writer_instance_set_key(one, namespace);
  umbra_writer_instance_set_restore(one, "custom", NULL);
  umbra_writer_instance_set_process(one, 0, unit);
  umbra_writer_instance_add_files(one, "journal", directory, "*", 1);
}

static int identify(struct umbra_writer_list *list) {
  static const char prefix[] = "journal.";
  CLEANUP_CLOSEDIR DIR *dir = opendir("/run/systemd");
  int count = 0;
  if (!dir)
    return 0;
  add_instance(list, "");
  for (const struct dirent *e; (e = readdir(dir));) {
    if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 || !is_name(e->d_name + strlen(prefix)))
      continue;
    if (++count > NAMESPACES_MAX) {
      log_error("the journal has more than %d namespaces", NAMESPACES_MAX);
      return -E2BIG;
    }
    add_instance(list, e->d_name + strlen(prefix));
  }
  return 0;
}

/* ---- events ---- */

static int64_t in_seconds(int seconds) { return clock_monotonic_ns() + seconds * NS_PER_S; }

static int ask(struct umbra_writer_session *s, const char *method, int wait_s) {
  struct umbra_error err = {0};
  int r = journald_ask(namespace_of(s), method, in_seconds(wait_s), &err);
  return r < 0 ? umbra_writer_fail(s, r == -ETIMEDOUT ? -EAGAIN : r, "%s", err.message) : 0;
}

/* After the boot, or a journalctl --relinquish-var, messages stay in /run until somebody asks for this. */
static int prepare_backup(struct umbra_writer_session *s) {
  if (namespace_of(s)[0] != '\0' || access("/run/systemd/journal/flushed", F_OK) == 0)
    return 0;
  int r = ask(s, "FlushToVar", FLUSH_WAIT_S);
  if (r == 0)
    umbra_writer_answer(s, "flushed", "from /run/log/journal");
  return r;
}

/* journald starts its own syncing, and does not wait for it. */
static int sync_files(struct umbra_writer_session *s) {
  char path[PATH_MAX];
  int r = journal_directory(namespace_of(s), path);
  CLEANUP_CLOSEDIR DIR *dir = r < 0 ? NULL : opendir(path);
  if (!dir)
    return umbra_writer_fail(s, r < 0 ? r : -errno, "opening the journal's directory");
  for (const struct dirent *e; (e = readdir(dir));) {
    const char *end = strrchr(e->d_name, '.');
    if (!end || strcmp(end, ".journal") != 0)
      continue;
    CLEANUP_CLOSE int fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    /* One that was removed meanwhile, to keep to the journal's size, is no failure. */
    if (fd >= 0 && fdatasync(fd) < 0)
      return umbra_writer_fail(s, -errno, "syncing '%s/%s': %s", path, e->d_name, strerror(errno));
  }
  return fsync(dirfd(dir)) < 0 ? umbra_writer_fail(s, -errno, "syncing '%s': %s", path, strerror(errno)) : 0;
}

static int prepare_snapshot(struct umbra_writer_session *s) {
  int r = ask(s, "Synchronize", PREPARE_WAIT_S);
  return r < 0 ? r : sync_files(s);
}

static int freeze(struct umbra_writer_session *s) {
  int r = ask(s, "Synchronize", FREEZE_WAIT_S);
  return r < 0 ? r : sync_files(s);
}

static int thaw(struct umbra_writer_session *s) {
  (void)s;
  return 0;
}

/* ---- restore ---- */

/*
 * The files that were being written get names as journald gives them when it sets them aside, so that what comes back
 * does not take their place.  Nobody has them open.
 */
static int set_aside(struct umbra_writer_session *s) {
  char path[PATH_MAX], name[NAME_MAX];
  int r = journal_directory(namespace_of(s), path);
  CLEANUP_CLOSEDIR DIR *dir = r < 0 ? NULL : opendir(path);
  if (!dir)
    return r == 0 && errno == ENOENT ? 0
                                     : umbra_writer_fail(s, r < 0 ? r : -errno, "opening the journal's directory");
  for (const struct dirent *e; (e = readdir(dir));) {
    const char *end = strrchr(e->d_name, '.');
    struct timespec now;
    uint64_t number;
    if (!end || strcmp(end, ".journal") != 0 || strchr(e->d_name, '@'))
      continue;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (getrandom(&number, sizeof number, 0) != sizeof number ||
        (size_t)snprintf(name, sizeof name, "%.*s@%016" PRIx64 "-%016" PRIx64 ".journal~", (int)(end - e->d_name),
                         e->d_name, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000,
                         number) >= sizeof name ||
        renameat2(dirfd(dir), e->d_name, dirfd(dir), name, RENAME_NOREPLACE) < 0)
      return umbra_writer_fail(s, -errno, "setting '%s/%s' aside: %s", path, e->d_name, strerror(errno));
  }
  return 0;
}

/* Nobody has the directory open while files come back: the system's journald writes to /run meanwhile, others end. */
static int pre_restore(struct umbra_writer_session *s) {
  const char *namespace = namespace_of(s);
  struct umbra_error err = {0};
  int r = 0;
  if (umbra_writer_restores_elsewhere(s))
    return 0;
  if (journald_is_there(namespace) && namespace[0] == '\0')
    r = ask(s, "RelinquishVar", FLUSH_WAIT_S);
  else if (journald_is_there(namespace) && (r = units_stop(namespace, &err)) < 0)
    return umbra_writer_fail(s, r, "%s", err.message);
  return r < 0 && r != -ECONNREFUSED ? r : set_aside(s);
}

static int verify(struct umbra_writer_session *s) {
  char directory[PATH_MAX];
  int r = journal_directory(namespace_of(s), directory);
  CLEANUP_FREE char *there = r < 0 ? NULL : umbra_writer_restore_path(s, directory);
  if (!there)
    return umbra_writer_fail(s, r < 0 ? r : -ENOMEM, "finding where the journal comes back to");
  int status =
      service_run((uid_t)-1, (gid_t)-1, (const char *const[]){"journalctl", "--verify", "-q", "-D", there, NULL});
  umbra_writer_answer(s, "verified",
                      status == 0 ? "ok"
                      : status == -ENOENT
                          ? "not checked: journalctl is not installed"
                          : "one of its files is damaged or was being written: see journalctl --verify -D");
  return 0;
}

static int go_on(struct umbra_writer_session *s) {
  const char *namespace = namespace_of(s);
  if (umbra_writer_restores_elsewhere(s) || !journald_is_there(namespace))
    return 0;
  if (namespace[0] == '\0') {
    int r = ask(s, "FlushToVar", FLUSH_WAIT_S);
    return r == -ECONNREFUSED ? 0 : r; /* none runs */
  }
  return !service_is_managed() || units_start(namespace)
             ? 0
             : umbra_writer_fail(s, -EIO, "the journald of namespace '%s' does not start again", namespace);
}

/* Whatever became of the restore, and of the check: journald does not stay in /run. */
static int post_restore(struct umbra_writer_session *s) {
  int verified = verify(s), goes_on = go_on(s);
  return goes_on < 0 ? goes_on : verified;
}

static const struct umbra_writer writer = {
    .name = "journal",
    .identify = identify,
    .prepare_backup = prepare_backup,
    .prepare_snapshot = prepare_snapshot,
    .freeze = freeze,
    .thaw = thaw,
    .pre_restore = pre_restore,
    .post_restore = post_restore,
};

int main(int argc, char **argv) { return umbra_writer_main(&writer, argc, argv); }
