/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drives one provider through the life of one shadow copy, without the coordinator: for tests that have to stand
 * between the steps.
 *
 *     provider-drive [OPTION…] PROVIDER MOUNTPOINT STORAGE [PATH…]     PATHs: the scope
 *                                                              PROVIDER: a name, or "any" for the best
 *     provider-drive --remove PROVIDER RECORDFILE
 *
 *   --persistent --auto-release --named           as in struct shadow
 *   --storage-max BYTES
 *   --prepared CMD, --precommitted CMD, --held CMD, --thawed CMD
 *                                                 shell commands after prepare, right before the freeze, while
 *                                                 frozen, right after the thaw
 *   --then CMD                                    after postcommit, with the record in $RECORD (a file) and, for an
 *                                                 image, its path in $IMAGE
 *   --cancel-at BYTES                             cancels when the progress of the first phase reaches this
 *   --keep                                        does not remove it at the end
 *
 * Prints the record on one line, and on standard error "hold_ms N", "storage_bytes N" and each phase once with its
 * total. Exit status: 0; 1 a step failed (its message on standard error); 2 usage.  A child thaws the volume if this
 * program dies.
 */
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/id.h"
#include "common/json.h"
#include "common/strv.h"
#include "providers/provider.h"
#include "volume/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
  const char *prepared, *precommitted, *held, *thawed, *then, *remove;
  uint64_t cancel_at_bytes;
  bool keep;
} arg;

static char last_phase[64];

static int save(struct shadow *s, struct umbra_error *err) {
  (void)err;
  if (!json_is_object(s->record))
    abort();
  return 0;
}

static void progress(struct shadow *s, const char *phase, uint64_t done_bytes, uint64_t total_bytes) {
  if (strcmp(last_phase, phase) != 0)
    (void)fprintf(stderr, "phase %s of %llu bytes\n", phase, (unsigned long long)total_bytes);
  (void)snprintf(last_phase, sizeof last_phase, "%s", phase);
  if (done_bytes > total_bytes && total_bytes > 0)
    (void)fprintf(stderr, "progress beyond its total in %s\n", phase);
  if (arg.cancel_at_bytes && done_bytes >= arg.cancel_at_bytes)
    atomic_store(&s->cancelled, true);
}

static const struct shadow_services services = {.save = save, .progress = progress};

/* Runs a command; its failure is ours. */
static int run(const char *command, struct umbra_error *err) {
  if (!command)
    return 0;
  int status = system(command);
  if (status != 0)
    return error_set(err, -ECANCELED, UMBRA_REASON_INTERNAL, "'%s' ended with status %d", command, status);
  return 0;
}

/* Thaws when the write end of the pipe is gone, that is when we are, in whatever way. Returns the write end. */
static int start_guard(int volume_fd, pid_t *ret_pid) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0)
    return -errno;
  *ret_pid = fork();
  if (*ret_pid == 0) {
    char byte;
    (void)close(ends[1]);
    (void)signal(SIGINT, SIG_IGN);
    while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
      ;
    (void)ioctl(volume_fd, FITHAW, 0);
    _exit(0);
  }
  (void)close(ends[0]);
  return ends[1];
}

static int hold_once(const struct provider *p, struct shadow *s, struct umbra_error *err) {
  bool freeze = p->hold == PROVIDER_HOLD_NEEDED && s->volume->can_freeze;
  int r = p->precommit ? p->precommit(s, err) : 0;
  if (r < 0)
    return error_prefix(err, r, "precommit");
  r = run(arg.precommitted, err);
  if (r < 0)
    return r;
  if (freeze && syncfs(s->volume_fd) < 0)
    return error_errno(err, "syncfs");
  int64_t begin_ns = clock_monotonic_ns();
  if (freeze && ioctl(s->volume_fd, FIFREEZE, 0) < 0)
    return error_errno(err, "FIFREEZE");
  r = p->commit(s, err);
  int held = r < 0 ? 0 : run(arg.held, err);
  if (freeze && ioctl(s->volume_fd, FITHAW, 0) < 0 && r >= 0)
    return error_errno(err, "FITHAW");
  (void)fprintf(stderr, "hold_ms %.2f\n", clock_ns_to_ms(clock_monotonic_ns() - begin_ns));
  return r < 0 ? error_prefix(err, r, "commit") : held;
}

static int drive(const struct provider *p, struct shadow *s, struct umbra_error *err) {
  int r = p->prepare(s, err);
  if (r < 0)
    return error_prefix(err, r, "prepare");
  r = run(arg.prepared, err);
  if (r < 0)
    return r;
  pid_t guard_pid = 0;
  int guard = start_guard(s->volume_fd, &guard_pid);
  if (guard < 0)
    return error_code(err, guard, "starting the guard");
  for (int tries = 1;; tries++) {
    r = hold_once(p, s, err);
    if (r != -EAGAIN || tries >= COMMIT_TRIES_MAX)
      break;
  }
  (void)close(guard);
  (void)waitpid(guard_pid, NULL, 0);
  if (r >= 0)
    r = run(arg.thawed, err);
  if (r < 0 || !p->postcommit)
    return r;
  r = p->postcommit(s, err);
  return r < 0 ? error_prefix(err, r, "postcommit") : 0;
}

static int show(struct shadow *s, struct umbra_error *err) {
  char file[] = "/var/tmp/umbra-record.XXXXXX";
  CLEANUP_CLOSE int fd = mkostemp(file, O_CLOEXEC);
  CLEANUP_FREE char *text = json_dumps(s->record, JSON_COMPACT);
  if (fd < 0 || !text)
    return error_errno(err, "writing the record");
  (void)printf("%s\n", text);
  (void)fflush(stdout);
  (void)fprintf(stderr, "storage_bytes %llu\n", (unsigned long long)s->storage_bytes);
  if (s->instant_lost)
    (void)fprintf(stderr, "instant lost\n");
  (void)dprintf(fd, "%s\n", text);
  (void)setenv("RECORD", file, 1);
  (void)setenv("IMAGE", json_get_string_or(json_object_get(s->record, "view"), "path", ""), 1);
  int r = run(arg.then, err);
  (void)unlink(file);
  return r;
}

static int remove_record(const struct provider *p, const char *file, struct umbra_error *err) {
  CLEANUP_JSON json_t *record = NULL;
  int r = json_read_file(AT_FDCWD, file, &record, err);
  return r < 0 ? r : p->remove(record, err);
}

static int whole_life(const char *name, struct shadow *s, const char *mount_point, char **paths,
                      struct umbra_error *err) {
  struct volume_table *table = NULL;
  const struct provider *p = NULL;
  int r = volume_table_load(&table, err);
  if (r >= 0)
    r = volume_table_lookup(table, mount_point, &s->volume, NULL, err);
  if (r >= 0)
    r = s->volume_fd = volume_open(s->volume, err);
  if (r >= 0) {
    const struct provider_needs needs = {.persistent = s->persistent, .read_write = s->read_write};
    p = provider_choose(strcmp(name, "any") == 0 ? NULL : name, &needs, s->volume, s->config_dir, &s->as, err);
    r = p ? 0 : err->code;
  }
  for (; r >= 0 && *paths; paths++) {
    const struct volume *volume;
    char *path = NULL;
    r = volume_table_lookup(table, *paths, &volume, &path, err);
    if (r >= 0)
      r = strv_append_take(&s->paths, path);
  }
  if (r >= 0)
    r = drive(p, s, err);
  if (r >= 0)
    r = show(s, err);
  bool keep = arg.keep && r >= 0;
  if (p && p->release_state)
    p->release_state(s);
  struct umbra_error remove_error = {0};
  int removed = keep || !p ? 0 : p->remove(s->record, &remove_error);
  if (removed < 0 && r >= 0)
    r = error_set(err, removed, UMBRA_REASON_INTERNAL, "remove: %s", remove_error.message);
  strv_free(s->paths);
  if (s->volume_fd >= 0)
    (void)close(s->volume_fd);
  volume_table_free(table);
  return r;
}

enum {
  OPT_PERSISTENT = 256,
  OPT_AUTO,
  OPT_NAMED,
  OPT_MAX,
  OPT_PREPARED,
  OPT_PRECOMMITTED,
  OPT_HELD,
  OPT_THAWED,
  OPT_THEN,
  OPT_CANCEL,
  OPT_KEEP,
  OPT_REMOVE
};
static const struct option options[] = {
    {"persistent", no_argument, NULL, OPT_PERSISTENT},
    {"auto-release", no_argument, NULL, OPT_AUTO},
    {"named", no_argument, NULL, OPT_NAMED},
    {"storage-max", required_argument, NULL, OPT_MAX},
    {"prepared", required_argument, NULL, OPT_PREPARED},
    {"precommitted", required_argument, NULL, OPT_PRECOMMITTED},
    {"held", required_argument, NULL, OPT_HELD},
    {"thawed", required_argument, NULL, OPT_THAWED},
    {"then", required_argument, NULL, OPT_THEN},
    {"cancel-at", required_argument, NULL, OPT_CANCEL},
    {"keep", no_argument, NULL, OPT_KEEP},
    {"remove", required_argument, NULL, OPT_REMOVE},
    {NULL, 0, NULL, 0},
};

static bool take_option(int option, struct shadow *s) {
  switch (option) {
  case OPT_PERSISTENT:
    s->persistent = true;
    return true;
  case OPT_AUTO:
    s->auto_release = true;
    return true;
  case OPT_NAMED:
    s->storage_named = true;
    return true;
  case OPT_MAX:
    s->storage_bytes_max = strtoull(optarg, NULL, 0);
    return true;
  case OPT_PREPARED:
    arg.prepared = optarg;
    return true;
  case OPT_PRECOMMITTED:
    arg.precommitted = optarg;
    return true;
  case OPT_HELD:
    arg.held = optarg;
    return true;
  case OPT_THAWED:
    arg.thawed = optarg;
    return true;
  case OPT_THEN:
    arg.then = optarg;
    return true;
  case OPT_CANCEL:
    arg.cancel_at_bytes = strtoull(optarg, NULL, 0);
    return true;
  case OPT_KEEP:
    arg.keep = true;
    return true;
  case OPT_REMOVE:
    arg.remove = optarg;
    return true;
  default:
    return false;
  }
}

int main(int argc, char **argv) {
  struct shadow s = {.volume_fd = -1, .runtime_dir = "/run", .config_dir = "/etc/umbra", .services = &services};
  if (getenv("UMBRA_CONFIG_DIR"))
    s.config_dir = getenv("UMBRA_CONFIG_DIR");
  for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;)
    if (!take_option(option, &s))
      return 2;
  const char *name = arg.remove ? arg.remove : optind < argc ? argv[optind++] : NULL;
  const struct provider *p = arg.remove ? provider_find(name) : NULL;
  if (!name || (arg.remove && !p) || argc - optind < (arg.remove ? 1 : 2)) {
    (void)fprintf(stderr, "provider-drive [OPTION…] PROVIDER MOUNTPOINT STORAGE [PATH…]\n");
    return 2;
  }
  struct umbra_error err = {0};
  int r;
  if (arg.remove)
    r = remove_record(p, argv[optind], &err);
  else {
    id_new(s.id);
    id_new(s.set_id);
    s.storage_dir = argv[optind + 1];
    s.record = json_object();
    r = whole_life(name, &s, argv[optind], argv + optind + 2, &err);
    json_decref(s.record);
  }
  if (r < 0)
    (void)fprintf(stderr, "provider-drive: %s\n", err.message);
  return r < 0 ? 1 : 0;
}
