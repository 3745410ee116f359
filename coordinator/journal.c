/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/journal.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/json.h"
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

/* A guardian whose coordinator died thaws within milliseconds and then tells writers, which may take this long. */
enum { GUARDIAN_LEAVES_MS = 15000, LOCK_POLL_MS = 10 };

int journal_boot_id(char ret[37]) {
  CLEANUP_FREE char *text = NULL;
  size_t length = 0;
  int r = fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 100, &text, &length);
  if (r < 0 || length < 36)
    return r < 0 ? r : -EBADMSG;
  memcpy(ret, text, 36);
  ret[36] = 0;
  return 0;
}

static int open_directory(const char *runtime_dir, int *ret, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "%s/sets", runtime_dir) < 0)
    return error_code(err, -ENOMEM, "opening the journal");
  *ret = fd_open_directory(path);
  return *ret < 0 ? error_code(err, *ret, "opening the journal '%s'", path) : 0;
}

/* True if the file that fd has locked is still the one with that name, and not one that was removed meanwhile. */
static bool still_named(int directory_fd, const char *name, int fd) {
  struct stat by_name, by_fd;
  return fstatat(directory_fd, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &by_fd) == 0 &&
         by_name.st_ino == by_fd.st_ino && by_name.st_dev == by_fd.st_dev;
}

int journal_open(struct journal *j, const char *runtime_dir, const char *id, struct umbra_error *err) {
  *j = (struct journal){.directory_fd = -1, .lock_fd = -1};
  (void)snprintf(j->id, sizeof j->id, "%s", id);
  int r = open_directory(runtime_dir, &j->directory_fd, err);
  if (r < 0)
    return r;
  char name[64];
  (void)snprintf(name, sizeof name, "%s.lock", id);
  /* Another process may meet the file before it is locked, take it for a dead owner's and remove it: then once more.
   */
  for (;;) {
    CLEANUP_CLOSE int fd = openat(j->directory_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
      return error_errno(err, "locking journal entry '%s'", name);
    if (!still_named(j->directory_fd, name, fd))
      continue;
    j->lock_fd = take_fd(&fd);
    return 0;
  }
}

int journal_write(struct journal *j, const json_t *document, struct umbra_error *err) {
  char name[64];
  (void)snprintf(name, sizeof name, "%s.json", j->id);
  int r = json_write_file(j->directory_fd, name, document, 0600, false, err);
  return r < 0 ? error_prefix(err, r, "journal of set %s", j->id) : 0;
}

static void remove_entry(int directory_fd, const char *id) {
  char name[64];
  /* The lock goes last: an entry without lock would look dead. */
  (void)snprintf(name, sizeof name, "%s.json", id);
  (void)unlinkat(directory_fd, name, 0);
  (void)snprintf(name, sizeof name, "%s.lock", id);
  (void)unlinkat(directory_fd, name, 0);
}

void journal_close(struct journal *j, bool remove) {
  if (j->lock_fd >= 0) {
    if (remove)
      remove_entry(j->directory_fd, j->id);
    (void)close(j->lock_fd);
  }
  if (j->directory_fd >= 0)
    (void)close(j->directory_fd);
  j->lock_fd = j->directory_fd = -1;
}

static bool owner_lives(const json_t *document) {
  const json_t *owner = json_object_get(document, "owner");
  return process_alive((pid_t)json_get_integer_or(owner, "pid", 0),
                       (uint64_t)json_get_integer_or(owner, "start_ticks", 0));
}

/*
 * Locks an entry whose owner is dead. Returns the descriptor, or -EBUSY if it is alive.  An owner that is dead while
 * the lock is taken has a guardian that is still cleaning up: worth a wait.
 */
static int lock_dead(int directory_fd, const char *id, const json_t *document) {
  char name[64];
  (void)snprintf(name, sizeof name, "%s.lock", id);
  CLEANUP_CLOSE int fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return -errno;
  for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += LOCK_POLL_MS) {
    if (errno != EWOULDBLOCK || !document || owner_lives(document) || waited_ms >= GUARDIAN_LEAVES_MS)
      return -EBUSY;
    nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000000L}, NULL);
  }
  return still_named(directory_fd, name, fd) ? take_fd(&fd) : -ENOENT;
}

static int scan_entry(int directory_fd, const char *id, journal_found found, void *context) {
  char name[64];
  CLEANUP_JSON json_t *document = NULL;
  (void)snprintf(name, sizeof name, "%s.json", id);
  bool readable = json_read_file(directory_fd, name, &document, NULL) >= 0;
  CLEANUP_CLOSE int lock = lock_dead(directory_fd, id, document);
  if (lock == -ENOENT)
    return 0; /* gone meanwhile */
  if (lock >= 0) {
    /* What it says may have changed until the lock was ours. */
    json_decref(take_pointer(document));
    readable = json_read_file(directory_fd, name, &document, NULL) >= 0;
  }
  int r = found(context, id, readable ? document : json_null(), lock < 0);
  if (r == 1 && lock >= 0)
    remove_entry(directory_fd, id);
  return r < 0 ? r : 0;
}

int journal_scan(const char *runtime_dir, journal_found found, void *context, struct umbra_error *err) {
  int directory_fd;
  int r = open_directory(runtime_dir, &directory_fd, err);
  if (r == -ENOENT)
    return 0;
  if (r < 0)
    return r;
  CLEANUP_CLOSEDIR DIR *dir = fdopendir(directory_fd);
  if (!dir) {
    (void)close(directory_fd);
    return error_code(err, -ENOMEM, "reading the journal");
  }
  struct dirent *entry;
  int result = 0;
  while ((entry = readdir(dir))) {
    char id[ID_TEXT_BYTES];
    size_t length = strlen(entry->d_name);
    /* By lock: it is there first and goes last. */
    if (length != ID_TEXT_BYTES - 1 + 5 || strcmp(entry->d_name + length - 5, ".lock") != 0)
      continue;
    memcpy(id, entry->d_name, ID_TEXT_BYTES - 1);
    id[ID_TEXT_BYTES - 1] = 0;
    r = id_valid(id) ? scan_entry(dirfd(dir), id, found, context) : 0;
    if (r < 0)
      result = r;
  }
  return result;
}
