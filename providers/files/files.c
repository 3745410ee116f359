/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * files: a tree copy that converges like a clone, file by file.  It needs no raw device and no particular filesystem,
 * so it is what is left where nothing else can: containers, locked-down hosts, network filesystems.  DESIGN.md says
 * why the result is one instant.
 */
#include "providers/files/files.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/log.h"
#include "providers/files/held.h"
#include "providers/files/look.h"
#include "providers/files/mapped.h"
#include "providers/files/raw.h"
#include "providers/files/removed.h"
#include "providers/files/store.h"
#include "providers/files/tree.h"
#include "providers/files/urgent.h"
#include "providers/files/walk.h"
#include "providers/provider.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  ROUNDS_MAX = 8,                       /* in prepare; the rest is for precommit and the hold */
  ROUND_LITTLE_BYTES = 4 * 1024 * 1024, /* so little changed that another round brings nothing */
  ROUND_LITTLE_FILES = 200,
  LOOKS_MAX = 3, /* of a volume that cannot be frozen, until nothing has changed in between */
};
/* How long after its ctime was stamped a write may still reach a file unseen (DESIGN.md, invariant 3). */
static const int64_t SETTLE_NS = NS_PER_S;
/* The same where another machine stamps the times: its clock may be off by so much. */
static const int64_t SETTLE_STRANGE_NS = 60 * NS_PER_S;
/* Two ticks of the slowest clock that stamps times (100 Hz). */
static const int64_t GRAIN_NS = 20 * NS_PER_MS;

struct files_state {
  struct shadow *shadow;
  struct scope scope;
  struct store store;
  struct walk walk;
  struct look *look;
  struct held held;
  int raw_fd; /* of a volume that gets frozen; -1: none */
  size_t held_bytes;
  uint64_t done_bytes;
  char phase[32];
};

static int files_can_shadow(const struct volume *volume, const char *config_dir, struct umbra_error *why) {
  (void)config_dir;
  static const char *const without_files[] = {"proc",   "sysfs",   "devpts",     "cgroup",     "cgroup2", "bpf",
                                              "mqueue", "debugfs", "tracefs",    "pstore",     "fusectl", "configfs",
                                              "autofs", "nsfs",    "securityfs", "binfmt_misc"};
  for (size_t i = 0; i < sizeof without_files / sizeof without_files[0]; i++)
    if (strcmp(volume->fs_type, without_files[i]) == 0)
      return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                       "'%s' shows the kernel's state, not files", volume->fs_type);
  return 0;
}

/* Filesystems whose times come from this machine's clock. */
static bool has_own_clock(const char *fs_type) {
  static const char *const local[] = {
      "ext2", "ext3",     "ext4",   "xfs",  "btrfs", "f2fs",  "tmpfs",    "ramfs", "overlay", "bcachefs", "zfs",
      "jfs",  "reiserfs", "nilfs2", "vfat", "exfat", "ntfs3", "squashfs", "erofs", "iso9660", "udf",      "devtmpfs"};
  for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
    if (strcmp(fs_type, local[i]) == 0)
      return true;
  return false;
}

static void note_copied(void *context, uint64_t bytes) {
  struct files_state *f = context;
  f->done_bytes += bytes;
  f->shadow->services->progress(f->shadow, f->phase, f->done_bytes, 0);
}

/* An error of which the storage may be the culprit names it. */
static int name_storage(const struct files_state *f, int r, struct umbra_error *err) {
  if (r != -ENOSPC && r != -EDQUOT)
    return r;
  (void)error_prefix(err, r, r == -ENOSPC ? "the storage '%s' is full" : "in the storage '%s'",
                     f->shadow->storage_dir);
  if (err)
    err->reason = UMBRA_REASON_STORAGE;
  return r;
}

/* One round: the store's table is the new one afterwards. */
static int run_round(struct files_state *f, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = store_new_table(&f->store);
  if (fd < 0)
    return error_code(err, fd, "making the table of the store '%s'", f->store.path);
  f->done_bytes = 0;
  f->shadow->services->progress(f->shadow, f->phase, 0, 0);
  int r = walk_round(&f->walk, f->store.table_fd, fd, err);
  if (r < 0)
    return name_storage(f, r, err);
  r = store_take_table(&f->store, fd);
  if (r < 0)
    return error_code(err, r, "putting the table of the store '%s' in place", f->store.path);
  (void)take_fd(&fd);
  log_debug("files: %s of '%s': %llu files, %llu changed (%llu bytes), %llu bytes unsure", f->phase,
            f->shadow->volume->mount_point, (unsigned long long)f->walk.totals.files,
            (unsigned long long)f->walk.changed_files, (unsigned long long)f->walk.changed_bytes,
            (unsigned long long)f->walk.unsure_bytes);
  return 0;
}

static int set_up_walk(struct files_state *f, struct umbra_error *err) {
  struct shadow *s = f->shadow;
  struct walk *w = &f->walk;
  struct stat storage;
  w->live_fd = tree_open_live(s->volume_fd);
  if (w->live_fd < 0)
    return error_code(err, w->live_fd, "opening the volume '%s'", s->volume->mount_point);
  if (stat(s->storage_dir, &storage) < 0)
    return error_errno(err, "looking at the storage directory '%s'", s->storage_dir);
  struct statx sx;
  int storage_fd = fd_open_directory(s->storage_dir);
  int r = storage_fd < 0 ? storage_fd : tree_stat(storage_fd, "", &sx);
  if (storage_fd >= 0)
    (void)close(storage_fd);
  if (r < 0)
    return error_code(err, r, "looking at the storage directory '%s'", s->storage_dir);
  w->storage_device = tree_device(&sx);
  w->storage_inode = sx.stx_ino;
  w->device = s->volume->device;
  f->raw_fd = s->volume->can_freeze ? raw_open(s->volume) : -1;
  w->scope = &f->scope;
  w->strange_clock = !has_own_clock(s->volume->fs_type);
  w->settle_ns = w->strange_clock ? SETTLE_STRANGE_NS : SETTLE_NS;
  if (walk_init(w) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "preparing to walk the volume");
  w->copier.limit_bytes = s->storage_bytes_max;
  w->copier.cancelled = &s->cancelled;
  w->copier.copied = note_copied;
  w->copier.context = f;
  return 0;
}

/* What others wrote to is no copy of the volume. */
static bool may_be_kept(const struct shadow *s) { return s->storage_named && !shadow_is_changed(s); }

/* Everything that remove() will have to find, noted before it is made. */
static int record_store(struct shadow *s, const struct store *store, struct umbra_error *err) {
  json_t *path = json_path(store->path), *kept = may_be_kept(s) ? json_path(store->kept_path) : json_null();
  if (!path || !kept || json_object_set_new(s->record, "store", path) < 0 ||
      json_object_set_new(s->record, "kept", kept) < 0 ||
      json_object_set_new(s->record, "complete", json_false()) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "recording the store");
  return s->services->save(s, err);
}

static int files_prepare(struct shadow *s, struct umbra_error *err) {
  struct files_state *f = calloc(1, sizeof *f);
  if (!f)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "preparing a copy of files");
  *f = (struct files_state){.shadow = s, .held_bytes = HELD_BYTES_MIN, .raw_fd = -1};
  f->walk.live_fd = f->walk.copy_fd = f->walk.leases.fd = -1;
  f->store = (struct store){.fd = -1, .tree_fd = -1, .table_fd = -1};
  s->state = f;
  int r = scope_init(&f->scope, s->paths, s->volume->mount_point, err);
  if (r >= 0)
    r = set_up_walk(f, err);
  if (r >= 0)
    r = store_init(&f->store, s->storage_dir, s->id, s->volume, s->volume_fd, &f->scope, err);
  if (r >= 0)
    r = record_store(s, &f->store, err);
  struct umbra_error why;
  if (r >= 0)
    r = store_make(&f->store, s->storage_named, &why, err);
  if (r < 0)
    return r;
  if (why.code)
    log_warning("the copy kept of '%s' cannot be used, a new one is made: %s", s->volume->mount_point, why.message);
  f->walk.copy_fd = f->store.tree_fd;
  bool fresh = f->store.table_fd < 0;
  for (unsigned round = 1; round <= ROUNDS_MAX; round++) {
    uint64_t changed_before = f->walk.changed_bytes;
    (void)snprintf(f->phase, sizeof f->phase, round == 1 ? fresh ? "copy" : "refresh" : "round %u", round);
    r = run_round(f, err);
    if (r < 0)
      return r;
    s->storage_bytes = f->walk.totals.stored_bytes;
    /* Until little is left; or no less than before is: then it changes as fast as it can be copied. */
    if ((f->walk.changed_bytes <= ROUND_LITTLE_BYTES && f->walk.changed_files <= ROUND_LITTLE_FILES) ||
        (round > 2 && f->walk.changed_bytes >= changed_before))
      break;
  }
  return 0;
}

static int files_precommit(struct shadow *s, struct umbra_error *err) {
  struct files_state *f = s->state;
  size_t failed_bytes = f->held.failed_bytes;
  look_free(f->look);
  f->look = NULL;
  if (failed_bytes) /* the last try did not fit */
    f->held_bytes = f->held_bytes * 4 + failed_bytes;
  held_done(&f->held);
  (void)snprintf(f->phase, sizeof f->phase, "last round");
  int r = run_round(f, err);
  if (r < 0)
    return r;
  size_t expected_bytes = f->walk.changed_bytes + f->walk.unsure_bytes + HELD_BYTES_MIN;
  if (f->held_bytes < expected_bytes)
    f->held_bytes = expected_bytes;
  if (f->held_bytes > HELD_BYTES_MAX)
    f->held_bytes = HELD_BYTES_MAX;
  r = held_init(&f->held, &f->walk, f->store.table_fd, f->raw_fd, f->held_bytes);
  if (r >= 0)
    r = look_new(f->walk.live_fd, f->store.table_fd, f->walk.starts, f->walk.starts_count, &f->look);
  return r < 0 ? error_code(err, r, "making %zu MiB of memory ready", f->held_bytes >> 20) : 0;
}

static int look_and_take(struct files_state *f, struct umbra_error *err) {
  int r = look_run(f->look);
  if (r == -EAGAIN)
    return error_set(err, r, UMBRA_REASON_LIMIT, "more than %d files have changed since the last round",
                     LOOK_FOUND_MAX);
  if (r < 0)
    return error_code(err, r, "reading the table of the copy");
  return held_take(&f->held, f->look, err);
}

/*
 * The volume goes on changing: what was read is one instant only if, after the last of it was read, all of it and
 * everything else was still as it had been.
 */
static int take_unfrozen(struct files_state *f, struct umbra_error *err) {
  for (unsigned look = 1; look <= LOOKS_MAX; look++) {
    int r = look_and_take(f, err);
    if (r < 0)
      return r;
    size_t found = look_count(f->look);
    r = look_run(f->look);
    if (r < 0 && r != -EAGAIN)
      return error_code(err, r, "reading the table of the copy");
    /* Records found by one look stay found in the next: the same number means the same records. */
    f->shadow->instant_lost =
        r < 0 || look_count(f->look) != found || !held_is_still(&f->held, GRAIN_NS) || f->walk.strange_clock;
    if (!f->shadow->instant_lost)
      break;
  }
  if (mapped_unseen(f->shadow->volume))
    f->shadow->instant_lost = true;
  return 0;
}

static int files_commit(struct shadow *s, struct umbra_error *err) {
  struct files_state *f = s->state;
  struct urgent before;
  urgent_begin(&before);
  int r = s->volume->can_freeze ? look_and_take(f, err) : take_unfrozen(f, err);
  urgent_end(&before);
  return r;
}

static int describe_view(struct shadow *s, const struct store *store) {
  CLEANUP_FREE char *tree = NULL;
  if (asprintf(&tree, "%s/tree", store->path) < 0)
    return -ENOMEM;
  json_t *view = json_pack("{s:s, s:o, s:[], s:b}", "kind", "tree", "path", json_path(tree), "nested", "read_write",
                           shadow_is_changed(s));
  return view && json_object_set_new(s->record, "view", view) == 0 ? 0 : -ENOMEM;
}

/* The records of what was read under the hold are older than its copy: the next set looks at those files again. */
static int mark_found(struct files_state *f, const struct removed *removed) {
  int r = removed_forget(removed, f->store.table_fd, f->walk.block_buffer);
  for (size_t i = 0; r >= 0 && i < look_count(f->look); i++) {
    const struct look_found *found = look_found(f->look, i);
    r = table_mark_unsure(f->store.table_fd, found->block_offset_bytes, found->entry_offset);
    if (r >= 0 && found->entry_offset)
      r = table_mark_unsure(f->store.table_fd, found->block_offset_bytes, 0);
  }
  return r;
}

static int files_postcommit(struct shadow *s, struct umbra_error *err) {
  struct files_state *f = s->state;
  s->services->progress(s, "write", 0, f->held.used_bytes);
  struct removed removed __attribute__((cleanup(removed_done))) = {0};
  int r = removed_init(&removed, &f->held);
  if (r < 0)
    return error_code(err, r, "writing what was read");
  r = held_apply(&f->held, &removed, err);
  if (r < 0)
    return name_storage(f, r, err);
  s->storage_bytes = f->walk.totals.stored_bytes;
  if (s->storage_named) {
    r = mark_found(f, &removed);
    if (r < 0)
      return error_code(err, r, "writing the table of the store '%s'", f->store.path);
  }
  if (s->storage_named || s->persistent) {
    r = store_seal(&f->store, &f->walk.totals, err);
    if (r < 0)
      return r;
  }
  s->services->progress(s, "write", f->held.used_bytes, f->held.used_bytes);
  if (describe_view(s, &f->store) < 0 || json_object_set_new(s->record, "complete", json_true()) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the shadow copy");
  return 0;
}

static void files_release_state(struct shadow *s) {
  struct files_state *f = s->state;
  if (!f)
    return;
  look_free(f->look);
  held_done(&f->held);
  walk_done(&f->walk);
  if (f->walk.live_fd >= 0)
    (void)close(f->walk.live_fd);
  if (f->raw_fd >= 0)
    (void)close(f->raw_fd);
  store_done(&f->store);
  scope_done(&f->scope);
  free(f);
  s->state = NULL;
}

static int files_remove(const json_t *record, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL, *kept = NULL;
  const json_t *store = json_object_get(record, "store");
  if (!store)
    return 0; /* nothing was made */
  if (json_path_value(store, &path) < 0 || *path != '/')
    return error_set(err, -EINVAL, UMBRA_REASON_DAMAGED, "the record of the shadow copy names no store");
  const json_t *kept_value = json_object_get(record, "kept");
  if (json_get_boolean_or(record, "complete", false) && json_is_string(kept_value))
    (void)json_path_value(kept_value, &kept);
  return store_remove(path, kept, err);
}

const struct provider files_provider = {
    .name = "files",
    .summary = "copy of the files themselves; needs neither raw device nor particular filesystem",
    .hold = PROVIDER_HOLD_NEEDED,
    .instant = true,
    .catches_up = true,
    .can_persist = true,
    .can_read_write = true,
    .without_freeze = true,
    .can_shadow = files_can_shadow,
    .prepare = files_prepare,
    .precommit = files_precommit,
    .commit = files_commit,
    .postcommit = files_postcommit,
    .seal = shadow_seal_view,
    .release_state = files_release_state,
    .remove = files_remove,
};
