/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra verify: check every checksum of a backup and of what it stands on, or of all backups. */
#include "cli/backup-target.h"
#include "cli/progress.h"

#include "backup/chain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

struct verification {
  struct cli *cli;
  const struct set_directory *directory;
  json_t *list;
  bool bad;
};

static void check(struct verification *v, const struct backup_entry *e) {
  struct backup_listener listener = backup_target_listener(v->cli);
  struct verify_totals totals = {0};
  struct umbra_error err = {0};
  int r = backup_verify(v->directory, e, &listener, &totals, &err);
  progress_clear(v->cli->progress);
  v->bad = v->bad || r < 0;
  (void)json_array_append_new(v->list, json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:s?}", "name", e->name, "id",
                                                 e->manifest.id, "sound", r == 0, "files", (json_int_t)totals.files,
                                                 "bytes", (json_int_t)totals.bytes, "findings",
                                                 (json_int_t)totals.bad, "message", r < 0 ? err.message : NULL));
  if (r < 0)
    (void)backup_target_failed(v->cli, &err, "verifying '%s'", e->name);
  else if (!v->cli->json)
    printf("%s: sound, %" PRIu64 " members, %" PRIu64 " bytes\n", e->name, totals.files, totals.bytes);
}

static void check_all(struct verification *v) {
  for (size_t i = 0; i < v->directory->count; i++) {
    const struct backup_entry *e = &v->directory->entries[i];
    if (e->state == BACKUP_WHOLE)
      check(v, e);
    else if (e->state == BACKUP_DAMAGED) {
      v->bad = true;
      (void)backup_target_failed(v->cli, &e->why, "verifying '%s'", e->name);
      (void)json_array_append_new(
          v->list, json_pack("{s:s, s:b, s:s}", "name", e->name, "sound", false, "message", e->why.message));
    }
  }
}

static void check_chain(struct verification *v, const struct backup_entry *backup) {
  struct umbra_error err = {0};
  struct chain chain;
  if (chain_init(&chain, v->directory, backup, &err) < 0) {
    v->bad = true;
    (void)backup_target_failed(v->cli, &err, "verifying '%s'", backup->name);
    return;
  }
  for (size_t i = 0; i < chain.count; i++)
    check(v, chain.entries[i]);
  chain_done(&chain);
}

static int run(struct cli *cli, int argc, char **argv) {
  struct umbra_error err = {0};
  struct backup_target target;
  if (argc - optind != 1)
    return cli_usage(&verb_verify, "which backup set directory?");
  if (backup_target_open(argv[optind], false, &target, &err) < 0)
    return backup_target_failed(cli, &err, "verifying '%s'", argv[optind]);
  CLEANUP_JSON json_t *document = json_pack("{s:[]}", "backups");
  struct verification v = {.cli = cli, .directory = &target.directory, .list = json_object_get(document, "backups")};
  if (target.backup)
    check_chain(&v, target.backup);
  else
    check_all(&v);
  if (json_array_size(v.list) == 0 && !v.bad) {
    /* Sound is only what was looked at: an unmounted backup disk is an empty directory. */
    (void)error_set(&err, -ENOENT, UMBRA_REASON_NOT_FOUND, "it holds no whole backup");
    v.bad = true;
    (void)backup_target_failed(cli, &err, "verifying '%s'", argv[optind]);
  }
  if (cli->json)
    cli_print_json(document);
  backup_target_close(&target);
  return v.bad ? STATUS_FAILED : STATUS_DONE;
}

const struct verb verb_verify = {
    .name = "verify",
    .usage = "DIR[@BACKUP]",
    .summary = "check every checksum of all backups, or of one and those it stands on",
    .help = "  BACKUP            id, a unique prefix of it, name of the folder, label, or 'latest'\n",
    .run = run,
};
