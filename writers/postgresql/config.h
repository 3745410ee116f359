/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CONFIG/writers/postgresql.conf (umbra-writer-postgresql(8)): what cannot be found out.  Lines of key = value; the
 * file need not be there.  CONFIG is $UMBRA_CONFIG_DIR or /etc/umbra.
 */
#ifndef WRITERS_POSTGRESQL_CONFIG_H
#define WRITERS_POSTGRESQL_CONFIG_H

#include <stddef.h>

enum { CONFIG_CLUSTERS_MAX = 256, CONFIG_BYTES_MAX = 64 * 1024 };

struct config_cluster {
  char *name, *directory; /* cluster.NAME = DIRECTORY */
  char *unit;             /* unit.NAME = SYSTEMD UNIT; NULL */
};

struct config {
  char *role;     /* NULL: the name of the data directory's owner */
  char *database; /* never NULL after config_load() */
  struct config_cluster *clusters;
  size_t cluster_count;
};

/* 0, or negative errno with what is wrong on standard error. *ret is the caller's in any case: config_free(). */
int config_load(struct config *ret);
void config_free(struct config *c);

#endif
