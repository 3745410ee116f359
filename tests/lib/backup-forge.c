/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * backup-forge TARGET FILE.tar <LIST: makes a backup of any tar file, with an index that says what LIST says and all
 * checksums right. Each line of LIST belongs to a member, in order: its path for the index, and after a tab a target
 * for links. An empty line leaves the member out of the index. Prints the folder's name. For tests with hostile
 * backups; checks nothing.
 */
#include "backup/content.h"
#include "backup/frames.h"
#include "backup/manifest.h"
#include "backup/metadata.h"
#include "backup/set-directory.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/id.h"

#include <archive.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { COPY_BYTES = 65536 };

static void must(bool fine, const char *what) {
  if (fine)
    return;
  fprintf(stderr, "backup-forge: %s\n", what);
  exit(1);
}

static struct manifest_file compress_tar(int dir_fd, const char *tar) {
  struct manifest_file file = {0};
  struct frame_writer *w = NULL;
  static char buffer[COPY_BYTES];
  CLEANUP_CLOSE int in = open(tar, O_RDONLY | O_CLOEXEC);
  CLEANUP_CLOSE int out = openat(dir_fd, MANIFEST_ARCHIVE_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  must(in >= 0 && out >= 0 && frame_writer_new(out, 3, -1, &w, NULL) == 0, "opening");
  for (ssize_t n; (n = read(in, buffer, sizeof buffer)) > 0;)
    must(frame_writer_add(w, buffer, (size_t)n, NULL) == 0, "compressing");
  must(frame_writer_finish(w, &file.digest, &file.bytes, NULL) == 0, "compressing");
  frame_writer_free(w);
  return file;
}

static enum index_kind kind_of(struct archive_entry *e) {
  if (archive_entry_hardlink(e))
    return INDEX_HARD_LINK;
  switch (archive_entry_filetype(e)) {
  case AE_IFDIR:
    return INDEX_DIRECTORY;
  case AE_IFLNK:
    return INDEX_SYMLINK;
  case AE_IFCHR:
    return INDEX_CHARACTER;
  case AE_IFBLK:
    return INDEX_BLOCK;
  case AE_IFIFO:
    return INDEX_FIFO;
  default:
    return INDEX_FILE;
  }
}

static void fill(struct archive *a, struct archive_entry *e, struct index_record *r, struct content_hash *hash) {
  struct metadata m;
  const void *data = NULL;
  size_t n = 0;
  la_int64_t offset = 0;
  r->kind = kind_of(e);
  r->mode = archive_entry_mode(e) & 07777;
  r->uid = (uint32_t)archive_entry_uid(e);
  r->gid = (uint32_t)archive_entry_gid(e);
  r->size_bytes = (uint64_t)archive_entry_size(e);
  r->modified = (struct timespec){archive_entry_mtime(e), archive_entry_mtime_nsec(e)};
  bool device = r->kind == INDEX_CHARACTER || r->kind == INDEX_BLOCK;
  r->device_major = device ? (uint32_t)archive_entry_rdevmajor(e) : 0;
  r->device_minor = device ? (uint32_t)archive_entry_rdevminor(e) : 0;
  must(metadata_from_entry(e, &m, NULL) == 0 && metadata_digest(r, &m, &r->metadata) == 0, "metadata");
  metadata_done(&m);
  content_hash_begin(hash);
  while (r->kind == INDEX_FILE && archive_read_data_block(a, &data, &n, &offset) == ARCHIVE_OK)
    content_hash_add(hash, (uint64_t)offset, data, n);
  r->content = content_hash_finish(hash, false, r->size_bytes);
}

static struct manifest_file write_index(int dir_fd, const char *tar) {
  static char line[2 * TREE_PATH_BYTES_MAX];
  static struct index_record record;
  struct manifest_file file = {0};
  struct content_hash hash;
  struct index_header header = {0};
  struct index_writer *w = NULL;
  struct archive_entry *e = NULL;
  uint64_t records = 0;
  CLEANUP_CLOSE int out = openat(dir_fd, MANIFEST_INDEX_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct archive *a = archive_read_new();
  must(out >= 0 && content_hash_init(&hash) == 0 && index_writer_new(out, &header, &w, NULL) == 0, "opening");
  must(archive_read_support_format_tar(a) == ARCHIVE_OK &&
           archive_read_open_filename(a, tar, COPY_BYTES) == ARCHIVE_OK,
       "opening the tar file");
  while (archive_read_next_header(a, &e) <= ARCHIVE_OK && fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = '\0';
    if (line[0] == '\0')
      continue;
    char *tab = strchr(line, '\t');
    record.target[0] = '\0';
    if (tab) {
      *tab = '\0';
      must(strlen(tab + 1) <= TREE_PATH_BYTES_MAX, "a target is too long");
      memcpy(record.target, tab + 1, strlen(tab + 1) + 1);
    }
    must(strlen(line) <= TREE_PATH_BYTES_MAX, "a path is too long");
    memcpy(record.path, strcmp(line, ".") == 0 ? "" : line, strlen(line) + 1);
    record.offset_bytes = (uint64_t)archive_read_header_position(a);
    fill(a, e, &record, &hash);
    must(index_writer_add(w, &record, NULL) == 0, "writing the index");
  }
  must(index_writer_finish(w, &records, NULL) == 0 && digest_of_file(out, &file.digest, &file.bytes) == 0,
       "the index");
  index_writer_free(w);
  content_hash_done(&hash);
  (void)archive_read_free(a);
  return file;
}

int main(int argc, char **argv) {
  char id[ID_TEXT_BYTES], name[SET_DIRECTORY_NAME_BYTES], when[CLOCK_TEXT_BYTES];
  must(argc == 3 && fd_make_directories(argv[1], 0700) == 0, "usage: backup-forge TARGET FILE.tar <LIST");
  CLEANUP_CLOSE int target = fd_open_directory(argv[1]);
  id_new(id);
  set_directory_make_name(name, clock_realtime_ns(), MANIFEST_FULL, id);
  must(target >= 0 && mkdirat(target, name, 0700) == 0, "making the folder");
  CLEANUP_CLOSE int folder = openat(target, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct manifest_file archive = compress_tar(folder, argv[2]), index = write_index(folder, argv[2]);
  CLEANUP_JSON json_t *json = json_pack(
      "{s:i, s:s, s:s, s:s, s:s, s:[s], s:[], s:{s:o, s:o}}", "format", MANIFEST_FORMAT, "id", id, "name", name,
      "type", "full", "time", clock_format(clock_realtime_ns(), when), "chain", id, "sources", "files",
      MANIFEST_ARCHIVE_NAME, manifest_file_json(&archive), MANIFEST_INDEX_NAME, manifest_file_json(&index));
  must(json && manifest_write(folder, json, NULL) == 0, "writing backup.json");
  puts(name);
  return 0;
}
