/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Members by offset.  libarchive parses a stream that begins at the first member asked for; as long as members are
 * asked for in order it goes on, passing over what lies between, else it is begun anew at the member.
 *
 * Names in the archive are compared only where both are ASCII: libarchive composes accents when it converts UTF-8.
 */
#include "backup/archive-reader.h"

#include "backup/content.h"
#include "common/cleanup.h"

#include <archive.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <sys/stat.h>

enum { PASS_OVER_BYTES_MAX = 1024 * 1024 };

struct archive_reader {
  struct frame_reader *frames;
  char *name;
  locale_t locale;
  struct archive *archive; /* NULL: begin anew */
  uint64_t base_bytes;     /* where its stream began */
  struct umbra_error error;
  struct index_record found; /* what the member's head says */
  struct content_hash hash;
  struct digest wanted;
  uint64_t end_bytes; /* of the data read so far, in the file */
};

static la_ssize_t get(struct archive *a, void *userdata, const void **ret) {
  struct archive_reader *r = userdata;
  size_t n = 0;
  int result = frame_reader_next(r->frames, ret, &n, &r->error);
  if (result < 0)
    archive_set_error(a, -result, "%s", r->error.message);
  return result < 0 ? -1 : (la_ssize_t)n;
}

int archive_reader_new(int fd, const char *name, struct archive_reader **ret, bool *ret_table_damaged,
                       struct umbra_error *err) {
  struct archive_reader *r = calloc(1, sizeof *r);
  if (!r)
    return error_code(err, -ENOMEM, "opening archive '%s'", name);
  if (content_hash_init(&r->hash) < 0) {
    archive_reader_free(r);
    return error_code(err, -ENOMEM, "opening archive '%s'", name);
  }
  r->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
  r->name = strdup(name);
  int result = r->name ? frame_reader_new(fd, name, &r->frames, ret_table_damaged, err)
                       : error_code(err, -ENOMEM, "opening archive '%s'", name);
  if (result < 0)
    archive_reader_free(r);
  else
    *ret = r;
  return result;
}

static void drop_stream(struct archive_reader *r) {
  if (r->archive)
    (void)archive_read_free(r->archive);
  r->archive = NULL;
}

void archive_reader_free(struct archive_reader *r) {
  if (!r)
    return;
  drop_stream(r);
  frame_reader_free(r->frames);
  content_hash_done(&r->hash);
  if (r->locale)
    freelocale(r->locale);
  free(r->name);
  free(r);
}

/* The stream is of no use any more. */
static int failed(struct archive_reader *r, struct umbra_error *err) {
  const char *why = r->archive ? archive_error_string(r->archive) : NULL;
  int code;
  if (r->error.code < 0) {
    if (err)
      *err = r->error;
    code = r->error.code;
  } else {
    code = error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "archive '%s': %s", r->name, why ? why : "it ends early");
  }
  drop_stream(r);
  return code;
}

static int differs(struct archive_reader *r, const struct index_record *record, const char *what,
                   struct umbra_error *err) {
  return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "archive '%s': %s of the member of '/%s' is not the index's",
                   r->name, what, record->path);
}

static int begin_stream(struct archive_reader *r, uint64_t offset_bytes, struct umbra_error *err) {
  drop_stream(r);
  error_clear(&r->error);
  if (offset_bytes >= frame_reader_length(r->frames))
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "archive '%s' ends before byte %" PRIu64 " of its contents",
                     r->name, offset_bytes);
  frame_reader_seek(r->frames, offset_bytes);
  r->base_bytes = offset_bytes;
  r->archive = archive_read_new();
  if (!r->archive)
    return error_code(err, -ENOMEM, "reading archive '%s'", r->name);
  if (archive_read_support_format_tar(r->archive) != ARCHIVE_OK ||
      archive_read_open(r->archive, r, NULL, get, NULL) != ARCHIVE_OK)
    return failed(r, err);
  return 0;
}

static int next_head(struct archive_reader *r, struct archive_entry **ret, uint64_t *ret_offset_bytes,
                     struct umbra_error *err) {
  int result = archive_read_next_header(r->archive, ret);
  if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
    return failed(r, err);
  *ret_offset_bytes = r->base_bytes + (uint64_t)archive_read_header_position(r->archive);
  return 0;
}

static int find_head(struct archive_reader *r, uint64_t offset_bytes, struct archive_entry **ret,
                     struct umbra_error *err) {
  uint64_t at_bytes = 0;
  if (r->archive) {
    do {
      if (next_head(r, ret, &at_bytes, NULL) < 0)
        break;
      if (at_bytes == offset_bytes)
        return 0;
    } while (at_bytes < offset_bytes && offset_bytes - at_bytes <= PASS_OVER_BYTES_MAX);
  }
  int result = begin_stream(r, offset_bytes, err);
  return result < 0 ? result : next_head(r, ret, &at_bytes, err);
}

static bool ascii(const char *text) {
  for (; *text; text++)
    if ((unsigned char)*text >= 0x80)
      return false;
  return true;
}

static bool name_fits(const char *name, const struct index_record *record) {
  if (!name)
    return false;
  if (!ascii(name) || !ascii(record->path))
    return true;
  size_t length_bytes = strlen(name);
  while (length_bytes > 0 && name[length_bytes - 1] == '/')
    length_bytes--;
  if (record->path[0] == '\0')
    return length_bytes == 1 && name[0] == '.';
  return strlen(record->path) == length_bytes && memcmp(name, record->path, length_bytes) == 0;
}

static enum index_kind kind_of(struct archive_entry *e) {
  if (archive_entry_hardlink(e))
    return INDEX_HARD_LINK;
  switch (archive_entry_filetype(e)) {
  case AE_IFDIR:
    return INDEX_DIRECTORY;
  case AE_IFLNK:
    return INDEX_SYMLINK;
  case AE_IFIFO:
    return INDEX_FIFO;
  case AE_IFCHR:
    return INDEX_CHARACTER;
  case AE_IFBLK:
    return INDEX_BLOCK;
  case AE_IFREG:
    return INDEX_FILE;
  default:
    return INDEX_DELETED; /* never asked for */
  }
}

/* The head's values, as a record, so that its checksum can be compared with the index's. */
static void take_head(struct archive_reader *r, const struct index_record *record, struct archive_entry *e) {
  struct index_record *f = &r->found;
  f->kind = kind_of(e);
  f->mode = archive_entry_mode(e) & 07777;
  f->uid = (uint32_t)archive_entry_uid(e);
  f->gid = (uint32_t)archive_entry_gid(e);
  f->modified = (struct timespec){archive_entry_mtime(e), archive_entry_mtime_nsec(e)};
  bool device = f->kind == INDEX_CHARACTER || f->kind == INDEX_BLOCK;
  f->device_major = device ? (uint32_t)archive_entry_rdevmajor(e) : 0;
  f->device_minor = device ? (uint32_t)archive_entry_rdevminor(e) : 0;
  memcpy(f->target, record->target, strlen(record->target) + 1);
}

int archive_reader_open(struct archive_reader *r, const struct index_record *record, struct metadata *ret,
                        struct umbra_error *err) {
  struct archive_entry *e = NULL;
  *ret = (struct metadata){0};
  locale_t before = r->locale ? uselocale(r->locale) : (locale_t)0;
  int result = find_head(r, record->offset_bytes, &e, err);
  const char *name = result == 0 ? archive_entry_pathname(e) : NULL;
  if (before)
    (void)uselocale(before);
  if (result < 0)
    return error_prefix(err, result, "'/%s'", record->path);
  take_head(r, record, e);
  if (r->found.kind != record->kind || !name_fits(name, record))
    return differs(r, record, "kind or name", err);
  if (record->kind == INDEX_FILE && (uint64_t)archive_entry_size(e) != record->size_bytes)
    return differs(r, record, "size", err);
  result = metadata_from_entry(e, ret, err);
  if (result < 0)
    return error_prefix(err, result, "'/%s'", record->path);
  struct digest found;
  if (metadata_digest(&r->found, ret, &found) < 0 || !digest_equal(&found, &record->metadata)) {
    metadata_done(ret);
    return differs(r, record, "metadata", err);
  }
  content_hash_begin(&r->hash);
  r->end_bytes = 0;
  r->wanted = record->content;
  r->found.size_bytes = record->size_bytes;
  r->found.sparse = record->sparse;
  return 0;
}

static int check_end(struct archive_reader *r, struct umbra_error *err) {
  struct digest d = content_hash_finish(&r->hash, r->found.sparse, r->found.size_bytes);
  bool whole = r->found.sparse || r->end_bytes == r->found.size_bytes;
  return whole && digest_equal(&d, &r->wanted)
             ? 0
             : error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "its content does not have the index's checksum");
}

int archive_reader_data(struct archive_reader *r, const void **ret, size_t *ret_bytes, uint64_t *ret_offset_bytes,
                        struct umbra_error *err) {
  la_int64_t offset = 0;
  for (;;) {
    if (!r->archive)
      return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "archive '%s' is damaged there", r->name);
    int result = archive_read_data_block(r->archive, ret, ret_bytes, &offset);
    if (result == ARCHIVE_EOF)
      return check_end(r, err);
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
      return failed(r, err);
    if (*ret_bytes > 0)
      break;
  }
  uint64_t at_bytes = (uint64_t)offset;
  if (offset < 0 || at_bytes < r->end_bytes || (!r->found.sparse && at_bytes != r->end_bytes) ||
      at_bytes > r->found.size_bytes || *ret_bytes > r->found.size_bytes - at_bytes)
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "its data do not lie where they should");
  content_hash_add(&r->hash, at_bytes, *ret, *ret_bytes);
  r->end_bytes = at_bytes + *ret_bytes;
  *ret_offset_bytes = at_bytes;
  return 1;
}
