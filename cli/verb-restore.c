/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra restore: bring a backup back, all of it or some paths, and let its writers know. */
#include "cli/backup-target.h"
#include "cli/components.h"
#include "cli/options.h"
#include "cli/progress.h"

#include "backup/tree-path.h"
#include "common/clock.h"
#include "common/strv.h"

#include <inttypes.h>
#include <stdio.h>

enum { OPTION_TO = 1, OPTION_NO_WRITERS, OPTION_COMPONENT };

static const struct option options[] = {
    {"to", required_argument, NULL, OPTION_TO},
    {"no-writers", no_argument, NULL, OPTION_NO_WRITERS},
    {"component", required_argument, NULL, OPTION_COMPONENT},
    {NULL, 0, NULL, 0},
};

struct restoration {
  const char *root;
  bool no_writers;
  char **paths;
  char **components; /* by name; NULL: no selection */
  json_t *selection; /* what they come to; NULL */
};

static void restoration_done(struct restoration *o) {
  strv_free(o->paths);
  strv_free(o->components);
  json_decref(o->selection);
}

/* ---- restore methods of writers ---- */

/* "restore": {"method": …} of a writer or a component (umbra-writers(7)). */
static const char *restore_method(const json_t *of, const char *fallback) {
  return json_get_string_or(json_object_get(of, "restore"), "method", fallback);
}

/* Calls found for each file set of a component that its writer wants kept where it exists; true when one says so. */
static bool any_kept_set(const json_t *manifest, bool (*found)(const json_t *set, const char *path),
                         const char *path) {
  size_t i, j, k;
  json_t *writer, *component, *set;
  json_array_foreach(json_object_get(manifest, "writers"), i, writer) {
    const json_t *metadata = json_object_get(writer, "metadata");
    const char *method = restore_method(metadata, "replace");
    json_array_foreach(json_object_get(metadata, "components"), j, component) {
      if (strcmp(restore_method(component, method), "if-not-there") != 0)
        continue;
      json_array_foreach(json_object_get(component, "files"), k, set) {
        if (found(set, path))
          return true;
      }
    }
  }
  return false;
}

static bool any_set(const json_t *set, const char *path) {
  (void)set;
  (void)path;
  return true;
}

/* True if the path is of a component that its writer does not want replaced. userdata: backup.json. */
static bool keep_existing(void *userdata, const char *path) {
  char absolute[TREE_PATH_BYTES_MAX + 2];
  (void)snprintf(absolute, sizeof absolute, "/%s", path);
  return any_kept_set(userdata, components_in_file_set, absolute);
}

/* ---- events ---- */

/* ---- components ---- */

static int in_set(void *userdata, const json_t *component, const json_t *set) {
  (void)component;
  return components_in_file_set(set, userdata);
}

/* True if the path is a selected component's. userdata: the selection. */
static bool wanted(void *userdata, const char *path) {
  char absolute[TREE_PATH_BYTES_MAX + 2];
  (void)snprintf(absolute, sizeof absolute, "/%s", path);
  return components_visit_files(userdata, in_set, absolute) != 0;
}

static int select_components(const struct cli *cli, struct restoration *o, const json_t *manifest) {
  CLEANUP_FREE char *text = json_dumps(manifest, JSON_COMPACT);
  char *selection = NULL;
  if (!text || umbra_select_saved(cli->client, text, (const char *const *)o->components, strv_count(o->components),
                                  &selection) < 0)
    return cli_failed(cli, "selecting what to restore");
  o->selection = cli_parse(selection);
  if (components_paths(o->selection, false, &o->paths) == 0 && strv_count(o->paths) > 0)
    return STATUS_DONE;
  fputs("umbra: selecting what to restore: the components have no files\n", stderr);
  return STATUS_FAILED;
}

/* For writers: which of their components come back. */
static json_t *chosen_components(const json_t *selection) {
  json_t *list = json_array();
  size_t i;
  const json_t *one;
  json_array_foreach(json_object_get(selection, "components"), i, one) {
    if (json_is_string(json_object_get(one, "selected")))
      (void)json_array_append_new(list,
                                  json_pack("{s:O, s:O?, s:O}", "writer", json_object_get(one, "writer"), "instance",
                                            json_object_get(one, "instance"), "name", json_object_get(one, "name")));
  }
  return list;
}

/* backup.json, and what of it comes back where. NULL: out of memory. */
static char *event_document(const struct restoration *o, const json_t *manifest, bool succeeded) {
  CLEANUP_JSON json_t *document = json_copy((json_t *)manifest), *how = json_object(), *paths = json_array();
  if (strcmp(o->root, "/") != 0)
    (void)json_object_set_new(how, "to", json_path(o->root));
  for (size_t i = 0; i < strv_count(o->paths); i++)
    (void)json_array_append_new(paths, json_path(o->paths[i]));
  if (strv_count(o->paths) > 0)
    (void)json_object_set(how, "paths", paths);
  if (o->selection)
    (void)json_object_set_new(how, "components", chosen_components(o->selection));
  if (!succeeded)
    (void)json_object_set_new(how, "succeeded", json_false());
  (void)json_object_set(document, "restore", how);
  return json_dumps(document, JSON_COMPACT);
}

/* What they have to say about it: "message" of their answers. */
static void print_messages(const struct cli *cli, const char *event, const char *answers) {
  CLEANUP_JSON json_t *document = NULL;
  size_t i;
  json_t *writer;
  if (cli->quiet || json_parse(answers, strlen(answers), "answers", &document, NULL) < 0)
    return;
  json_array_foreach(json_object_get(document, "writers"), i, writer) {
    const json_t *answer = json_object_get(json_object_get(writer, "answers"), event);
    const char *message = json_get_string_or(answer, "message", NULL),
               *instance = json_get_string_or(writer, "instance", NULL);
    if (message)
      fprintf(stderr, "umbra: writer '%s'%s%s: %s\n", json_get_string_or(writer, "name", ""), instance ? " " : "",
              instance ? instance : "", message);
  }
}

static int tell_writers(const struct cli *cli, const struct restoration *o, const json_t *manifest, const char *event,
                        bool succeeded) {
  if (o->no_writers || json_array_size(json_object_get(manifest, "writers")) == 0)
    return STATUS_DONE;
  CLEANUP_FREE char *text = event_document(o, manifest, succeeded), *answers = NULL;
  bool told = text && umbra_restore_event(cli->client, event, text, &answers) >= 0;
  if (answers)
    print_messages(cli, event, answers);
  return told ? STATUS_DONE : cli_failed(cli, "telling the writers %s", event);
}

/* ---- the restore ---- */

static void print_result(const struct cli *cli, const struct backup_entry *e, const struct restoration *o,
                         const struct restore_totals *t, double seconds) {
  if (cli->json) {
    CLEANUP_JSON json_t *document =
        json_pack("{s:{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}}", "restore", "backup",
                  e->manifest.id, "name", e->name, "to", json_path(o->root), "files", (json_int_t)t->files,
                  "directories", (json_int_t)t->directories, "others", (json_int_t)t->others, "bytes",
                  (json_int_t)t->bytes, "removed", (json_int_t)t->removed, "kept", (json_int_t)t->kept, "failed",
                  (json_int_t)t->failed, "skipped_attributes", (json_int_t)t->skipped_attributes, "seconds", seconds);
    cli_print_json(document);
    return;
  }
  char size[CLI_SIZE_TEXT_BYTES];
  printf("restored %s to %s: %" PRIu64 " files (%s), %" PRIu64 " directories, %" PRIu64 " others in %.1f s", e->name,
         o->root, t->files, cli_size((json_int_t)t->bytes, size), t->directories, t->others, seconds);
  if (t->removed > 0)
    printf(", %" PRIu64 " deleted in between removed", t->removed);
  if (t->kept > 0)
    printf(", %" PRIu64 " existing kept", t->kept);
  putchar('\n');
}

static int restore(struct cli *cli, const struct backup_target *target, const struct restoration *o) {
  struct backup_listener listener = backup_target_listener(cli);
  struct restore_totals totals;
  struct umbra_error err = {0};
  json_t *manifest = target->backup->manifest.json;
  struct restore_options options_of = {
      .directory = &target->directory,
      .backup = target->backup,
      .root = o->root,
      .paths = o->paths,
      .wanted = o->selection ? wanted : NULL,
      .wanted_userdata = o->selection,
      .keep_existing = any_kept_set(manifest, any_set, NULL) ? keep_existing : NULL,
      .keep_userdata = manifest,
  };
  int64_t began_ns = clock_monotonic_ns();
  int status = tell_writers(cli, o, manifest, "pre-restore", true);
  if (status != STATUS_DONE) {
    /* Those that did not refuse have stopped their services for it. */
    (void)tell_writers(cli, o, manifest, "post-restore", false);
    return status;
  }
  int r = backup_restore(&options_of, &listener, &totals, &err);
  progress_clear(cli->progress);
  if (r < 0)
    status = backup_target_failed(cli, &err, "restoring backup '%s' to '%s'", target->backup->name, o->root);
  if (r == 0 || totals.failed > 0)
    print_result(cli, target->backup, o, &totals, (double)(clock_monotonic_ns() - began_ns) / (double)NS_PER_S);
  if (totals.skipped_attributes > 0)
    fprintf(stderr, "umbra: warning: %" PRIu64 " owners, attributes or file flags could not be set%s\n",
            totals.skipped_attributes, geteuid() != 0 ? " without being root" : " on this filesystem");
  /* In any case: a writer that stopped its service for the restore has to start it again. */
  int told = tell_writers(cli, o, manifest, "post-restore", status == STATUS_DONE);
  return status == STATUS_DONE ? told : status;
}

/* An absolute path without "." and "..", by its text only: it need not exist. */
static char *absolute_path(const char *path) {
  CLEANUP_FREE char *directory = path[0] == '/' ? strdup("") : getcwd(NULL, 0);
  CLEANUP_FREE char *copy = strdup(path);
  char *result = NULL, *rest = NULL;
  if (!directory || !copy || asprintf(&result, "%s", strcmp(directory, "/") == 0 ? "" : directory) < 0)
    return NULL;
  for (char *name = strtok_r(copy, "/", &rest); name; name = strtok_r(NULL, "/", &rest)) {
    char *last = strrchr(result, '/'), *longer = NULL;
    if (strcmp(name, ".") == 0)
      continue;
    if (strcmp(name, "..") == 0) {
      if (last)
        *last = '\0';
      continue;
    }
    int n = asprintf(&longer, "%s/%s", result, name);
    free(result);
    if (n < 0)
      return NULL;
    result = longer;
  }
  if (result[0] == '\0') {
    free(result);
    return strdup("/");
  }
  return result;
}

static int run(struct cli *cli, int argc, char **argv) {
  CLEANUP(restoration_done) struct restoration o = {.root = "/"};
  struct umbra_error err = {0};
  struct backup_target target;
  int option;
  while ((option = options_next(&verb_restore, argc, argv)) != -1)
    switch (option) {
    case OPTION_TO:
      o.root = optarg;
      break;
    case OPTION_NO_WRITERS:
      o.no_writers = true;
      break;
    case OPTION_COMPONENT:
      if (strv_append(&o.components, optarg) < 0)
        return cli_usage(&verb_restore, "out of memory");
      break;
    default:
      break;
    }
  if (!*o.root)
    return cli_usage(&verb_restore, "--to which directory?");
  if (optind >= argc)
    return cli_usage(&verb_restore, "which backup set directory?");
  CLEANUP_STRV char **paths = NULL;
  for (int i = optind + 1; i < argc; i++) {
    char *path = absolute_path(argv[i]);
    if (!path || strv_append_take(&paths, path) < 0) {
      fputs("umbra: restoring: out of memory\n", stderr);
      return STATUS_FAILED;
    }
  }
  if (o.components && paths)
    return cli_usage(&verb_restore, "either components or paths");
  o.paths = take_pointer(paths);
  if (backup_target_open(argv[optind], true, &target, &err) < 0)
    return backup_target_failed(cli, &err, "restoring from '%s'", argv[optind]);
  int status = o.components ? select_components(cli, &o, target.backup->manifest.json) : STATUS_DONE;
  if (status == STATUS_DONE)
    status = restore(cli, &target, &o);
  backup_target_close(&target);
  return status;
}

const struct verb verb_restore = {
    .name = "restore",
    .usage = "[OPTION…] DIR[@BACKUP] [PATH…]",
    .summary = "bring back a backup (the latest), all of it or some paths",
    .help = "  --to ROOT         put every file at ROOT + its absolute path; without it files go where they were\n"
            "  --no-writers      tell no writers\n"
            "  --component C     only this component of a writer (WRITER:NAME, WRITER/INSTANCE:NAME); may be given "
            "again\n"
            "  BACKUP            id, a unique prefix of it, name of the folder, label, or 'latest'\n"
            "  PATH              as it was when it was saved; relative to the working directory\n",
    .options = options,
    .run = run,
};
