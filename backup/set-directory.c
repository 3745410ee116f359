/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Folders of a backup set directory, its lock, and finding a backup in it. See set-directory.h. */
#include "backup/set-directory.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/id.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>

#define PARTIAL_PREFIX ".partial-"
#define LOCK_NAME ".lock"

static const char *const state_names[] = {
    [BACKUP_WHOLE] = "whole",
    [BACKUP_DAMAGED] = "damaged",
    [BACKUP_IN_PROGRESS] = "in progress",
    [BACKUP_LEFTOVER] = "leftover",
};
static_assert(sizeof state_names / sizeof *state_names == BACKUP_STATE_MAX, "every state has a name");

const char *backup_state_name(enum backup_state state) { return state_names[state]; }

void set_directory_make_name(char ret[SET_DIRECTORY_NAME_BYTES], int64_t realtime_ns, enum manifest_type type,
                             const char *id) {
  time_t seconds = realtime_ns / NS_PER_S;
  struct tm tm;
  char text[32];
  (void)gmtime_r(&seconds, &tm);
  (void)strftime(text, sizeof text, "%Y%m%dT%H%M%S", &tm);
  (void)snprintf(ret, SET_DIRECTORY_NAME_BYTES, "%s.%03dZ-%s-%.8s", text, (int)(realtime_ns % NS_PER_S / NS_PER_MS),
                 manifest_type_name(type), id);
}

static bool is_partial(const char *name) { return strncmp(name, PARTIAL_PREFIX, strlen(PARTIAL_PREFIX)) == 0; }

/* Folders of backups begin with the year; whatever else lies there is not ours. */
static bool is_backup_name(const char *name) {
  return strlen(name) < SET_DIRECTORY_NAME_BYTES && strspn(name, "0123456789") == 8 && name[8] == 'T';
}

/* True if somebody else makes a backup now. */
static bool somebody_locks(const struct set_directory *d) {
  if (d->lock_fd >= 0)
    return false;
  CLEANUP_CLOSE int fd = openat(d->fd, LOCK_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static void entry_done(struct backup_entry *e) {
  free(e->name);
  manifest_done(&e->manifest);
}

static void entries_free(struct set_directory *d) {
  for (size_t i = 0; i < d->count; i++)
    entry_done(&d->entries[i]);
  free(d->entries);
  d->entries = NULL;
  d->count = 0;
}

static void read_entry(const struct set_directory *d, struct backup_entry *e, bool locked) {
  if (is_partial(e->name)) {
    e->state = locked ? BACKUP_IN_PROGRESS : BACKUP_LEFTOVER;
    return;
  }
  CLEANUP_CLOSE int fd = set_directory_open_backup(d, e, &e->why);
  int r = fd < 0 ? fd : manifest_read(fd, e->name, &e->manifest, &e->why);
  e->state = r < 0 ? BACKUP_DAMAGED : BACKUP_WHOLE;
}

/* Names begin with the time. */
static int compare_entries(const void *a, const void *b) {
  return strcmp(((const struct backup_entry *)a)->name, ((const struct backup_entry *)b)->name);
}

static int read_entries(struct set_directory *d, struct umbra_error *err) {
  size_t capacity = 0;
  bool locked = somebody_locks(d);
  CLEANUP_CLOSE int copy = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CLEANUP_CLOSEDIR DIR *dir = copy < 0 ? NULL : fdopendir(copy);
  if (!dir)
    return error_errno(err, "reading '%s'", d->path);
  copy = -1;
  entries_free(d);
  for (const struct dirent *de; (de = readdir(dir));) {
    if (!is_partial(de->d_name) && !is_backup_name(de->d_name))
      continue;
    if (d->count == SET_DIRECTORY_BACKUPS_MAX)
      return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "'%s' holds more than %d backups", d->path,
                       SET_DIRECTORY_BACKUPS_MAX);
    if (d->count == capacity) {
      capacity = capacity ? 2 * capacity : 16;
      struct backup_entry *larger = realloc(d->entries, capacity * sizeof *larger);
      if (!larger)
        return error_code(err, -ENOMEM, "reading '%s'", d->path);
      d->entries = larger;
    }
    struct backup_entry *e = &d->entries[d->count];
    *e = (struct backup_entry){.name = strdup(de->d_name)};
    if (!e->name)
      return error_code(err, -ENOMEM, "reading '%s'", d->path);
    d->count++;
    read_entry(d, e, locked);
  }
  if (d->count > 0)
    qsort(d->entries, d->count, sizeof *d->entries, compare_entries);
  return 0;
}

/* The folder of one backup, named in place of the directory that it is in. */
static int refuse_backup(const struct set_directory *d, struct umbra_error *err) {
  if (faccessat(d->fd, MANIFEST_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
    return 0;
  return error_set(err, -EINVAL, UMBRA_REASON_INVALID,
                   "'%s' is itself one backup of a backup set directory: say DIRECTORY@BACKUP", d->path);
}

int set_directory_open(const char *path, bool create, struct set_directory *ret, struct umbra_error *err) {
  struct set_directory d = {.fd = -1, .lock_fd = -1, .path = strdup(path)};
  int r = d.path ? 0 : error_code(err, -ENOMEM, "opening '%s'", path);
  if (r == 0 && create) {
    r = fd_make_directories(path, 0700);
    if (r < 0)
      (void)error_code(err, r, "making backup set directory '%s'", path);
  }
  if (r == 0) {
    d.fd = fd_open_directory(path);
    r = d.fd < 0 ? error_code(err, d.fd, "opening backup set directory '%s'", path) : refuse_backup(&d, err);
    if (r == 0)
      r = read_entries(&d, err);
  }
  if (r < 0)
    set_directory_close(&d);
  else
    *ret = d;
  return r;
}

void set_directory_close(struct set_directory *d) {
  entries_free(d);
  if (d->lock_fd >= 0)
    (void)close(d->lock_fd);
  if (d->fd >= 0)
    (void)close(d->fd);
  free(d->path);
  *d = (struct set_directory){.fd = -1, .lock_fd = -1};
}

int set_directory_lock(struct set_directory *d, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = openat(d->fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return error_errno(err, "making '%s/%s'", d->path, LOCK_NAME);
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    if (errno == EWOULDBLOCK)
      return error_set(err, -EBUSY, UMBRA_REASON_BUSY, "another backup to '%s' is being made; wait for its end",
                       d->path);
    return error_errno(err, "locking '%s/%s'", d->path, LOCK_NAME);
  }
  d->lock_fd = take_fd(&fd);
  int r = read_entries(d, err);
  for (size_t i = 0; r == 0 && i < d->count; i++)
    if (is_partial(d->entries[i].name)) {
      r = fd_remove_tree(d->fd, d->entries[i].name);
      if (r < 0)
        return error_code(err, r, "removing leftover '%s/%s'", d->path, d->entries[i].name);
    }
  return r < 0 ? r : read_entries(d, err);
}

const struct backup_entry *set_directory_by_id(const struct set_directory *d, const char *id) {
  for (size_t i = 0; i < d->count; i++)
    if (d->entries[i].state == BACKUP_WHOLE && strcmp(d->entries[i].manifest.id, id) == 0)
      return &d->entries[i];
  return NULL;
}

static bool entry_matches(const struct backup_entry *e, const char *text) {
  return strcmp(e->name, text) == 0 || (e->state == BACKUP_WHOLE && id_matches(e->manifest.id, text));
}

/* Without a label a damaged one counts: an older backup is not what "latest" asks for. */
static const struct backup_entry *newest(const struct set_directory *d, const char *label) {
  for (size_t i = d->count; i > 0; i--) {
    const struct backup_entry *e = &d->entries[i - 1];
    if (e->state == BACKUP_DAMAGED && !label)
      return e;
    if (e->state == BACKUP_WHOLE && (!label || (e->manifest.label && strcmp(e->manifest.label, label) == 0)))
      return e;
  }
  return NULL;
}

int set_directory_find(const struct set_directory *d, const char *text, const struct backup_entry **ret,
                       struct umbra_error *err) {
  const struct backup_entry *found = NULL;
  bool latest = !text || strcmp(text, "latest") == 0;
  for (size_t i = 0; !latest && i < d->count; i++) {
    if (!entry_matches(&d->entries[i], text))
      continue;
    if (found)
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' in '%s' means several backups; give more of the id",
                       text, d->path);
    found = &d->entries[i];
  }
  if (!found)
    found = newest(d, latest ? NULL : text);
  if (!found && latest)
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "'%s' holds no whole backup", d->path);
  if (!found)
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "'%s' holds no backup '%s'", d->path, text);
  if (found->state == BACKUP_DAMAGED) {
    if (err)
      *err = found->why;
    return found->why.code;
  }
  if (found->state != BACKUP_WHOLE)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s/%s' is not a whole backup: %s", d->path, found->name,
                     backup_state_name(found->state));
  *ret = found;
  return 0;
}

int set_directory_open_backup(const struct set_directory *d, const struct backup_entry *e, struct umbra_error *err) {
  int fd = openat(d->fd, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return fd < 0 ? error_errno(err, "opening '%s/%s'", d->path, e->name) : fd;
}

int set_directory_open_file(const struct set_directory *d, const struct backup_entry *e, const char *file,
                            struct umbra_error *err) {
  CLEANUP_CLOSE int dir = set_directory_open_backup(d, e, err);
  struct stat st;
  if (dir < 0)
    return dir;
  CLEANUP_CLOSE int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0)
    return error_errno(err, "opening '%s/%s/%s'", d->path, e->name, file);
  if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "'%s/%s/%s' is not a file", d->path, e->name, file);
  return take_fd(&fd);
}
