/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading the configuration. See config.h. */
#include "writers/postgresql/config.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void config_free(struct config *c) {
  free(c->role);
  free(c->database);
  for (size_t i = 0; i < c->cluster_count; i++) {
    free(c->clusters[i].name);
    free(c->clusters[i].directory);
    free(c->clusters[i].unit);
  }
  free(c->clusters);
  *c = (struct config){0};
}

static struct config_cluster *cluster_named(struct config *c, const char *name) {
  for (size_t i = 0; i < c->cluster_count; i++)
    if (strcmp(c->clusters[i].name, name) == 0)
      return &c->clusters[i];
  if (c->cluster_count == CONFIG_CLUSTERS_MAX)
    return NULL;
  struct config_cluster *larger = realloc(c->clusters, (c->cluster_count + 1) * sizeof *larger);
  if (!larger)
    return NULL;
  c->clusters = larger;
  larger[c->cluster_count] = (struct config_cluster){.name = strdup(name)};
  return larger[c->cluster_count].name ? &larger[c->cluster_count++] : NULL;
}

static int set_text(char **place, const char *value) {
  free(*place);
  *place = strdup(value);
  return *place ? 0 : -ENOMEM;
}

static int set_value(struct config *c, const char *key, const char *value) {
  static const char cluster[] = "cluster.", unit[] = "unit.";
  if (strcmp(key, "role") == 0)
    return set_text(&c->role, value);
  if (strcmp(key, "database") == 0)
    return set_text(&c->database, value);
  bool is_cluster = strncmp(key, cluster, strlen(cluster)) == 0 && value[0] == '/';
  bool is_unit = strncmp(key, unit, strlen(unit)) == 0 && value[0] != '-';
  const char *name = strchr(key, '.');
  if ((!is_cluster && !is_unit) || !name || name[1] == '\0')
    return -EINVAL;
  struct config_cluster *of = cluster_named(c, name + 1);
  return of ? set_text(is_cluster ? &of->directory : &of->unit, value) : -ENOMEM;
}

static char *trimmed(char *text) {
  while (isspace((unsigned char)*text))
    text++;
  for (size_t n = strlen(text); n > 0 && isspace((unsigned char)text[n - 1]); n--)
    text[n - 1] = '\0';
  return text;
}

static int parse(struct config *c, const char *path, char *text) {
  unsigned number = 0;
  for (char *line; (line = strsep(&text, "\n"));) {
    number++;
    line = trimmed(line);
    if (line[0] == '\0' || line[0] == '#')
      continue;
    char *value = strchr(line, '=');
    if (value)
      *value++ = '\0';
    int r = value ? set_value(c, trimmed(line), trimmed(value)) : -EINVAL;
    if (r == -EINVAL)
      (void)fprintf(stderr, "%s:%u: neither role, database, cluster.NAME = /DIRECTORY nor unit.NAME = UNIT\n", path,
                    number);
    if (r < 0)
      return r;
  }
  for (size_t i = 0; i < c->cluster_count; i++)
    if (!c->clusters[i].directory) {
      (void)fprintf(stderr, "%s: there is unit.%s, but no cluster.%s\n", path, c->clusters[i].name,
                    c->clusters[i].name);
      return -EINVAL;
    }
  return 0;
}

int config_load(struct config *ret) {
  const char *directory = getenv("UMBRA_CONFIG_DIR");
  CLEANUP_FREE char *path = NULL, *text = NULL;
  size_t length_bytes;
  *ret = (struct config){.database = strdup("postgres")};
  if (!ret->database || asprintf(&path, "%s/writers/postgresql.conf", directory ? directory : "/etc/umbra") < 0) {
    path = NULL;
    return -ENOMEM;
  }
  int r = fd_read_file(AT_FDCWD, path, CONFIG_BYTES_MAX, &text, &length_bytes);
  if (r == -ENOENT)
    return 0;
  if (r < 0)
    (void)fprintf(stderr, "reading '%s': %s\n", path, strerror(-r));
  return r < 0 ? r : parse(ret, path, text);
}
