/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * backup-live TARGET TYPE [-x GLOB]… [-m MOUNTPOINT=DIRECTORY]… SOURCE…: a backup of live directories without any
 * shadow copy, for tests of archive, index and chain alone. -m shows DIRECTORY as the volume mounted at MOUNTPOINT;
 * default: / as it is. Prints the folder's name and the totals as JSON.
 */
#include "backup/backup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/strv.h"

#include <fcntl.h>
#include <stdio.h>

enum { VOLUMES_MAX = 16 };

static void on_warning(void *userdata, const char *message) {
  (void)userdata;
  fprintf(stderr, "warning: %s\n", message);
}

int main(int argc, char **argv) {
  struct backup_volume volumes[VOLUMES_MAX] = {0};
  struct umbra_error err = {0};
  CLEANUP_STRV char **excludes = NULL, **sources = NULL;
  size_t count = 0;
  struct backup_options o = {.target = argv[1], .type = MANIFEST_FULL};
  if (argc < 4 || manifest_type_parse(argv[2], &o.type) < 0)
    return 2;
  for (int i = 3; i < argc; i++) {
    if (argv[i][0] == '-' && argv[i][1] == 'x') {
      (void)strv_append(&excludes, argv[++i]);
    } else if (argv[i][0] == '-' && argv[i][1] == 'm' && count < VOLUMES_MAX) {
      char *equals = strchr(argv[++i], '=');
      *equals = '\0';
      volumes[count++] = (struct backup_volume){.mount_point = argv[i], .root_fd = fd_open_directory(equals + 1)};
    } else {
      (void)strv_append(&sources, argv[i]);
    }
  }
  if (count == 0)
    volumes[count++] = (struct backup_volume){"/", fd_open_directory("/")};
  o.sources = sources;
  o.excludes = excludes;
  struct backup_listener listener = {.warning = on_warning};
  struct backup *b = NULL;
  struct backup_totals t = {0};
  int64_t began_ns = clock_realtime_ns();
  int r = backup_new(&o, &b, &err);
  if (r == 0) {
    backup_listen(b, &listener);
    r = backup_save(b, volumes, count, began_ns, &err);
  }
  if (r == 0)
    r = backup_commit(b, NULL, &t, &err);
  if (r < 0)
    fprintf(stderr, "backup-live: %s\n", err.message);
  else
    printf("{\"name\": \"%s\", \"type\": \"%s\", \"files\": %ju, \"stored\": %ju, \"stored_bytes\": %ju, "
           "\"deleted\": %ju}\n",
           backup_name(b), manifest_type_name(backup_type(b)), (uintmax_t)t.files, (uintmax_t)t.stored,
           (uintmax_t)t.stored_bytes, (uintmax_t)t.deleted);
  backup_free(b);
  for (size_t i = 0; i < count; i++)
    if (volumes[i].root_fd >= 0)
      (void)close(volumes[i].root_fd);
  return r < 0;
}
