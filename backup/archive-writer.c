/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pax members through libarchive.
 *
 * Names are bytes, pax wants UTF-8.  libarchive converts from the thread's locale, and marks a member whose names do
 * not convert with "hdrcharset=BINARY", which keeps the bytes (GNU tar mentions the unknown keyword and extracts it
 * rightly).  So that names that are UTF-8 stay unmarked whatever locale the program runs in, its calls run under
 * C.UTF-8.
 *
 * Owners go by number only: a name would let another machine's tar choose another owner.
 */
#include "backup/archive-writer.h"

#include "common/cleanup.h"

#include <archive.h>
#include <errno.h>
#include <locale.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* libarchive wants a sparse file's holes as data too, and passes over them unread: this much address space at a time.
 */
#define HOLE_BYTES (UINT64_C(1) << 30)

struct archive_writer {
  struct archive *archive;
  struct archive_entry *entry;
  struct frame_writer *frames;
  locale_t locale;          /* (locale_t)0: the thread's own has to do */
  struct umbra_error error; /* of the frames below libarchive */
  void *hole;
  uint64_t position_bytes, size_bytes; /* in the member under way */
  bool abandoned; /* nothing more may be written */
};

static locale_t enter_locale(const struct archive_writer *w) {
  return w->locale ? uselocale(w->locale) : (locale_t)0;
}
static void leave_locale(locale_t before) {
  if (before)
    (void)uselocale(before);
}

static la_ssize_t put(struct archive *a, void *userdata, const void *data, size_t length_bytes) {
  struct archive_writer *w = userdata;
  if (w->abandoned)
    return -1;
  int r = frame_writer_add(w->frames, data, length_bytes, &w->error);
  if (r == 0)
    return (la_ssize_t)length_bytes;
  archive_set_error(a, -r, "%s", w->error.message);
  return -1;
}

static int failed(struct archive_writer *w, struct umbra_error *err) {
  if (w->error.code < 0) {
    if (err)
      *err = w->error;
    return w->error.code;
  }
  const char *why = archive_error_string(w->archive);
  return error_set(err, -EIO, UMBRA_REASON_INTERNAL, "writing the archive: %s", why ? why : "unknown");
}

static int open_archive(struct archive_writer *w, struct umbra_error *err) {
  w->archive = archive_write_new();
  w->entry = archive_entry_new();
  if (!w->archive || !w->entry)
    return error_code(err, -ENOMEM, "beginning the archive");
  if (archive_write_set_format_pax(w->archive) != ARCHIVE_OK ||
      archive_write_set_options(w->archive, "xattrheader=SCHILY") != ARCHIVE_OK ||
      archive_write_set_bytes_per_block(w->archive, 0) != ARCHIVE_OK ||
      archive_write_open(w->archive, w, NULL, put, NULL) != ARCHIVE_OK)
    return failed(w, err);
  return 0;
}

int archive_writer_new(int fd, int level, int spool_dir_fd, struct archive_writer **ret, struct umbra_error *err) {
  struct archive_writer *w = calloc(1, sizeof *w);
  if (!w)
    return error_code(err, -ENOMEM, "beginning the archive");
  w->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
  w->hole = mmap(NULL, HOLE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  int r = w->hole == MAP_FAILED ? error_errno(err, "beginning the archive") : 0;
  if (r == 0)
    r = frame_writer_new(fd, level, spool_dir_fd, &w->frames, err);
  if (r == 0)
    r = open_archive(w, err);
  if (r < 0)
    archive_writer_free(w);
  else
    *ret = w;
  return r;
}

void archive_writer_free(struct archive_writer *w) {
  if (!w)
    return;
  if (w->archive) {
    /* Not archive_write_fail(): libarchive 3.6 then does not free what it writes through. */
    w->abandoned = true;
    (void)archive_write_free(w->archive);
  }
  archive_entry_free(w->entry);
  frame_writer_free(w->frames);
  if (w->hole != MAP_FAILED)
    (void)munmap(w->hole, HOLE_BYTES);
  if (w->locale)
    freelocale(w->locale);
  free(w);
}

uint64_t archive_writer_offset(const struct archive_writer *w) { return frame_writer_offset(w->frames); }

static mode_t file_type(enum index_kind kind) {
  switch (kind) {
  case INDEX_DIRECTORY:
    return S_IFDIR;
  case INDEX_SYMLINK:
    return S_IFLNK;
  case INDEX_FIFO:
    return S_IFIFO;
  case INDEX_CHARACTER:
    return S_IFCHR;
  case INDEX_BLOCK:
    return S_IFBLK;
  default:
    return S_IFREG;
  }
}

static void set_names(struct archive_entry *e, const struct index_record *record) {
  if (record->kind == INDEX_DIRECTORY) {
    char path[TREE_PATH_BYTES_MAX + 2];
    (void)snprintf(path, sizeof path, "%s/", record->path[0] ? record->path : ".");
    archive_entry_copy_pathname(e, path);
  } else {
    archive_entry_copy_pathname(e, record->path);
  }
  if (record->kind == INDEX_SYMLINK)
    archive_entry_copy_symlink(e, record->target);
  else if (record->kind == INDEX_HARD_LINK)
    archive_entry_copy_hardlink(e, record->target);
}

int archive_writer_begin(struct archive_writer *w, const struct index_record *record, const struct metadata *a,
                         const struct archive_extent *extents, size_t extent_count, struct umbra_error *err) {
  struct archive_entry *e = archive_entry_clear(w->entry);
  w->position_bytes = 0;
  w->size_bytes = record->kind == INDEX_FILE ? record->size_bytes : 0;
  archive_entry_set_mode(e, file_type(record->kind) | record->mode);
  set_names(e, record);
  archive_entry_set_uid(e, record->uid);
  archive_entry_set_gid(e, record->gid);
  archive_entry_set_size(e, (la_int64_t)w->size_bytes);
  archive_entry_set_mtime(e, record->modified.tv_sec, record->modified.tv_nsec);
  if (record->kind == INDEX_CHARACTER || record->kind == INDEX_BLOCK)
    archive_entry_set_rdev(e, makedev(record->device_major, record->device_minor));
  int r = metadata_to_entry(a, e, err);
  if (r < 0)
    return r;
  for (size_t i = 0; extents && i < extent_count; i++)
    archive_entry_sparse_add_entry(e, (la_int64_t)extents[i].offset_bytes, (la_int64_t)extents[i].length_bytes);
  if (extents && extent_count == 0)
    archive_entry_sparse_add_entry(e, (la_int64_t)w->size_bytes, 0); /* nothing but a hole */
  locale_t before = enter_locale(w);
  r = archive_write_header(w->archive, e);
  leave_locale(before);
  return r == ARCHIVE_OK || r == ARCHIVE_WARN ? 0 : failed(w, err);
}

static int write_data(struct archive_writer *w, const void *data, uint64_t length_bytes, struct umbra_error *err) {
  const char *from = data;
  while (length_bytes > 0) {
    la_ssize_t n = archive_write_data(w->archive, from, (size_t)length_bytes);
    if (n <= 0)
      return failed(w, err);
    from += n;
    length_bytes -= (uint64_t)n;
    w->position_bytes += (uint64_t)n;
  }
  return 0;
}

static int pass_hole(struct archive_writer *w, uint64_t until_bytes, struct umbra_error *err) {
  while (w->position_bytes < until_bytes) {
    uint64_t left_bytes = until_bytes - w->position_bytes;
    int r = write_data(w, w->hole, left_bytes < HOLE_BYTES ? left_bytes : HOLE_BYTES, err);
    if (r < 0)
      return r;
  }
  return 0;
}

int archive_writer_data(struct archive_writer *w, uint64_t offset_bytes, const void *data, size_t length_bytes,
                        struct umbra_error *err) {
  int r = pass_hole(w, offset_bytes, err);
  return r < 0 ? r : write_data(w, data, length_bytes, err);
}

int archive_writer_end(struct archive_writer *w, struct umbra_error *err) {
  int r = pass_hole(w, w->size_bytes, err);
  if (r < 0)
    return r;
  return archive_write_finish_entry(w->archive) == ARCHIVE_OK ? 0 : failed(w, err);
}

int archive_writer_finish(struct archive_writer *w, struct digest *ret_file, uint64_t *ret_file_bytes,
                          struct umbra_error *err) {
  if (archive_write_close(w->archive) != ARCHIVE_OK)
    return failed(w, err);
  return frame_writer_finish(w->frames, ret_file, ret_file_bytes, err);
}
