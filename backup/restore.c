/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Brings a backup back.  Its index tells the whole tree and which archive of the chain has each member, so that every
 * file is written once, in its last state:
 *
 *   1. plan: the index is read to its end before anything is touched (its checksum is at its end)
 *   2. remove: what the indexes of the chain call deleted and the last does not have, deepest first
 *   3. directories: made where missing, outermost first; those that are there lose what a killed restore left in them
 *   4. members: archive by archive, each in order of its offsets; directories' attributes are noted
 *   5. hard links
 *   6. flags that lock files (immutable, append-only): such a file could not have got another name
 *   7. attributes of directories, innermost first, since making files changes a directory's time
 *
 * A member that is damaged is named, its file is not touched, and the rest goes on.
 */
#include "backup/archive-reader.h"
#include "backup/backup.h"
#include "backup/cancel.h"
#include "backup/chain.h"
#include "backup/file-flags.h"
#include "backup/restore-file.h"
#include "backup/restore-queue.h"
#include "backup/restore-tree.h"
#include "backup/spool.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

enum {
  FOREIGN_LINKS_MAX = 100000, /* selected hard links to files that are not selected */
  PROGRESS_BYTES = 8 * 1024 * 1024,
  WARNING_BYTES = ERROR_MESSAGE_BYTES_MAX + TREE_PATH_BYTES_MAX + 128,
};

/* dev and inode, so that no other file that has got the name meanwhile is locked. */
struct locked_file {
  dev_t device;
  ino_t inode;
  uint32_t flags;
};

/* A file that is not selected but has a hard link that is: it is restored under the link's path. */
struct foreign_link {
  char *target, *path;
};

struct restorer {
  const struct restore_options *options;
  const struct backup_listener *listener;
  struct restore_totals *totals;
  struct chain chain;
  struct restore_tree *tree;
  struct restore_queue *queue;
  bool privileged;
  bool *path_found;  /* for each of options->paths */
  uint64_t *members; /* selected, for each position of the chain */
  struct foreign_link *foreign;
  size_t foreign_count;
  struct spool directories; /* attributes of directories, to be set at the end */
  struct spool locked;      /* struct locked_file and its path: files that get flags which lock them */
  char **untouched;         /* directories above selected paths that were there already */
  uint64_t total_bytes, done_bytes, reported_bytes;
};

/* ---- telling ---- */

static void warn(struct restorer *r, const char *what, const struct umbra_error *why) {
  char message[WARNING_BYTES];
  if (!r->listener || !r->listener->warning)
    return;
  (void)snprintf(message, sizeof message, "%s%s%s", what, why ? ": " : "", why ? why->message : "");
  r->listener->warning(r->listener->userdata, message);
}

static void failed(struct restorer *r, const char *path, const struct umbra_error *why) {
  char what[TREE_PATH_BYTES_MAX + 64];
  r->totals->failed++;
  (void)snprintf(what, sizeof what, "'/%s' is not restored", path);
  warn(r, what, why);
}

static void progress(struct restorer *r, uint64_t bytes, bool ended) {
  r->done_bytes += bytes;
  if (!r->listener || !r->listener->progress || (!ended && r->done_bytes - r->reported_bytes < PROGRESS_BYTES))
    return;
  r->reported_bytes = r->done_bytes;
  r->listener->progress(r->listener->userdata, "restoring", r->done_bytes, r->total_bytes);
}

/* ---- selection ---- */

static bool selected(const struct restorer *r, const char *path) {
  char *const *paths = r->options->paths;
  if (!paths || !paths[0])
    return true;
  for (size_t i = 0; paths[i]; i++)
    if (tree_path_within(path, paths[i] + 1)) {
      r->path_found[i] = true;
      return !r->options->wanted || r->options->wanted(r->options->wanted_userdata, path);
    }
  return false;
}

/* A directory on the way to a selected path; or below one, to what is wanted there. */
static bool on_the_way(const struct restorer *r, const char *path) {
  for (size_t i = 0; r->options->paths && r->options->paths[i]; i++)
    if (tree_path_within(r->options->paths[i] + 1, path) ||
        (r->options->wanted && tree_path_within(path, r->options->paths[i] + 1)))
      return true;
  return false;
}

static int compare_foreign(const void *a, const void *b) {
  return strcmp(((const struct foreign_link *)a)->target, ((const struct foreign_link *)b)->target);
}

static struct foreign_link *find_foreign(const struct restorer *r, const char *target) {
  struct foreign_link key = {.target = (char *)target};
  return r->foreign_count > 0 ? bsearch(&key, r->foreign, r->foreign_count, sizeof key, compare_foreign) : NULL;
}

static int add_foreign(struct restorer *r, const struct index_record *record, struct umbra_error *err) {
  if (r->foreign_count == FOREIGN_LINKS_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT,
                     "more than %d hard links lead out of the paths to restore; restore the whole backup",
                     FOREIGN_LINKS_MAX);
  struct foreign_link *larger = realloc(r->foreign, (r->foreign_count + 1) * sizeof *larger);
  if (!larger)
    return error_code(err, -ENOMEM, "planning the restore");
  r->foreign = larger;
  struct foreign_link f = {strdup(record->target), strdup(record->path)};
  if (!f.target || !f.path) {
    free(f.target);
    free(f.path);
    return error_code(err, -ENOMEM, "planning the restore");
  }
  r->foreign[r->foreign_count++] = f;
  return 0;
}

/* Sorted by target, each target once, under the first of its links. */
static void settle_foreign(struct restorer *r) {
  size_t kept = 0;
  if (r->foreign_count > 1)
    qsort(r->foreign, r->foreign_count, sizeof *r->foreign, compare_foreign);
  for (size_t i = 0; i < r->foreign_count; i++) {
    struct foreign_link *f = &r->foreign[i];
    if (kept == 0 || strcmp(r->foreign[kept - 1].target, f->target) != 0) {
      r->foreign[kept++] = *f;
      continue;
    }
    struct foreign_link *first = &r->foreign[kept - 1];
    bool before = tree_path_compare(f->path, first->path) < 0;
    free(f->target);
    free(before ? first->path : f->path);
    if (before)
      first->path = f->path;
  }
  r->foreign_count = kept;
}

/* ---- walking an index ---- */

typedef int (*record_function)(struct restorer *r, const struct index_record *record, size_t position,
                               struct umbra_error *err);

/* Calls function for each record of the backup's own index. position is handed through. */
static int each_record(struct restorer *r, record_function function, size_t position, struct umbra_error *err) {
  struct chain_index index;
  const struct index_record *record = NULL;
  int result = chain_open_index(&r->chain, r->chain.count - 1, &index, err);
  if (result < 0)
    return result;
  while ((result = index_reader_next(index.reader, &record, err)) == 1) {
    result = backup_check_cancelled(r->listener, err);
    if (result == 0)
      result = function(r, record, position, err);
    if (result < 0)
      break;
  }
  chain_close_index(&index);
  return result;
}

/* ---- 1. plan ---- */

static int plan_record(struct restorer *r, const struct index_record *record, size_t position,
                       struct umbra_error *err) {
  (void)position;
  if (record->kind == INDEX_DELETED || !selected(r, record->path))
    return 0;
  if (record->position >= r->chain.count)
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "'/%s' is said to lie in a backup behind the last",
                     record->path);
  if (record->kind == INDEX_HARD_LINK)
    return selected(r, record->target) ? 0 : add_foreign(r, record, err);
  r->members[record->position]++;
  if (record->kind == INDEX_FILE)
    r->total_bytes += record->size_bytes;
  return 0;
}

/* Files outside the selection that links need are members to read as well. */
static int plan_foreign(struct restorer *r, const struct index_record *record, size_t position,
                        struct umbra_error *err) {
  (void)position;
  (void)err;
  if (index_kind_stored(record->kind) && record->position < r->chain.count && find_foreign(r, record->path))
    r->members[record->position]++;
  return 0;
}

static int plan(struct restorer *r, struct umbra_error *err) {
  int result = each_record(r, plan_record, 0, err);
  if (result < 0)
    return result;
  settle_foreign(r);
  if (r->foreign_count > 0)
    result = each_record(r, plan_foreign, 0, err);
  for (size_t i = 0; result == 0 && r->options->paths && r->options->paths[i]; i++)
    if (!r->path_found[i])
      return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "'%s' is not in backup '%s'", r->options->paths[i],
                       r->options->backup->name);
  return result;
}

/* ---- 2. remove ---- */

/* The paths that the index at position calls deleted and the last one does not have, in tree order. */
static int list_deleted(struct restorer *r, size_t position, struct spool *list, struct umbra_error *err) {
  struct chain_index step = {.fd = -1}, last = {.fd = -1};
  const struct index_record *gone = NULL, *there = NULL;
  int result = chain_open_index(&r->chain, position, &step, err);
  if (result == 0)
    result = chain_open_index(&r->chain, r->chain.count - 1, &last, err);
  int more = result == 0 ? index_reader_next(last.reader, &there, err) : 0;
  while (result == 0 && (result = index_reader_next(step.reader, &gone, err)) == 1) {
    result = 0;
    if (gone->kind != INDEX_DELETED || !selected(r, gone->path))
      continue;
    while (more == 1 && (there->kind == INDEX_DELETED || tree_path_compare(there->path, gone->path) < 0))
      more = index_reader_next(last.reader, &there, err);
    if (more < 0)
      result = more;
    else if (more == 0 || strcmp(there->path, gone->path) != 0)
      result = spool_append(list, gone->path, strlen(gone->path), err);
  }
  chain_close_index(&step);
  chain_close_index(&last);
  return result;
}

static void remove_path(struct restorer *r, const char *path) {
  struct directory *directory = NULL;
  const char *name = NULL;
  if (!tree_path_valid(path, strlen(path)) || path[0] == '\0' ||
      restore_tree_find(r->tree, path, false, &directory, &name, NULL) < 0)
    return;
  if (unlinkat(directory->fd, name, 0) == 0) {
    r->totals->removed++;
    return;
  }
  if (errno == EPERM) {
    file_flags_unlock(directory->fd, ".");
    file_flags_unlock(directory->fd, name);
    if (unlinkat(directory->fd, name, 0) == 0) {
      r->totals->removed++;
      return;
    }
  }
  if (errno != EISDIR)
    return;
  file_flags_unlock(directory->fd, name);
  restore_tree_forget(r->tree);
  if (restore_tree_find(r->tree, path, false, &directory, &name, NULL) == 0 &&
      unlinkat(directory->fd, name, AT_REMOVEDIR) == 0)
    r->totals->removed++;
}

static int remove_deleted_at(struct restorer *r, size_t position, struct umbra_error *err) {
  struct spool list;
  struct spool_cursor cursor = {0};
  struct umbra_error why = {0};
  int result = spool_init(&list, restore_tree_root_fd(r->tree), err);
  if (result < 0)
    return result;
  result = list_deleted(r, position, &list, &why);
  if (result < 0 && position + 1 < r->chain.count) {
    /* An index in between: only what was deleted then is unknown. */
    r->totals->failed++;
    warn(r, "files that were deleted between two backups of the chain may remain; all others are unaffected", &why);
    result = 0;
  } else if (result < 0 && err) {
    *err = why;
  }
  if (result == 0)
    result = spool_cursor_init(&cursor, &list, SPOOL_BUFFER_BYTES, err);
  spool_cursor_seek(&cursor, spool_length(&list));
  while (result >= 0 && (result = spool_previous(&cursor, err)) == 1)
    remove_path(r, cursor.record);
  spool_cursor_done(&cursor);
  spool_done(&list);
  return result;
}

static int remove_deleted(struct restorer *r, struct umbra_error *err) {
  for (size_t position = 1; position < r->chain.count; position++) {
    int result = remove_deleted_at(r, position, err);
    if (result < 0)
      return result;
  }
  restore_tree_forget(r->tree);
  return 0;
}

/* ---- 3. directories ---- */

static void remove_left_in(const struct directory *parent, const char *name) {
  CLEANUP_CLOSE int fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0)
    temporary_remove_left(fd);
}

static int make_directory(struct restorer *r, const struct index_record *record, size_t position,
                          struct umbra_error *err) {
  struct directory *directory = NULL;
  struct umbra_error why = {0};
  const char *name = NULL;
  (void)position;
  bool wanted = selected(r, record->path);
  if (record->kind != INDEX_DIRECTORY || (!wanted && !on_the_way(r, record->path)))
    return 0;
  int result = restore_tree_find(r->tree, record->path, true, &directory, &name, &why);
  if (result < 0) {
    failed(r, record->path, &why);
    return 0;
  }
  if (strcmp(name, ".") == 0) {
    temporary_remove_left(directory->fd);
    return 0;
  }
  result = mkdirat(directory->fd, name, 0700) < 0 ? -errno : 0;
  if (result == -EEXIST) {
    struct stat st;
    if (fstatat(directory->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
      if (wanted)
        file_flags_unlock(directory->fd, name); /* it gets its own at the end */
      remove_left_in(directory, name);
      if (!wanted && strv_append(&r->untouched, record->path) < 0)
        return error_code(err, -ENOMEM, "restoring");
      return 0;
    }
    result = restore_file_remove(directory->fd, name, &why);
    if (result == 0 && mkdirat(directory->fd, name, 0700) < 0)
      result = -errno;
  }
  if (result < 0) {
    if (why.code == 0)
      (void)error_code(&why, result, "making the directory");
    failed(r, record->path, &why);
  }
  return 0;
}

/* A source's own directory is not in the index. */
static void remove_left_beside_sources(struct restorer *r) {
  const struct backup_entry *last = r->chain.entries[r->chain.count - 1];
  size_t i;
  json_t *item;
  json_array_foreach(last->manifest.sources, i, item) {
    CLEANUP_FREE char *source = NULL;
    struct directory *directory = NULL;
    const char *name = NULL;
    if (json_path_value(item, &source) < 0 || source[0] != '/' || !tree_path_valid(source + 1, strlen(source + 1)) ||
        !selected(r, source + 1))
      continue;
    if (restore_tree_find(r->tree, source + 1, false, &directory, &name, NULL) == 0)
      temporary_remove_left(directory->fd);
  }
}

static int make_directories(struct restorer *r, struct umbra_error *err) {
  int result = each_record(r, make_directory, 0, err);
  if (result == 0)
    remove_left_beside_sources(r);
  return result;
}

/* ---- 4. members ---- */

/* Notes a file for the end if it shall be locked. */
static void note_locked(struct restorer *r, const char *path, uint32_t flags, dev_t device, ino_t inode) {
  struct locked_file head = {.device = device, .inode = inode, .flags = flags & FILE_FLAGS_LOCKING};
  struct umbra_error why = {0};
  char note[sizeof head + TREE_PATH_BYTES_MAX + 1];
  size_t path_bytes = strlen(path) + 1;
  if (head.flags == 0)
    return;
  memcpy(note, &head, sizeof head);
  memcpy(note + sizeof head, path, path_bytes);
  if (spool_append(&r->locked, note, sizeof head + path_bytes, &why) < 0)
    failed(r, path, &why);
}

static void settle_oldest(struct restorer *r) {
  struct restore_item *item = restore_queue_take(r->queue);
  if (!item)
    return;
  if (item->error.code == 0 && !item->kept)
    note_locked(r, item->path, item->attributes.flags, item->device, item->inode);
  if (item->error.code < 0) {
    failed(r, item->path, &item->error);
  } else if (item->kept) {
    r->totals->kept++;
  } else {
    r->totals->files++;
    r->totals->bytes += item->data_bytes;
  }
  r->totals->skipped_attributes += item->skipped;
  restore_queue_release(r->queue);
}

struct member {
  const struct index_record *record;
  struct archive_reader *archive;
  struct directory *directory;
  const char *path, *name; /* where it goes */
  struct metadata attributes;
  bool keep;
};

/* Reads all of a small file and hands it to the threads. */
static int restore_small(struct restorer *r, struct member *m, struct umbra_error *why) {
  size_t size_bytes = (size_t)m->record->size_bytes, n = 0, at = 0;
  uint64_t offset_bytes = 0;
  const void *data = NULL;
  CLEANUP_FREE char *content = malloc(size_bytes + 1);
  if (!content)
    return error_code(why, -ENOMEM, "reading it");
  int result;
  while ((result = archive_reader_data(m->archive, &data, &n, &offset_bytes, why)) == 1) {
    memcpy(content + offset_bytes, data, n);
    at = (size_t)offset_bytes + n;
  }
  if (result < 0)
    return result;
  if (at != size_bytes)
    return error_set(why, -EBADMSG, UMBRA_REASON_DAMAGED, "its content is incomplete");
  struct restore_item *item;
  while (!(item = restore_queue_place(r->queue, size_bytes)))
    settle_oldest(r);
  item->path = strdup(m->path);
  if (!item->path)
    return error_code(why, -ENOMEM, "reading it");
  item->directory = directory_ref(m->directory);
  memcpy(item->name, m->name, strlen(m->name) + 1);
  item->basics = basics_of(m->record);
  item->attributes = m->attributes;
  m->attributes = (struct metadata){0};
  item->data = take_pointer(content);
  item->data_bytes = size_bytes;
  item->keep = m->keep;
  restore_queue_put(r->queue);
  return 0;
}

static int write_content(struct restorer *r, const struct member *m, int fd, struct umbra_error *why) {
  const void *data = NULL;
  size_t n = 0;
  uint64_t offset_bytes = 0;
  int result;
  if (m->record->sparse && ftruncate(fd, (off_t)m->record->size_bytes) < 0)
    return error_errno(why, "writing the file");
  while ((result = archive_reader_data(m->archive, &data, &n, &offset_bytes, why)) == 1) {
    result = fd_pwrite_all(fd, data, n, offset_bytes);
    if (result < 0)
      return error_code(why, result, "writing the file");
    result = backup_check_cancelled(r->listener, why);
    if (result < 0)
      return result;
    progress(r, n, false);
  }
  return result;
}

static int restore_large(struct restorer *r, struct member *m, struct umbra_error *why) {
  struct restore_file f;
  struct basics basics = basics_of(m->record);
  unsigned skipped = 0;
  int result = restore_file_begin(&f, m->directory->fd, m->name, m->keep, m->attributes.flags, why);
  if (result == -EEXIST && m->keep) {
    r->totals->kept++;
    return 0;
  }
  if (result < 0)
    return result;
  result = write_content(r, m, f.fd, why);
  if (result < 0) {
    restore_file_abandon(&f);
    return result;
  }
  result = restore_file_finish(&f, &basics, &m->attributes, r->privileged, &skipped, why);
  r->totals->skipped_attributes += skipped;
  if (result < 0)
    return result;
  note_locked(r, m->path, m->attributes.flags, f.device, f.inode);
  r->totals->files++;
  r->totals->bytes += m->record->size_bytes;
  return 0;
}

static int restore_special(struct restorer *r, struct member *m, struct umbra_error *why) {
  unsigned skipped = 0;
  int result = restore_file_special(m->directory->fd, m->name, m->record, &m->attributes, m->keep, r->privileged,
                                    &skipped, why);
  r->totals->skipped_attributes += skipped;
  if (result == -EEXIST && m->keep)
    r->totals->kept++;
  else if (result == 0)
    r->totals->others++;
  return result == -EEXIST && m->keep ? 0 : result;
}

/* Notes a directory's attributes for the end: basics, length of the path, path, attributes. */
static int note_directory(struct restorer *r, const struct member *m, struct umbra_error *why) {
  struct basics basics = basics_of(m->record);
  size_t path_bytes = strlen(m->record->path) + 1, bytes = sizeof basics + path_bytes;
  CLEANUP_FREE char *note = malloc(bytes);
  if (!note)
    return error_code(why, -ENOMEM, "noting its attributes");
  memcpy(note, &basics, sizeof basics);
  memcpy(note + sizeof basics, m->record->path, path_bytes);
  if (metadata_pack(&m->attributes, &note, &bytes) < 0)
    return error_code(why, -ENOMEM, "noting its attributes");
  return spool_append(&r->directories, note, bytes, why);
}

static int restore_member(struct restorer *r, struct member *m, struct umbra_error *why) {
  int result = archive_reader_open(m->archive, m->record, &m->attributes, why);
  if (result < 0)
    return result;
  if (m->record->kind == INDEX_DIRECTORY)
    return note_directory(r, m, why);
  result = restore_tree_find(r->tree, m->path, true, &m->directory, &m->name, why);
  if (result < 0)
    return result;
  m->keep = r->options->keep_existing && r->options->keep_existing(r->options->keep_userdata, m->path);
  if (m->record->kind != INDEX_FILE)
    return restore_special(r, m, why);
  if (m->record->sparse || m->record->size_bytes > RESTORE_QUEUE_FILE_BYTES_MAX)
    return restore_large(r, m, why);
  progress(r, m->record->size_bytes, false);
  return restore_small(r, m, why);
}

struct archive_at {
  int fd;
  struct archive_reader *reader;
};

static int open_archive(struct restorer *r, size_t position, struct archive_at *ret, struct umbra_error *err) {
  const struct backup_entry *e = r->chain.entries[position];
  char name[SET_DIRECTORY_NAME_BYTES + 16];
  bool table_damaged = false;
  ret->fd = set_directory_open_file(r->chain.directory, e, MANIFEST_ARCHIVE_NAME, err);
  if (ret->fd < 0)
    return ret->fd;
  (void)snprintf(name, sizeof name, "%s/%s", e->name, MANIFEST_ARCHIVE_NAME);
  int result = archive_reader_new(ret->fd, name, &ret->reader, &table_damaged, err);
  if (result == 0 && table_damaged) {
    char message[WARNING_BYTES];
    (void)snprintf(message, sizeof message, "archive '%s' has no whole seek table; it is read by its frames", name);
    warn(r, message, NULL);
  }
  return result;
}

/* Restores the members that lie in the archive at position. */
static int restore_archive(struct restorer *r, size_t position, struct umbra_error *err) {
  struct archive_at archive = {.fd = -1};
  struct chain_index index = {.fd = -1};
  const struct index_record *record = NULL;
  struct umbra_error unusable = {0};
  bool usable = open_archive(r, position, &archive, &unusable) == 0;
  int result = chain_open_index(&r->chain, r->chain.count - 1, &index, err);
  while (result == 0 && (result = index_reader_next(index.reader, &record, err)) == 1) {
    result = 0;
    if (!index_kind_stored(record->kind) || record->position != position)
      continue;
    result = backup_check_cancelled(r->listener, err);
    if (result < 0)
      break;
    const struct foreign_link *foreign = NULL;
    if (!selected(r, record->path) && !(record->kind == INDEX_DIRECTORY && on_the_way(r, record->path)) &&
        !(foreign = find_foreign(r, record->path)))
      continue;
    struct umbra_error why = unusable;
    struct member m = {.record = record, .archive = archive.reader, .path = foreign ? foreign->path : record->path};
    if (!usable || restore_member(r, &m, &why) < 0)
      failed(r, m.path, &why);
    metadata_done(&m.attributes);
  }
  chain_close_index(&index);
  archive_reader_free(archive.reader);
  if (archive.fd >= 0)
    (void)close(archive.fd);
  return result;
}

static int restore_archives(struct restorer *r, struct umbra_error *err) {
  int result = restore_queue_new(r->privileged, &r->queue, err);
  bool way = r->options->paths && r->options->paths[0];
  for (size_t i = 0; result == 0 && i < r->chain.count; i++)
    if (r->members[i] > 0 || way)
      result = restore_archive(r, i, err);
  while (result == 0 && restore_queue_take(r->queue))
    settle_oldest(r);
  restore_queue_free(r->queue);
  r->queue = NULL;
  return result;
}

/* ---- 5. hard links ---- */

static int restore_link(struct restorer *r, const struct index_record *record, size_t position,
                        struct umbra_error *err) {
  struct directory *directory = NULL;
  struct umbra_error why = {0};
  const char *name = NULL, *target = record->target;
  char target_name[TREE_NAME_BYTES_MAX + 1];
  (void)position;
  (void)err;
  if (record->kind != INDEX_HARD_LINK || !selected(r, record->path))
    return 0;
  if (!selected(r, target)) {
    const struct foreign_link *f = find_foreign(r, target);
    if (!f || strcmp(f->path, record->path) == 0)
      return 0; /* it was restored under this very path */
    target = f->path;
  }
  int result = restore_tree_find(r->tree, target, false, &directory, &name, &why);
  if (result == 0) {
    CLEANUP_CLOSE int from_fd = fcntl(directory->fd, F_DUPFD_CLOEXEC, 0);
    memcpy(target_name, name, strlen(name) + 1);
    result = from_fd < 0 ? error_errno(&why, "linking it")
                         : restore_tree_find(r->tree, record->path, true, &directory, &name, &why);
    bool keep = r->options->keep_existing && r->options->keep_existing(r->options->keep_userdata, record->path);
    if (result == 0 && keep && faccessat(directory->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
      r->totals->kept++;
      return 0;
    }
    if (result == 0)
      result = restore_file_link(from_fd, target_name, directory->fd, name, &why);
  }
  if (result < 0)
    failed(r, record->path, &why);
  else
    r->totals->others++;
  return 0;
}

/* ---- 6. flags that lock files ---- */

static int lock_file(struct restorer *r, const char *note, struct umbra_error *why) {
  struct locked_file head;
  struct directory *directory = NULL;
  const char *name = NULL;
  struct stat st;
  memcpy(&head, note, sizeof head);
  int result = restore_tree_find(r->tree, note + sizeof head, false, &directory, &name, why);
  if (result < 0)
    return result;
  CLEANUP_CLOSE int fd = openat(directory->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) < 0)
    return error_errno(why, "setting its flags");
  if (st.st_dev != head.device || st.st_ino != head.inode)
    return error_set(why, -ESTALE, UMBRA_REASON_BUSY, "setting its flags: another file is in its place by now");
  r->totals->skipped_attributes += file_flags_set(fd, FILE_FLAGS_LOCKING, head.flags);
  return 0;
}

static int lock_files(struct restorer *r, struct umbra_error *err) {
  struct spool_cursor cursor = {0};
  int result = spool_cursor_init(&cursor, &r->locked, SPOOL_BUFFER_BYTES, err);
  spool_cursor_seek(&cursor, spool_length(&r->locked));
  while (result >= 0 && (result = spool_previous(&cursor, err)) == 1) {
    struct umbra_error why = {0};
    if (lock_file(r, cursor.record, &why) < 0)
      failed(r, cursor.record + sizeof(struct locked_file), &why);
  }
  spool_cursor_done(&cursor);
  return result;
}

/* ---- 7. attributes of directories ---- */

static int finish_directory(struct restorer *r, const char *note, size_t note_bytes, struct umbra_error *why) {
  struct basics basics;
  struct metadata attributes;
  struct directory *directory = NULL;
  const char *path = note + sizeof basics, *name = NULL;
  size_t head_bytes = sizeof basics + strlen(path) + 1;
  unsigned skipped = 0;
  memcpy(&basics, note, sizeof basics);
  if (strv_contains(r->untouched, path))
    return 0;
  int result = restore_tree_find(r->tree, path, false, &directory, &name, why);
  if (result < 0)
    return result;
  if (metadata_unpack(note + head_bytes, note_bytes - head_bytes, &attributes) < 0)
    return error_code(why, -ENOMEM, "setting attributes");
  CLEANUP_CLOSE int fd = openat(directory->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  result = fd < 0 ? error_errno(why, "opening the directory")
                  : metadata_apply(&basics, &attributes, fd, -1, NULL, r->privileged, &skipped, why);
  if (result == 0)
    skipped += file_flags_set(fd, FILE_FLAGS_LOCKING, attributes.flags);
  metadata_done(&attributes);
  r->totals->skipped_attributes += skipped;
  r->totals->directories += result == 0;
  return result;
}

static int finish_directories(struct restorer *r, struct umbra_error *err) {
  struct spool_cursor cursor = {0};
  int result = spool_cursor_init(&cursor, &r->directories, SPOOL_BUFFER_BYTES, err);
  spool_cursor_seek(&cursor, spool_length(&r->directories));
  while (result >= 0 && (result = spool_previous(&cursor, err)) == 1) {
    struct umbra_error why = {0};
    if (finish_directory(r, cursor.record, cursor.record_bytes, &why) < 0)
      failed(r, cursor.record + sizeof(struct basics), &why);
  }
  spool_cursor_done(&cursor);
  return result;
}

/* ---- all of it ---- */

static int begin(struct restorer *r, struct umbra_error *err) {
  const struct restore_options *o = r->options;
  size_t paths = 0;
  for (; o->paths && o->paths[paths]; paths++)
    if (o->paths[paths][0] != '/' || !tree_path_valid(o->paths[paths] + 1, strlen(o->paths[paths] + 1)))
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "'%s' is not an absolute path", o->paths[paths]);
  int result = chain_init(&r->chain, o->directory, o->backup, err);
  if (result < 0)
    return result;
  r->path_found = calloc(paths + 1, sizeof *r->path_found);
  r->members = calloc(r->chain.count, sizeof *r->members);
  if (!r->path_found || !r->members)
    return error_code(err, -ENOMEM, "planning the restore");
  result = plan(r, err);
  if (result == 0)
    result = restore_tree_new(o->root, &r->tree, err);
  if (result == 0)
    result = spool_init(&r->directories, restore_tree_root_fd(r->tree), err);
  if (result == 0)
    result = spool_init(&r->locked, restore_tree_root_fd(r->tree), err);
  return result;
}

static void done(struct restorer *r) {
  restore_queue_free(r->queue);
  restore_tree_free(r->tree);
  spool_done(&r->directories);
  spool_done(&r->locked);
  chain_done(&r->chain);
  for (size_t i = 0; i < r->foreign_count; i++) {
    free(r->foreign[i].target);
    free(r->foreign[i].path);
  }
  free(r->foreign);
  free(r->path_found);
  free(r->members);
  strv_free(r->untouched);
}

int backup_restore(const struct restore_options *options, const struct backup_listener *listener,
                   struct restore_totals *ret, struct umbra_error *err) {
  struct restorer r = {.options = options,
                       .listener = listener,
                       .totals = ret,
                       .privileged = geteuid() == 0,
                       .directories = {.fd = -1},
                       .locked = {.fd = -1}};
  *ret = (struct restore_totals){0};
  int result = begin(&r, err);
  if (result == 0)
    result = remove_deleted(&r, err);
  if (result == 0)
    result = make_directories(&r, err);
  if (result == 0)
    result = restore_archives(&r, err);
  if (result == 0)
    result = each_record(&r, restore_link, 0, err);
  if (result == 0)
    result = lock_files(&r, err);
  if (result == 0)
    result = finish_directories(&r, err);
  if (result == 0)
    progress(&r, 0, true);
  done(&r);
  if (result == 0 && ret->failed > 0)
    result = error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "%" PRIu64 " of the backup's paths could not be restored",
                       ret->failed);
  return result;
}
