/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of one backup: the target's lock, the base, the partial folder, and the commit that makes it whole.  What
 * is read and written in between is in save.c.
 *
 * Order of the commit: data of every file, then backup.json, then the folder's entries, then the new name, then the
 * name's directory.  A crash anywhere before the rename leaves a partial folder, after it a whole one.
 */
#include "backup/backup-private.h"
#include "backup/walk.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#define PARTIAL_PREFIX ".partial-"

static int add_excludes(struct backup *b, const struct backup_options *o, struct umbra_error *err) {
  for (size_t i = 0; o->excludes && o->excludes[i]; i++) {
    int r = excludes_add_pattern(b->excludes, o->excludes[i]);
    if (r == 0 && json_array_append_new(b->exclude_list, json_path(o->excludes[i])) < 0)
      r = -ENOMEM;
    if (r < 0)
      return error_code(err, r, "excluding '%s'", o->excludes[i]);
  }
  /* The target must not hold itself. */
  CLEANUP_FREE char *real = realpath(o->target, NULL);
  if (!real)
    return error_errno(err, "resolving '%s'", o->target);
  int r = excludes_add_path(b->excludes, real + 1);
  if (r == 0 && json_array_append_new(b->exclude_list, json_path(real)) < 0)
    r = -ENOMEM;
  return r < 0 ? error_code(err, r, "excluding '%s'", real) : 0;
}

static int add_sources(struct backup *b, const struct backup_options *o, struct umbra_error *err) {
  for (size_t i = 0; o->sources[i]; i++) {
    if (o->sources[i][0] != '/' || !tree_path_valid(o->sources[i] + 1, strlen(o->sources[i] + 1)))
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "source '%s' is not an absolute path", o->sources[i]);
    if (i == WALK_SOURCES_MAX)
      return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d sources", WALK_SOURCES_MAX);
    if (strv_append(&b->sources, o->sources[i]) < 0 ||
        json_array_append_new(b->source_list, json_path(o->sources[i])) < 0)
      return error_code(err, -ENOMEM, "keeping the sources");
  }
  return b->sources ? 0 : error_set(err, -EINVAL, UMBRA_REASON_INVALID, "no source to back up");
}

/* The newest backup that one of this type goes on from, with the same sources; NULL: none. */
static const struct backup_entry *find_base(const struct backup *b) {
  for (size_t i = b->directory.count; i > 0; i--) {
    const struct backup_entry *e = &b->directory.entries[i - 1];
    if (e->state != BACKUP_WHOLE || !json_equal(e->manifest.sources, b->source_list))
      continue;
    if (e->manifest.type == MANIFEST_FULL ||
        (e->manifest.type == MANIFEST_INCREMENTAL && b->type == MANIFEST_INCREMENTAL))
      return e;
  }
  return NULL;
}

/* True if all backups that e stands on are there. */
static bool chain_complete(const struct backup *b, const struct backup_entry *e) {
  for (size_t i = 0; i < json_array_size(e->manifest.chain); i++)
    if (!set_directory_by_id(&b->directory, json_string_value(json_array_get(e->manifest.chain, i))))
      return false;
  return true;
}

static void choose_base(struct backup *b) {
  if (b->type != MANIFEST_INCREMENTAL && b->type != MANIFEST_DIFFERENTIAL)
    return;
  b->base = find_base(b);
  if (b->base && (!chain_complete(b, b->base) || json_array_size(b->base->manifest.chain) >= MANIFEST_CHAIN_MAX))
    b->base = NULL;
  if (!b->base)
    b->type = MANIFEST_FULL;
}

static int open_base_index(struct backup *b, struct umbra_error *err) {
  if (!b->base)
    return 0;
  b->base_index_fd = set_directory_open_file(&b->directory, b->base, MANIFEST_INDEX_NAME, err);
  return b->base_index_fd < 0 ? b->base_index_fd : 0;
}

static int make_partial(struct backup *b, struct umbra_error *err) {
  id_new(b->id);
  b->time_ns = clock_realtime_ns();
  set_directory_make_name(b->name, b->time_ns, b->type, b->id);
  (void)snprintf(b->partial, sizeof b->partial, "%s%s", PARTIAL_PREFIX, b->name);
  if (mkdirat(b->directory.fd, b->partial, 0700) < 0)
    return error_errno(err, "making '%s/%s'", b->directory.path, b->partial);
  b->partial_made = true;
  b->folder_fd = openat(b->directory.fd, b->partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return b->folder_fd < 0 ? error_errno(err, "opening '%s/%s'", b->directory.path, b->partial) : 0;
}

int backup_new(const struct backup_options *options, struct backup **ret, struct umbra_error *err) {
  struct backup *b = calloc(1, sizeof *b);
  if (!b)
    return error_code(err, -ENOMEM, "beginning the backup");
  b->directory.fd = b->directory.lock_fd = b->folder_fd = b->base_index_fd = b->archive_fd = b->index_fd = -1;
  b->type = options->type;
  b->level = options->level > 0 ? options->level : FRAMES_LEVEL_DEFAULT;
  b->excludes = excludes_new();
  b->exclude_list = json_array();
  b->source_list = json_array();
  b->label = options->label ? strdup(options->label) : NULL;
  int r = b->excludes && b->exclude_list && b->source_list && (b->label || !options->label)
              ? 0
              : error_code(err, -ENOMEM, "beginning the backup");
  if (r == 0)
    r = add_sources(b, options, err);
  if (r == 0)
    r = set_directory_open(options->target, true, &b->directory, err);
  if (r == 0)
    r = set_directory_lock(&b->directory, err);
  if (r == 0)
    r = add_excludes(b, options, err);
  if (r == 0) {
    choose_base(b);
    r = open_base_index(b, err);
  }
  if (r == 0)
    r = make_partial(b, err);
  if (r < 0)
    backup_free(b);
  else
    *ret = b;
  return r;
}

enum manifest_type backup_type(const struct backup *b) { return b->type; }
const struct manifest *backup_base(const struct backup *b) { return b->base ? &b->base->manifest : NULL; }
const char *backup_name(const struct backup *b) { return b->name; }
void backup_listen(struct backup *b, const struct backup_listener *listener) { b->listener = *listener; }

int backup_exclude_file_set(struct backup *b, const char *directory, const char *pattern, bool recursive) {
  return excludes_add_file_set(b->excludes, directory, pattern, recursive);
}

int backup_exclude_files(struct backup *b, const char *directory, const char *pattern, bool recursive) {
  return excludes_add_files(b->excludes, directory, pattern, recursive);
}

int backup_only_file_set(struct backup *b, const char *directory, const char *pattern, bool recursive) {
  return excludes_add_only_file_set(b->excludes, directory, pattern, recursive);
}

static json_t *totals_json(const struct backup_totals *t) {
  return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "files", (json_int_t)t->files, "directories",
                   (json_int_t)t->directories, "links", (json_int_t)t->links, "hard_links", (json_int_t)t->hard_links,
                   "others", (json_int_t)t->others, "bytes", (json_int_t)t->bytes, "stored", (json_int_t)t->stored,
                   "stored_bytes", (json_int_t)t->stored_bytes, "deleted", (json_int_t)t->deleted, "sockets",
                   (json_int_t)t->sockets);
}

static json_t *chain_json(const struct backup *b) {
  json_t *chain = b->base ? json_copy((json_t *)b->base->manifest.chain) : json_array();
  if (chain)
    (void)json_array_append_new(chain, json_string(b->id));
  return chain;
}

static json_t *make_document(const struct backup *b, const json_t *document) {
  char time_text[CLOCK_TEXT_BYTES];
  json_t *json = json_pack(
      "{s:i, s:s, s:s, s:s, s:s, s:s?, s:s?, s:o, s:O, s:O, s:o, s:{s:o, s:o}}", "format", MANIFEST_FORMAT, "id",
      b->id, "name", b->name, "type", manifest_type_name(b->type), "time", clock_format(b->time_ns, time_text),
      "label", b->label, "base", b->base ? b->base->manifest.id : NULL, "chain", chain_json(b), "sources",
      b->source_list, "excludes", b->exclude_list, "totals", totals_json(&b->totals), "files", MANIFEST_ARCHIVE_NAME,
      manifest_file_json(&b->archive_file), MANIFEST_INDEX_NAME, manifest_file_json(&b->index_file));
  if (json && document && json_object_update_missing(json, (json_t *)document) < 0) {
    json_decref(json);
    return NULL;
  }
  return json;
}

int backup_commit(struct backup *b, const json_t *document, struct backup_totals *ret, struct umbra_error *err) {
  CLEANUP_JSON json_t *json = make_document(b, document);
  if (!json)
    return error_code(err, -ENOMEM, "writing '%s'", MANIFEST_NAME);
  if (fsync(b->archive_fd) < 0 || fsync(b->index_fd) < 0)
    return error_errno(err, "bringing '%s/%s' to the disk", b->directory.path, b->partial);
  int r = manifest_write(b->folder_fd, json, err);
  if (r < 0)
    return r;
  if (fsync(b->folder_fd) < 0)
    return error_errno(err, "bringing '%s/%s' to the disk", b->directory.path, b->partial);
  if (renameat2(b->directory.fd, b->partial, b->directory.fd, b->name, RENAME_NOREPLACE) < 0 &&
      (errno != EINVAL || renameat(b->directory.fd, b->partial, b->directory.fd, b->name) < 0))
    return error_errno(err, "naming '%s/%s'", b->directory.path, b->name);
  b->partial_made = false;
  *ret = b->totals;
  if (fsync(b->directory.fd) < 0)
    return error_errno(err, "bringing '%s' to the disk", b->directory.path);
  return 0;
}

void backup_free(struct backup *b) {
  if (!b)
    return;
  const int *const fds[] = {&b->archive_fd, &b->index_fd, &b->base_index_fd, &b->folder_fd};
  for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
    if (*fds[i] >= 0)
      (void)close(*fds[i]);
  if (b->partial_made)
    (void)fd_remove_tree(b->directory.fd, b->partial);
  set_directory_close(&b->directory);
  excludes_free(b->excludes);
  json_decref(b->exclude_list);
  json_decref(b->source_list);
  strv_free(b->sources);
  free(b->label);
  free(b);
}
