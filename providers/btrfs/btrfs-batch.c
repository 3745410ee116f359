/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "providers/btrfs/btrfs-batch.h"

#include "common/cleanup.h"
#include "common/strv.h"
#include "providers/btrfs/btrfs-place.h"

#include <btrfsutil.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREAD_STACK_BYTES = 256 * 1024 };

struct item {
  char name[BTRFS_BATCH_NAME_BYTES];
  int result; /* 0 made, negative errno */
};

struct btrfs_batch {
  int root_fd, target_fd;
  bool read_write;
  char **paths;
  struct item *items;
  size_t count;
  atomic_size_t next;

  /* Guards go and stop; threads wait for either. */
  pthread_mutex_t lock;
  pthread_cond_t told;
  bool go, stop;
  pthread_t threads[BTRFS_BATCH_THREADS_MAX];
  size_t thread_count;
};

static int make_snapshot(const struct btrfs_batch *batch, size_t index) {
  const char *path = batch->paths[index];
  CLEANUP_CLOSE int opened = path[0] ? btrfs_place_open_below(batch->root_fd, path) : -1;
  if (path[0] && opened < 0)
    return opened;
  CLEANUP_CLOSE int target_fd = btrfs_place_open_below(batch->target_fd, batch->items[index].name);
  if (target_fd < 0)
    return target_fd;
  errno = 0;
  enum btrfs_util_error e =
      btrfs_util_create_snapshot_fd2(path[0] ? opened : batch->root_fd, target_fd, BTRFS_PLACE_TREE,
                                     batch->read_write ? 0 : BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY, NULL, NULL);
  if (e == BTRFS_UTIL_OK)
    return 0;
  return errno > 0 ? -errno : -EIO;
}

static void work(struct btrfs_batch *batch) {
  for (size_t i; (i = atomic_fetch_add(&batch->next, 1)) < batch->count;)
    batch->items[i].result = make_snapshot(batch, i);
}

static void *thread_main(void *context) {
  struct btrfs_batch *batch = context;
  (void)pthread_mutex_lock(&batch->lock);
  while (!batch->go && !batch->stop)
    (void)pthread_cond_wait(&batch->told, &batch->lock);
  bool go = batch->go;
  (void)pthread_mutex_unlock(&batch->lock);
  if (go)
    work(batch);
  return NULL;
}

static void tell(struct btrfs_batch *batch, bool go) {
  (void)pthread_mutex_lock(&batch->lock);
  if (go)
    batch->go = true;
  else
    batch->stop = true;
  (void)pthread_cond_broadcast(&batch->told);
  (void)pthread_mutex_unlock(&batch->lock);
}

static void join(struct btrfs_batch *batch) {
  while (batch->thread_count > 0)
    (void)pthread_join(batch->threads[--batch->thread_count], NULL);
}

void btrfs_batch_free(struct btrfs_batch *batch) {
  if (!batch)
    return;
  tell(batch, false);
  join(batch);
  (void)pthread_cond_destroy(&batch->told);
  (void)pthread_mutex_destroy(&batch->lock);
  strv_free(batch->paths);
  free(batch->items);
  free(batch);
}

static int start_threads(struct btrfs_batch *batch) {
  pthread_attr_t attributes;
  int code = pthread_attr_init(&attributes);
  if (code != 0)
    return -code;
  (void)pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
  /* The caller's own thread takes part, so one subvolume needs none. */
  while (code == 0 && batch->thread_count + 1 < batch->count && batch->thread_count < BTRFS_BATCH_THREADS_MAX) {
    code = pthread_create(&batch->threads[batch->thread_count], &attributes, thread_main, batch);
    if (code == 0)
      batch->thread_count++;
  }
  (void)pthread_attr_destroy(&attributes);
  return -code;
}

static void cleanup_batch(struct btrfs_batch **batch) { btrfs_batch_free(*batch); }

int btrfs_batch_new(int root_fd, int target_fd, char *const *paths, bool read_write, struct btrfs_batch **ret,
                    struct umbra_error *err) {
  CLEANUP(cleanup_batch) struct btrfs_batch *batch = calloc(1, sizeof *batch);
  if (!batch)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "preparing snapshots");
  (void)pthread_mutex_init(&batch->lock, NULL);
  (void)pthread_cond_init(&batch->told, NULL);
  batch->root_fd = root_fd;
  batch->target_fd = target_fd;
  batch->read_write = read_write;
  batch->count = strv_count(paths);
  batch->items = calloc(batch->count + 1, sizeof *batch->items);
  if (!batch->items)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "preparing snapshots");
  for (size_t i = 0; i < batch->count; i++) {
    if (strv_append(&batch->paths, paths[i]) < 0)
      return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "preparing snapshots");
    (void)snprintf(batch->items[i].name, sizeof batch->items[i].name, "%zu", i);
    batch->items[i].result = -ECANCELED;
    if (mkdirat(target_fd, batch->items[i].name, 0700) < 0)
      return error_errno(err, "making a directory for a snapshot");
  }
  int r = start_threads(batch);
  if (r < 0)
    return error_code(err, r, "starting threads for snapshots");
  *ret = take_pointer(batch);
  return 0;
}

static int explain(const struct btrfs_batch *batch, size_t index, struct umbra_error *err) {
  const char *path = batch->paths[index][0] ? batch->paths[index] : ".";
  int code = batch->items[index].result;
  if (code == -ETXTBSY)
    return error_set(
        err, code, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
        "the subvolume '%s' holds a swap file that is in use: btrfs takes no snapshot of it until swapoff", path);
  return error_code(err, code, "taking the snapshot of subvolume '%s'", path);
}

int btrfs_batch_run(struct btrfs_batch *batch, bool together, struct umbra_error *err) {
  if (!together) {
    batch->items[0].result = make_snapshot(batch, 0);
    atomic_store(&batch->next, 1);
  }
  tell(batch, true);
  work(batch);
  join(batch);
  for (size_t i = 0; i < batch->count; i++) {
    /* A nested subvolume may go while nobody looks; the one that was asked for may not. */
    if (batch->items[i].result < 0 && (i == 0 || batch->items[i].result != -ENOENT))
      return explain(batch, i, err);
  }
  return 0;
}

bool btrfs_batch_made(const struct btrfs_batch *batch, size_t index) {
  return index < batch->count && batch->items[index].result == 0;
}

static int open_snapshot(const struct btrfs_batch *batch, size_t index, struct umbra_error *err) {
  char name[BTRFS_BATCH_NAME_BYTES + sizeof BTRFS_PLACE_TREE];
  (void)snprintf(name, sizeof name, "%s/" BTRFS_PLACE_TREE, batch->items[index].name);
  int fd = btrfs_place_open_below(batch->target_fd, name);
  return fd < 0 ? error_code(err, fd, "opening snapshot '%s'", name) : fd;
}

int btrfs_batch_seal(const struct btrfs_batch *batch, struct umbra_error *err) {
  for (size_t i = 0; i < batch->count; i++) {
    if (batch->items[i].result < 0)
      continue;
    CLEANUP_CLOSE int fd = open_snapshot(batch, i, err);
    if (fd < 0)
      return fd;
    errno = 0;
    if (btrfs_util_set_subvolume_read_only_fd(fd, true) != BTRFS_UTIL_OK)
      return error_errno(err, "making snapshot '%s' read-only", batch->items[i].name);
  }
  return 0;
}

static int examine(const struct btrfs_batch *batch, size_t index, struct btrfs_util_subvolume_info *ret,
                   struct umbra_error *err) {
  CLEANUP_CLOSE int fd = open_snapshot(batch, index, err);
  if (fd < 0)
    return fd;
  errno = 0;
  if (btrfs_util_subvolume_info_fd(fd, 0, ret) != BTRFS_UTIL_OK)
    return error_errno(err, "examining snapshot '%s'", batch->items[index].name);
  return 0;
}

/*
 * otransid is the transaction a snapshot was made in, ctransid the one in which its subvolume was last changed.  The
 * instant is the end of the earliest transaction: a snapshot made later shows it as well if nothing had changed
 * since.
 */
int btrfs_batch_one_instant(const struct btrfs_batch *batch, struct umbra_error *err) {
  struct btrfs_util_subvolume_info info;
  uint64_t instant = UINT64_MAX, changed = 0;
  if (batch->count == 1)
    return 1;
  for (size_t i = 0; i < batch->count; i++) {
    if (batch->items[i].result < 0)
      continue;
    int r = examine(batch, i, &info, err);
    if (r < 0)
      return r;
    /* What was changed in its snapshot's own transaction was there at that transaction's end, if that is the instant.
     */
    if (info.otransid < instant)
      instant = info.otransid;
    if (info.ctransid > changed)
      changed = info.ctransid;
  }
  return changed <= instant;
}
