/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drives view/ without a coordinator, for tests that want a view over an image or a tree they made themselves:
 *
 *     view-run PLAN [--keep PATH]... -- PROGRAM ARG...
 *     view-run --attach RECORD DIRECTORY | --detach DIRECTORY | --open RECORD | --end-users PLAN
 *
 * PLAN is a JSON file: [{"mount_point": "/srv", "view": {…}, "paths": ["/srv/a"]}, …]; RECORD one with {"view": {…}},
 * and "read_write", "suid", "dev" as options.  --open holds the view open until standard input ends.
 */
#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"
#include "view/mount-list.h"
#include "view/run.h"
#include "view/users.h"
#include "view/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHADOWS_MAX = 16, KEEP_MAX = 16 };

static int failed(const struct umbra_error *err) {
  (void)fprintf(stderr, "view-run: %s\n", err->message);
  return VIEW_RUN_FAILED;
}

static void print_warning(void *userdata, const char *message) {
  (void)userdata;
  (void)fprintf(stderr, "view-run: warning: %s\n", message);
}

/* The topmost mount at the mount point. */
static int find_mount(struct view_shadow *shadow, const struct mount_list *mounts) {
  for (size_t i = 0; i < mounts->count; i++)
    if (strcmp(mounts->entries[i].target, shadow->mount_point) == 0) {
      shadow->fs_root = mounts->entries[i].root;
      shadow->device = mounts->entries[i].device;
      return 0;
    }
  return -ENOENT;
}

static int run(int argc, char **argv) {
  struct umbra_error err = {0};
  struct view_shadow shadows[SHADOWS_MAX] = {0};
  const char *keep[KEEP_MAX + 1] = {0};
  CLEANUP_JSON json_t *plan = NULL;
  CLEANUP(mount_list_done) struct mount_list mounts = {0};
  if (json_read_file(AT_FDCWD, argv[1], &plan, &err) < 0 ||
      mount_list_load("/proc/self/mountinfo", &mounts, &err) < 0)
    return failed(&err);
  mount_list_keep_visible(&mounts);
  size_t count = json_array_size(plan);
  for (size_t i = 0; i < count && i < SHADOWS_MAX; i++) {
    const json_t *entry = json_array_get(plan, i), *path;
    size_t index;
    char **paths = NULL;
    json_array_foreach(json_object_get(entry, "paths"), index, path)(void)
        strv_append(&paths, json_string_value(path));
    shadows[i] = (struct view_shadow){
        .record = entry, .mount_point = json_get_string_or(entry, "mount_point", ""), .paths = paths};
    if (find_mount(&shadows[i], &mounts) < 0) {
      (void)fprintf(stderr, "view-run: nothing is mounted at '%s'\n", shadows[i].mount_point);
      return VIEW_RUN_FAILED;
    }
  }
  int at = 2, kept = 0;
  for (; at < argc && strcmp(argv[at], "--") != 0; at++)
    if (strcmp(argv[at], "--keep") == 0 && at + 1 < argc && kept < KEEP_MAX)
      keep[kept++] = argv[++at];
  struct view_run view_run_plan = {
      .shadows = shadows, .shadow_count = count, .arguments = argv + at + 1, .keep = keep, .warning = print_warning};
  int status = view_run(&view_run_plan, &err);
  for (size_t i = 0; i < count && i < SHADOWS_MAX; i++)
    strv_free((char **)shadows[i].paths);
  if (err.code < 0)
    (void)failed(&err);
  return status < 0 ? VIEW_RUN_FAILED : status;
}

static int show(const char *record_path, const char *directory) {
  struct umbra_error err = {0};
  CLEANUP_JSON json_t *record = NULL;
  if (json_read_file(AT_FDCWD, record_path, &record, &err) < 0)
    return failed(&err);
  struct view_options options = {.read_write = json_get_boolean_or(record, "read_write", false),
                                 .suid = json_get_boolean_or(record, "suid", false),
                                 .dev = json_get_boolean_or(record, "dev", false)};
  CLEANUP_FREE char *device = NULL;
  CLEANUP_CLOSE int fd = view_open(record, &options, &device, &err);
  if (fd < 0 || (directory && view_attach(fd, directory, &err) < 0))
    return failed(&err);
  (void)printf("%s\n", device ? device : "-");
  (void)fflush(stdout);
  char byte;
  while (!directory && read(STDIN_FILENO, &byte, 1) > 0)
    ;
  return 0;
}

static int end_users(const char *plan_path) {
  struct umbra_error err = {0};
  CLEANUP_JSON json_t *plan = NULL;
  if (json_read_file(AT_FDCWD, plan_path, &plan, &err) < 0)
    return failed(&err);
  size_t i;
  const json_t *entry;
  json_array_foreach(plan, i, entry) if (view_end_users(entry, json_get_string_or(entry, "mount_point", ""), &err) <
                                         0) return failed(&err);
  return 0;
}

int main(int argc, char **argv) {
  struct umbra_error err = {0};
  if (argc == 3 && strcmp(argv[1], "--detach") == 0)
    return view_detach(argv[2], &err) < 0 ? failed(&err) : 0;
  if (argc == 3 && strcmp(argv[1], "--open") == 0)
    return show(argv[2], NULL);
  if (argc == 3 && strcmp(argv[1], "--end-users") == 0)
    return end_users(argv[2]);
  if (argc == 4 && strcmp(argv[1], "--attach") == 0)
    return show(argv[2], argv[3]);
  if (argc >= 4 && argv[1][0] != '-')
    return run(argc, argv);
  (void)fputs("usage: see the first comment of tests/lib/view-run.c\n", stderr);
  return 2;
}
