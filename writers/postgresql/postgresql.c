/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra's writer for PostgreSQL: each cluster of this machine is an instance. umbra-writer-postgresql(8), DESIGN.md.
 */
#include "writers/postgresql/aside.h"
#include "writers/postgresql/cluster.h"
#include "writers/postgresql/config.h"
#include "writers/postgresql/copying.h"
#include "writers/postgresql/restoring.h"

#include "umbra/writer.h"

#include "common/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the manual says may be left out of a base backup ("Backing Up the Data Directory"); the directories stay. */
static const char *const contents_left_out[] = {"pg_dynshmem",  "pg_notify",   "pg_replslot", "pg_serial",
                                                "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};
static const char *const names_left_out[] = {"postmaster.pid",    "postmaster.opts",      "pgsql_tmp*",
                                             "pg_internal.init*", "current_logfiles.tmp", "postgresql.auto.conf.tmp",
                                             ASIDE_PREFIX "*"};

static int add_files(struct umbra_writer_instance *i, const struct cluster *c) {
  struct cluster_paths paths;
  int r = cluster_paths(c->data_directory, &paths);
  if (r < 0) {
    umbra_writer_instance_fail(i, "finding the files of '%s': %s", c->data_directory, strerror(-r));
    return 0;
  }
  if (cluster_paths_spread(&paths) && c->exists)
    umbra_writer_instance_set_repairs(i);
  for (size_t k = 0; k < paths.count; k++) {
    const struct cluster_path *p = &paths.list[k];
    umbra_writer_instance_add_files(i, p->component, p->path, "*", 1);
    for (size_t n = 0; n < sizeof names_left_out / sizeof *names_left_out; n++)
      umbra_writer_instance_add_exclude(i, p->component, p->path, names_left_out[n]);
  }
  for (size_t n = 0; n < sizeof contents_left_out / sizeof *contents_left_out; n++) {
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&path, "%s/%s", c->data_directory, contents_left_out[n]) >= 0)
      umbra_writer_instance_add_exclude(i, "data", path, "*");
    else
      path = NULL;
  }
  cluster_paths_free(&paths);
  return 0;
}

static int identify(struct umbra_writer_list *list) {
  struct config config;
  struct cluster *clusters = NULL;
  size_t count = 0;
  int r = config_load(&config);
  if (r >= 0)
    r = clusters_find(&config, &clusters, &count);
  for (size_t i = 0; i < count && r >= 0; i++) {
    const struct cluster *c = &clusters[i];
    struct umbra_writer_instance *instance = umbra_writer_list_add(list, c->name, UMBRA_WRITER_BACK_END);
    umbra_writer_instance_set_key(instance, c->data_directory);
    umbra_writer_instance_set_process(instance, c->postmaster, c->unit);
    umbra_writer_instance_set_restore(instance, "stop-restore-start", c->unit);
    r = add_files(instance, c);
    if (c->postmaster > 0 && !c->socket_directory)
      umbra_writer_instance_fail(instance, "it listens on no Unix socket");
    if (c->exists && c->owner == 0)
      umbra_writer_instance_fail(instance, "'%s' belongs to root", c->data_directory);
  }
  clusters_free(clusters, count);
  config_free(&config);
  return r;
}

static const struct umbra_writer writer = {
    .name = "postgresql",
    .identify = identify,
    .prepare_backup = copying_prepare_backup,
    .prepare_snapshot = copying_prepare_snapshot,
    .freeze = copying_freeze,
    .thaw = copying_thaw,
    .post_snapshot = copying_post_snapshot,
    .shutdown = copying_end,
    .abort = copying_end,
    .pre_restore = restoring_pre_restore,
    .post_restore = restoring_post_restore,
};

#ifdef __SANITIZE_ADDRESS__
/* The leak checker attaches to the process, which the kernel forbids once its user has changed. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }
#endif

int main(int argc, char **argv) { return umbra_writer_main(&writer, argc, argv); }
