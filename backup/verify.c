/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checks a backup: its files against backup.json, its index against its own checksum, every member against the index,
 * and what it takes from earlier backups against their indexes.  Goes on after each finding, so that all are named.
 */
#include "backup/archive-reader.h"
#include "backup/backup.h"
#include "backup/cancel.h"
#include "backup/chain.h"

#include <errno.h>
#include <inttypes.h>

enum { WARNING_BYTES = ERROR_MESSAGE_BYTES_MAX + TREE_PATH_BYTES_MAX, PROGRESS_BYTES = 8 * 1024 * 1024 };

struct verifier {
  const struct backup_entry *backup;
  const struct backup_listener *listener;
  struct verify_totals *totals;
  struct chain chain;
  uint64_t reported_bytes;
};

static void bad(struct verifier *v, const char *what, const struct umbra_error *why) {
  char message[WARNING_BYTES];
  v->totals->bad++;
  if (!v->listener || !v->listener->warning)
    return;
  (void)snprintf(message, sizeof message, "%s: %s%s%s", v->backup->name, what, why ? ": " : "",
                 why ? why->message : "");
  v->listener->warning(v->listener->userdata, message);
}

static void bad_path(struct verifier *v, const char *path, const struct umbra_error *why) {
  char what[TREE_PATH_BYTES_MAX + 8];
  (void)snprintf(what, sizeof what, "'/%s'", path);
  bad(v, what, why);
}

static void check_file(struct verifier *v, const char *name, const struct manifest_file *should) {
  struct umbra_error why = {0};
  struct manifest_file is = {0};
  CLEANUP_CLOSE int fd = set_directory_open_file(v->chain.directory, v->backup, name, &why);
  int r = fd < 0 ? fd : digest_of_file(fd, &is.digest, &is.bytes);
  if (r < 0 && why.code == 0)
    (void)error_code(&why, r, "reading");
  if (r == 0 && is.bytes != should->bytes)
    (void)error_set(&why, -EBADMSG, UMBRA_REASON_DAMAGED, "it has %" PRIu64 " bytes instead of %" PRIu64, is.bytes,
                    should->bytes);
  else if (r == 0 && !digest_equal(&is.digest, &should->digest))
    (void)error_set(&why, -EBADMSG, UMBRA_REASON_DAMAGED, "its checksum does not fit");
  if (why.code < 0)
    bad(v, name, &why);
}

static void tell_progress(struct verifier *v, bool ended) {
  const struct backup_listener *l = v->listener;
  uint64_t done_bytes = v->totals->bytes;
  if (!l || !l->progress || (!ended && done_bytes - v->reported_bytes < PROGRESS_BYTES))
    return;
  v->reported_bytes = done_bytes;
  l->progress(l->userdata, "verifying", done_bytes, ended ? done_bytes : 0);
}

/* Reads one member to its end. */
static void check_member(struct verifier *v, struct archive_reader *archive, const struct index_record *record) {
  struct umbra_error why = {0};
  struct metadata attributes;
  const void *data = NULL;
  size_t n = 0;
  uint64_t offset_bytes = 0;
  int r = archive_reader_open(archive, record, &attributes, &why);
  if (r == 0 && record->kind == INDEX_FILE)
    while ((r = archive_reader_data(archive, &data, &n, &offset_bytes, &why)) == 1) {
      v->totals->bytes += n;
      tell_progress(v, false);
    }
  if (r < 0)
    bad_path(v, record->path, &why);
  else
    metadata_done(&attributes);
  v->totals->files++;
}

/* Members of its own archive. Negative: the index cannot be read on. */
static int check_members(struct verifier *v, struct umbra_error *err) {
  struct chain_index index = {.fd = -1};
  struct archive_reader *archive = NULL;
  struct umbra_error why = {0};
  const struct index_record *record = NULL;
  bool table_damaged = false;
  int r = chain_open_index(&v->chain, v->chain.count - 1, &index, err);
  if (r < 0)
    return r;
  CLEANUP_CLOSE int fd = set_directory_open_file(v->chain.directory, v->backup, MANIFEST_ARCHIVE_NAME, &why);
  if (fd < 0 || archive_reader_new(fd, MANIFEST_ARCHIVE_NAME, &archive, &table_damaged, &why) < 0)
    bad(v, MANIFEST_ARCHIVE_NAME, &why);
  if (table_damaged)
    bad(v, MANIFEST_ARCHIVE_NAME ": its seek table is damaged", NULL);
  while ((r = index_reader_next(index.reader, &record, err)) == 1) {
    if (!index_kind_stored(record->kind) || record->position + 1 != v->chain.count)
      continue;
    r = backup_check_cancelled(v->listener, err);
    if (r < 0)
      break;
    if (archive)
      check_member(v, archive, record);
    else
      bad_path(v, record->path, &why);
  }
  archive_reader_free(archive);
  chain_close_index(&index);
  return r;
}

static bool same_member(const struct index_record *a, const struct index_record *b) {
  return a->kind == b->kind && a->position == b->position && a->offset_bytes == b->offset_bytes &&
         digest_equal(&a->metadata, &b->metadata) && digest_equal(&a->content, &b->content) &&
         a->size_bytes == b->size_bytes;
}

/* What the backup takes from earlier ones must be in its base's index just so. */
static int check_base(struct verifier *v, struct umbra_error *err) {
  struct chain_index own = {.fd = -1}, base = {.fd = -1};
  const struct index_record *record = NULL, *before = NULL;
  if (v->chain.count < 2)
    return 0;
  int r = chain_open_index(&v->chain, v->chain.count - 1, &own, err);
  if (r == 0)
    r = chain_open_index(&v->chain, v->chain.count - 2, &base, err);
  int more = r == 0 ? index_reader_next(base.reader, &before, err) : 0;
  while (r == 0 && (r = index_reader_next(own.reader, &record, err)) == 1) {
    r = 0;
    if (!index_kind_stored(record->kind) || record->position + 1 == v->chain.count)
      continue;
    while (more == 1 && tree_path_compare(before->path, record->path) < 0)
      more = index_reader_next(base.reader, &before, err);
    if (more < 0)
      r = more;
    else if (more == 0 || strcmp(before->path, record->path) != 0 || !same_member(before, record))
      bad_path(v, record->path, &(struct umbra_error){.message = "its base backup does not have it as it should"});
  }
  chain_close_index(&own);
  chain_close_index(&base);
  return r;
}

int backup_verify(const struct set_directory *d, const struct backup_entry *backup,
                  const struct backup_listener *listener, struct verify_totals *ret, struct umbra_error *err) {
  struct verifier v = {.backup = backup, .listener = listener, .totals = ret};
  struct umbra_error why = {0};
  *ret = (struct verify_totals){0};
  int r = chain_init(&v.chain, d, backup, err);
  if (r < 0) {
    ret->bad++;
    return r;
  }
  check_file(&v, MANIFEST_ARCHIVE_NAME, &backup->manifest.archive);
  check_file(&v, MANIFEST_INDEX_NAME, &backup->manifest.index);
  if (check_members(&v, &why) < 0)
    bad(&v, MANIFEST_INDEX_NAME, &why);
  error_clear(&why);
  if (check_base(&v, &why) < 0)
    bad(&v, "comparing with its base", &why);
  chain_done(&v.chain);
  tell_progress(&v, true);
  if (ret->bad > 0)
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "backup '%s' is damaged: %" PRIu64 " findings",
                     backup->name, ret->bad);
  return 0;
}
