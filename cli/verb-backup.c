/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra backup: shadow copies of the sources' volumes, and an archive of the sources from them. */
#include "cli/backup-sources.h"
#include "cli/backup-target.h"
#include "cli/components.h"
#include "cli/progress.h"
#include "cli/options.h"
#include "cli/set-options.h"

#include "common/clock.h"
#include "common/strv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
  OPTION_TO = 1,
  OPTION_TYPE,
  OPTION_EXCLUDE,
  OPTION_LABEL,
  OPTION_ALL_VOLUMES,
  OPTION_LEVEL,
  OPTION_COMPONENT,
  LEVEL_MAX = 19
};

static const struct option options[] = {
    SET_OPTIONS,
    {"to", required_argument, NULL, OPTION_TO},
    {"type", required_argument, NULL, OPTION_TYPE},
    {"exclude", required_argument, NULL, OPTION_EXCLUDE},
    {"label", required_argument, NULL, OPTION_LABEL},
    {"all-volumes", no_argument, NULL, OPTION_ALL_VOLUMES},
    {"level", required_argument, NULL, OPTION_LEVEL},
    {"component", required_argument, NULL, OPTION_COMPONENT},
    {NULL, 0, NULL, 0},
};

struct request {
  const char *to, *label;
  enum manifest_type type;
  char **excludes;
  char **components; /* by name; NULL: no selection */
  json_t *selection; /* what they come to; NULL */
  bool all_volumes;
  int level;
  struct backup_sources sources;
};

struct outcome {
  struct backup_totals totals;
  int64_t began_ns;
  json_t *set; /* borrowed from document */
};

/* ---- writers' documents ---- */

typedef int (*exclude)(struct backup *b, const char *directory, const char *pattern, bool recursive);

static int exclude_sets(struct backup *b, const json_t *sets, exclude how) {
  size_t i;
  json_t *set;
  json_array_foreach(sets, i, set) {
    CLEANUP_FREE char *path = NULL;
    (void)json_path_value(json_object_get(set, "path"), &path);
    int r =
        path ? how(b, path, json_get_string_or(set, "pattern", "*"), json_get_boolean_or(set, "recursive", true)) : 0;
    if (r < 0)
      return r;
  }
  return 0;
}

/* File sets that writers do not want saved: of the writer, and of each of its components; what is not to be in a
 * shadow copy neither. */
static int exclude_by_writers(struct backup *b, const json_t *document) {
  size_t i, j;
  json_t *writer, *component;
  json_array_foreach(json_object_get(document, "documents"), i, writer) {
    const json_t *metadata = json_object_get(writer, "metadata");
    int r = exclude_sets(b, json_object_get(metadata, "excludes"), backup_exclude_file_set);
    json_array_foreach(json_object_get(metadata, "components"), j, component) {
      if (r == 0)
        r = exclude_sets(b, json_object_get(component, "excludes"), backup_exclude_file_set);
      if (r == 0)
        r = exclude_sets(b, json_object_get(component, "shadow_excludes"), backup_exclude_files);
    }
    if (r < 0)
      return r;
  }
  return 0;
}

/* ---- selected components ---- */

/* A directory is named as it is found there: without the links on the way to it. */
static int only_file_set(void *userdata, const json_t *component, const json_t *set) {
  CLEANUP_FREE char *path = NULL;
  (void)component;
  if (json_path_value(json_object_get(set, "path"), &path) < 0)
    return 0;
  CLEANUP_FREE char *real = realpath(path, NULL);
  return backup_only_file_set(userdata, real ? real : path, json_get_string_or(set, "pattern", "*"),
                              json_get_boolean_or(set, "recursive", true));
}

/* Of what the operands name all is saved, of the components what is theirs. */
static int limit_to_components(struct backup *b, const struct request *q, char *const *operands) {
  int r = q->selection ? components_visit_files(q->selection, only_file_set, b) : 0;
  for (; q->selection && *operands && r == 0; operands++) {
    CLEANUP_FREE char *real = realpath(*operands, NULL);
    r = real ? backup_only_file_set(b, real, "*", true) : 0;
  }
  return r;
}

/* The operands and the components' directories, as sources. */
static int add_components(struct cli *cli, struct request *q, char ***sources) {
  char *text = NULL;
  if (!q->components)
    return STATUS_DONE;
  if (umbra_gather(cli->client, (const char *const *)q->components, strv_count(q->components), &text) < 0)
    return cli_failed(cli, "selecting components");
  q->selection = cli_parse(text);
  if (components_paths(q->selection, true, sources) == 0 && strv_count(*sources) > 0)
    return STATUS_DONE;
  fputs("umbra: selecting components: they have no files\n", stderr);
  return STATUS_FAILED;
}

/* ---- umbra's own places, which are not the user's data ---- */

/* Where snapshots of a btrfs volume lie; in one, empty directories of it are seen. */
static int exclude_snapshots(struct backup *b, const json_t *set) {
  size_t i;
  json_t *shadow;
  json_array_foreach(json_object_get(set, "shadows"), i, shadow) {
    CLEANUP_FREE char *mount_point = NULL;
    if (strcmp(json_get_string_or(shadow, "filesystem", ""), "btrfs") != 0)
      continue;
    int r = json_path_value(json_object_get(shadow, "volume"), &mount_point);
    if (r == 0)
      r = backup_exclude_file_set(b, mount_point, ".umbra", false);
    if (r < 0)
      return r;
  }
  return 0;
}

/* The usual storage: images of volumes and copies of their files, of this set and of others. The first of the list.
 */
static int exclude_storage(struct cli *cli, struct backup *b) {
  char *text = NULL;
  CLEANUP_FREE char *usual = NULL, *path = NULL;
  int r = umbra_list(cli->client, "storage", &text);
  if (r < 0)
    return r;
  CLEANUP_JSON json_t *document = cli_parse(text);
  r = json_path_value(json_object_get(json_array_get(json_object_get(document, "storage"), 0), "directory"), &usual);
  if (r == 0 && (path = realpath(usual, NULL)))
    r = backup_exclude_file_set(b, path, "*", false);
  return r;
}

/* What backup.json says beside what backup/ itself knows. */
static json_t *describe(const json_t *document, const struct backup_sources *sources) {
  json_t *set = json_object_get(document, "set"), *writers = json_object_get(document, "documents");
  return json_pack("{s:O, s:s, s:O*, s:O*, s:O}", "set", set, "consistency",
                   json_get_string_or(set, "consistency", "crash"), "writers", writers, "components",
                   json_object_get(document, "components"), "left_out", sources->left_out);
}

/* ---- the set ---- */

static int set_up(struct cli *cli, struct umbra_set *set, const struct request *q, struct backup *b) {
  int r = umbra_set_option(set, "auto-release", "yes");
  if (r >= 0)
    r = umbra_set_option(set, "scope", "paths");
  if (r >= 0)
    r = umbra_set_option(set, "backup-type", manifest_type_name(backup_type(b)));
  if (r >= 0 && q->label)
    r = umbra_set_option(set, "label", q->label);
  const json_t *components = backup_base(b) ? json_object_get(backup_base(b)->json, "writers") : NULL;
  if (r >= 0 && components) {
    /* The writers' answers to the base's backup: their stamps. */
    CLEANUP_FREE char *text = json_dumps(components, JSON_COMPACT);
    r = text ? umbra_set_option(set, "components", text) : -ENOMEM;
  }
  for (size_t i = 0; r >= 0 && q->sources.paths[i]; i++)
    r = umbra_set_add_path(set, q->sources.paths[i]);
  for (size_t i = 0; r >= 0 && q->components && q->components[i]; i++)
    r = umbra_set_option(set, "component", q->components[i]);
  return r < 0 ? cli_failed(cli, "preparing the backup") : STATUS_DONE;
}

struct shadows {
  struct backup_volume *volumes;
  size_t count;
};

static void shadows_close(struct shadows *s) {
  for (size_t i = 0; i < s->count; i++) {
    if (s->volumes[i].root_fd >= 0)
      (void)close(s->volumes[i].root_fd);
    free((char *)s->volumes[i].mount_point);
  }
  free(s->volumes);
}

/* True if the shadow copy was made for this very path: it is not reached through another mount. */
static bool made_for(const json_t *shadow, const char *source) {
  CLEANUP_JSON json_t *path = json_path(source);
  size_t i;
  json_t *one;
  json_array_foreach(json_object_get(shadow, "paths"), i, one) {
    if (json_equal(one, path))
      return true;
  }
  return false;
}

/* Adds what a source sees of its volume through another mount of it. */
static int add_bind(struct cli *cli, const json_t *list, const char *source, size_t shadow_count,
                    struct shadows *ret) {
  struct umbra_error err = {0};
  int r = 0;
  for (size_t i = 0; i < shadow_count; i++)
    if (made_for(json_array_get(list, i), source))
      return STATUS_DONE;
  for (size_t i = 0; r == 0 && i < shadow_count; i++) {
    struct backup_volume *bound = &ret->volumes[ret->count];
    r = backup_sources_bind(source, ret->volumes[i].mount_point, ret->volumes[i].root_fd, bound, &err);
    bound->copied = ret->volumes[i].copied;
  }
  if (r < 0)
    return backup_target_failed(cli, &err, "source '%s'", source);
  ret->count += r == 1;
  return STATUS_DONE;
}

static int open_shadow(struct cli *cli, struct umbra_set *set, const json_t *list, size_t index,
                       struct backup_volume *v) {
  char *mount_point = NULL;
  v->root_fd = umbra_set_open_shadow(set, index);
  if (v->root_fd < 0)
    return cli_failed(cli, "opening a shadow copy");
  if (json_path_value(json_object_get(json_array_get(list, index), "volume"), &mount_point) < 0) {
    (void)close(v->root_fd);
    fputs("umbra: opening a shadow copy: its document does not name the volume\n", stderr);
    return STATUS_FAILED;
  }
  v->mount_point = mount_point;
  v->copied = strcmp(json_get_string_or(json_array_get(list, index), "provider", ""), "files") == 0;
  return STATUS_DONE;
}

static int shadows_open(struct cli *cli, struct umbra_set *set, const struct request *q, const json_t *document,
                        struct shadows *ret) {
  const json_t *list = json_object_get(json_object_get(document, "set"), "shadows");
  size_t count = umbra_set_shadow_count(set);
  ret->volumes = calloc(count + strv_count(q->sources.paths) + 1, sizeof *ret->volumes);
  if (!ret->volumes) {
    fputs("umbra: opening the shadow copies: out of memory\n", stderr);
    return STATUS_FAILED;
  }
  for (; ret->count < count; ret->count++) {
    int status = open_shadow(cli, set, list, ret->count, &ret->volumes[ret->count]);
    if (status != STATUS_DONE)
      return status;
  }
  for (size_t i = 0; q->sources.paths[i]; i++) {
    int status = add_bind(cli, list, q->sources.paths[i], count, ret);
    if (status != STATUS_DONE)
      return status;
  }
  return STATUS_DONE;
}

/* ---- the backup ---- */

static void print_json(const struct backup *b, const struct outcome *o, double seconds) {
  const struct backup_totals *t = &o->totals;
  CLEANUP_JSON json_t *document =
      json_pack("{s:{s:s, s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:O}}", "backup", "name", backup_name(b),
                "type", manifest_type_name(backup_type(b)), "base", backup_base(b) ? backup_base(b)->id : NULL,
                "files", (json_int_t)t->files, "bytes", (json_int_t)t->bytes, "stored", (json_int_t)t->stored,
                "stored_bytes", (json_int_t)t->stored_bytes, "deleted", (json_int_t)t->deleted, "archive_bytes",
                (json_int_t)t->archive_bytes, "seconds", seconds, "set", o->set);
  cli_print_json(document);
}

static void print_result(const struct cli *cli, const struct backup *b, const struct outcome *o) {
  const struct backup_totals *t = &o->totals;
  double seconds = (double)(clock_monotonic_ns() - o->began_ns) / (double)NS_PER_S;
  char size[CLI_SIZE_TEXT_BYTES], archive_size[CLI_SIZE_TEXT_BYTES];
  if (cli->json) {
    print_json(b, o, seconds);
    return;
  }
  const json_t *shadow = json_array_get(json_object_get(o->set, "shadows"), 0);
  printf("%s: %" PRIu64 " files (%s), %" PRIu64 " stored, %" PRIu64 " deleted, archive %s in %.1f s\n",
         backup_name(b), t->files, cli_size((json_int_t)t->bytes, size), t->stored, t->deleted,
         cli_size((json_int_t)t->archive_bytes, archive_size), seconds);
  printf("%s-consistent, provider %s, held %.1f ms\n", json_get_string_or(o->set, "consistency", "crash"),
         json_get_string_or(shadow, "provider", "?"), json_number_value(json_object_get(o->set, "hold_ms")));
  if (t->sockets > 0)
    fprintf(stderr, "umbra: warning: %" PRIu64 " sockets are not in the backup; nothing can restore one\n",
            t->sockets);
}

/* Saves from the set and makes the backup whole. */
static int save(struct cli *cli, struct umbra_set *set, const struct request *q, struct backup *b, struct outcome *o,
                const json_t *document) {
  struct shadows shadows = {0};
  struct umbra_error err = {0};
  int64_t before_ns = clock_realtime_ns() - (clock_monotonic_ns() - o->began_ns);
  int status = shadows_open(cli, set, q, document, &shadows);
  if (status == STATUS_DONE) {
    CLEANUP_JSON json_t *description = describe(document, &q->sources);
    int r = description ? exclude_by_writers(b, document) : -ENOMEM;
    if (r == 0)
      r = exclude_snapshots(b, o->set);
    if (r < 0)
      (void)error_code(&err, r, "finding what is to be left out");
    if (r == 0)
      r = backup_save(b, shadows.volumes, shadows.count, before_ns, &err);
    if (r == 0)
      r = backup_commit(b, description, &o->totals, &err);
    if (r < 0)
      status = backup_target_failed(cli, &err, "backing up to '%s'", q->to);
  }
  shadows_close(&shadows);
  return status;
}

static int backup_with_set(struct cli *cli, struct umbra_set *set, const struct request *q, struct backup *b) {
  struct outcome o = {.began_ns = clock_monotonic_ns()};
  int status = set_up(cli, set, q, b);
  if (status != STATUS_DONE)
    return status;
  if (umbra_set_create(set) < 0)
    return cli_failed(cli, "making the shadow copies");
  CLEANUP_JSON json_t *document = cli_parse(strdup(umbra_set_document(set)));
  o.set = json_object_get(document, "set");
  status = save(cli, set, q, b, &o, document);
  progress_clear(cli->progress);
  if (umbra_set_complete(set, status == STATUS_DONE) < 0)
    fprintf(stderr, "umbra: warning: telling the writers how the backup went: %s\n",
            umbra_client_message(cli->client));
  if (status != STATUS_DONE)
    return status;
  print_result(cli, b, &o);
  return umbra_set_degraded(set) ? STATUS_DEGRADED : STATUS_DONE;
}

static int backup(struct cli *cli, struct umbra_set *set, struct request *q, char *const *operands) {
  struct backup_listener listener = backup_target_listener(cli);
  struct umbra_error err = {0};
  struct backup *b = NULL;
  struct backup_options o = {.target = q->to,
                             .type = q->type,
                             .label = q->label,
                             .sources = q->sources.paths,
                             .excludes = q->excludes,
                             .level = q->level};
  if (backup_new(&o, &b, &err) < 0)
    return backup_target_failed(cli, &err, "backing up to '%s'", q->to);
  backup_listen(b, &listener);
  if (backup_type(b) != q->type)
    fprintf(stderr, "umbra: '%s' holds no full backup of these sources to go on from: this becomes one\n", q->to);
  int status = exclude_storage(cli, b) < 0 ? cli_failed(cli, "finding what is to be left out") : STATUS_DONE;
  int r = status == STATUS_DONE ? limit_to_components(b, q, operands) : 0;
  if (r < 0)
    (void)error_code(&err, r, "limiting the backup to the components");
  if (r < 0)
    status = backup_target_failed(cli, &err, "backing up to '%s'", q->to);
  if (status == STATUS_DONE)
    status = backup_with_set(cli, set, q, b);
  backup_free(b);
  return status;
}

/* -1: go on, else an exit status. */
static int take_options(struct cli *cli, struct umbra_set *set, int argc, char **argv, struct request *q) {
  int option, r = 0;
  while (r >= 0 && (option = options_next(&verb_backup, argc, argv)) != -1)
    switch (option) {
    case OPTION_TO:
      q->to = optarg;
      break;
    case OPTION_TYPE:
      if (manifest_type_parse(optarg, &q->type) < 0)
        return cli_usage(&verb_backup, "there is no type '%s'", optarg);
      break;
    case OPTION_EXCLUDE:
      if (strv_append(&q->excludes, optarg) < 0)
        return cli_usage(&verb_backup, "out of memory");
      break;
    case OPTION_LABEL:
      q->label = optarg;
      break;
    case OPTION_COMPONENT:
      if (strv_append(&q->components, optarg) < 0)
        return cli_usage(&verb_backup, "out of memory");
      break;
    case OPTION_ALL_VOLUMES:
      q->all_volumes = true;
      break;
    case OPTION_LEVEL:
      if (options_number(optarg, 1, LEVEL_MAX, &q->level) < 0)
        return cli_usage(&verb_backup, "the level is a number from 1 to %d", LEVEL_MAX);
      break;
    default:
      r = set_option_take(set, option, optarg);
    }
  if (r < 0)
    return cli_usage(&verb_backup, "%s", umbra_client_message(cli->client));
  if (!q->to || !*q->to)
    return cli_usage(&verb_backup, "to which directory? (--to DIR)");
  if (optind >= argc && !q->components)
    return cli_usage(&verb_backup, "which sources?");
  return -1;
}

static int run(struct cli *cli, int argc, char **argv) {
  struct request q = {.type = MANIFEST_FULL};
  struct umbra_set *set = NULL;
  struct umbra_error err = {0};
  if (umbra_set_new(cli->client, &set) < 0)
    return cli_failed(cli, "preparing the backup");
  CLEANUP_STRV char **sources = NULL;
  int status = take_options(cli, set, argc, argv, &q);
  for (int i = optind; status < 0 && i < argc; i++)
    if (strv_append(&sources, argv[i]) < 0)
      status = cli_usage(&verb_backup, "out of memory");
  if (status < 0 && add_components(cli, &q, &sources) != STATUS_DONE)
    status = STATUS_FAILED;
  if (status < 0) {
    struct backup_listener listener = backup_target_listener(cli);
    status = backup_sources_find(sources, q.all_volumes, &listener, &q.sources, &err) < 0
                 ? backup_target_failed(cli, &err, "finding the sources")
                 : -1;
  }
  if (status < 0)
    status = backup(cli, set, &q, argv + optind);
  umbra_set_free(set);
  backup_sources_done(&q.sources);
  strv_free(q.excludes);
  strv_free(q.components);
  json_decref(q.selection);
  return status;
}

const struct verb verb_backup = {
    .name = "backup",
    .usage = "[OPTION…] [SOURCE…] --to DIR",
    .summary = "consistent backup of the sources into a backup set directory",
    .help = "  --to DIR          the backup set directory; made if it is not there\n"
            "  --type T          full (default), incremental (since the last full or incremental one),\n"
            "                    differential (since the last full one) or copy (on which none is based)\n"
            "  --component C     what this component of a writer consists of (WRITER:NAME, WRITER/INSTANCE:NAME; "
            "umbra list\n"
            "                    components); may be given again, instead of sources or with them\n"
            "  --exclude GLOB    leave out what matches; may be given again\n"
            "  --label L         a name for the backup\n"
            "  --all-volumes     follow sources into other volumes that are mounted below them\n"
            "  --level N         of compression, 1 to 19 (default 3)\n" SET_OPTIONS_HELP,
    .options = options,
    .run = run,
};
