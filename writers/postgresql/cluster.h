/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The clusters of this machine: Debian's (/etc/postgresql/VERSION/NAME), those that CONFIG names, and whatever else
 * runs here.  What is found in a data directory is what its owner wrote there, and is taken with care: this part runs
 * as root.
 */
#ifndef WRITERS_POSTGRESQL_CLUSTER_H
#define WRITERS_POSTGRESQL_CLUSTER_H

#include "writers/postgresql/config.h"

#include <stdbool.h>
#include <sys/types.h>

enum { CLUSTERS_MAX = 1024, CLUSTER_PATHS_MAX = 4096 };

struct cluster {
  char *name;           /* "15/main", a name of CONFIG, or the data directory */
  char *data_directory; /* as the kernel sees it; need not be there */
  char *unit;           /* that starts it; NULL: none known */
  bool exists;          /* its data directory does: */
  uid_t owner;
  gid_t group;
  pid_t postmaster; /* 0: does not run. From postmaster.pid: */
  unsigned port;
  char *socket_directory; /* NULL: none */
};

/* Where a cluster's files lie: one directory each. */
struct cluster_path {
  char *component; /* "data", "wal", "tablespace-OID" */
  char *path;
};

struct cluster_paths {
  struct cluster_path *list;
  size_t count;
};

/* All of them; *ret is the caller's: clusters_free(). 0 or negative errno. */
int clusters_find(const struct config *config, struct cluster **ret, size_t *ret_count);
void clusters_free(struct cluster *list, size_t count);

/* The one with that data directory, and name where that is not NULL; taken out of all. -ENOENT: it is not known any
 * more. */
int cluster_find(const struct config *config, const char *name, const char *data_directory, struct cluster *ret);
void cluster_free(struct cluster *c);

/* Looks anew whether the data directory is there, and a postmaster in it. */
int cluster_look(struct cluster *c);

/* The process that has that data directory as its own; 0: none. */
pid_t cluster_postmaster(const char *data_directory);

/* The data directory first, then what its links name. *ret is the caller's: cluster_paths_free(). 0 or negative
 * errno. */
int cluster_paths(const char *data_directory, struct cluster_paths *ret);
void cluster_paths_free(struct cluster_paths *p);

/* Takes over both strings, NULL for out of memory. 0 or negative errno. */
int cluster_paths_add(struct cluster_paths *p, char *component, char *path);
bool cluster_paths_contain(const struct cluster_paths *p, const char *path);

/* True if they lie on more than one filesystem. */
bool cluster_paths_spread(const struct cluster_paths *p);

#endif
