/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra ls: the backups in a backup set directory, or the files of one. */
#include "cli/backup-target.h"
#include "cli/table.h"

#include "backup/chain.h"
#include "common/clock.h"

#include <inttypes.h>
#include <stdio.h>

static json_t *entry_json(const struct backup_entry *e) {
  if (e->state != BACKUP_WHOLE)
    return json_pack("{s:s, s:s, s:s?}", "name", e->name, "state", backup_state_name(e->state), "why",
                     e->state == BACKUP_DAMAGED ? e->why.message : NULL);
  const struct manifest *m = &e->manifest;
  const json_t *totals = json_object_get(m->json, "totals");
  return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s?, s:I, s:I, s:I, s:s, s:s}", "id", m->id, "name", e->name, "type",
                   manifest_type_name(m->type), "time", m->time, "base", m->base, "label", m->label, "files",
                   json_get_integer_or(totals, "files", 0), "bytes", json_get_integer_or(totals, "bytes", 0),
                   "archive_bytes", (json_int_t)m->archive.bytes, "consistency", m->consistency, "state",
                   backup_state_name(e->state));
}

static int list_backups(const struct cli *cli, const struct set_directory *d) {
  static const struct table_column columns[] = {
      {"id", "ID", false},
      {"type", "TYPE", false},
      {"time", "TIME", false},
      {"base", "BASE", false},
      {"files", "FILES", false},
      {"bytes", "SIZE", true},
      {"archive_bytes", "ARCHIVE", true},
      {"consistency", "CONSISTENCY", false},
      {"state", "STATE", false},
      {"label", "LABEL", false},
      {"name", "NAME", false},
  };
  CLEANUP_JSON json_t *document = json_pack("{s:[]}", "backups");
  json_t *list = json_object_get(document, "backups");
  for (size_t i = 0; i < d->count; i++)
    if (json_array_append_new(list, entry_json(&d->entries[i])) < 0) {
      fputs("umbra: listing backups: out of memory\n", stderr);
      return STATUS_FAILED;
    }
  if (cli->json) {
    cli_print_json(document);
    return STATUS_DONE;
  }
  return table_print(list, columns, sizeof columns / sizeof *columns) < 0 ? STATUS_FAILED : STATUS_DONE;
}

/* One JSON object a line, or "MODE UID GID SIZE TIME PATH": streams, since a backup may have millions of files. */
static void print_record(const struct cli *cli, const struct index_record *r) {
  char time_text[CLOCK_TEXT_BYTES], digest[DIGEST_TEXT_BYTES], path[TREE_PATH_BYTES_MAX + 2];
  (void)snprintf(path, sizeof path, "/%s", r->path);
  int64_t modified_ns = (int64_t)r->modified.tv_sec * NS_PER_S + r->modified.tv_nsec;
  bool link = r->kind == INDEX_SYMLINK || r->kind == INDEX_HARD_LINK;
  if (!cli->json) {
    printf("%c%04o %5u %5u %12" PRIu64 " %.19s %s%s%s%s\n", (int)r->kind, r->mode, r->uid, r->gid, r->size_bytes,
           clock_format(modified_ns, time_text), path, link ? " -> " : "", r->kind == INDEX_HARD_LINK ? "/" : "",
           link ? r->target : "");
    return;
  }
  char kind[2] = {(char)r->kind, '\0'};
  CLEANUP_JSON json_t *line =
      json_pack("{s:o, s:s, s:i, s:I, s:I, s:I, s:s, s:I, s:o*, s:s?}", "path", json_path(path), "kind", kind, "mode",
                (int)r->mode, "uid", (json_int_t)r->uid, "gid", (json_int_t)r->gid, "size", (json_int_t)r->size_bytes,
                "modified", clock_format(modified_ns, time_text), "position", (json_int_t)r->position, "target",
                link ? json_path(r->target) : NULL, "xxh3_128",
                r->kind == INDEX_FILE ? digest_format(&r->content, digest) : NULL);
  if (line)
    (void)json_dumpf(line, stdout, JSON_COMPACT);
  putchar('\n');
}

static int list_files(const struct cli *cli, const struct backup_target *t) {
  struct umbra_error err = {0};
  struct chain chain;
  struct chain_index index = {.fd = -1};
  const struct index_record *record = NULL;
  int r = chain_init(&chain, &t->directory, t->backup, &err);
  if (r == 0)
    r = chain_open_index(&chain, chain.count - 1, &index, &err);
  while (r == 0 && (r = index_reader_next(index.reader, &record, &err)) == 1) {
    r = 0;
    if (record->kind != INDEX_DELETED)
      print_record(cli, record);
  }
  chain_close_index(&index);
  chain_done(&chain);
  return r < 0 ? backup_target_failed(cli, &err, "listing backup '%s'", t->backup->name) : STATUS_DONE;
}

static int run(struct cli *cli, int argc, char **argv) {
  struct umbra_error err = {0};
  struct backup_target target;
  if (argc - optind != 1)
    return cli_usage(&verb_ls, "which backup set directory?");
  if (backup_target_open(argv[optind], false, &target, &err) < 0)
    return backup_target_failed(cli, &err, "listing '%s'", argv[optind]);
  int status = target.backup ? list_files(cli, &target) : list_backups(cli, &target.directory);
  backup_target_close(&target);
  return status;
}

const struct verb verb_ls = {
    .name = "ls",
    .usage = "DIR[@BACKUP]",
    .summary = "list the backups in a backup set directory, or the files of one",
    .help = "  BACKUP            id, a unique prefix of it, name of the folder, label, or 'latest'\n",
    .run = run,
};
