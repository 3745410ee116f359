/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring of items: [tail, head) are in it, next is the first that no thread looked at yet.  The lock protects these
 * numbers, the states and `quitting`; an item belongs to the thread that took it until its state is DONE, else to the
 * caller.
 */
#include "backup/prefetch.h"

#include "backup/file-flags.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

enum item_state { ITEM_QUEUED, ITEM_TAKEN, ITEM_DONE };
enum { SPARSE_BYTES_MIN = 4096, STATX_BLOCK_BYTES = 512 };

struct prefetch {
  struct prefetch_item items[PREFETCH_ITEMS_MAX];
  enum item_state states[PREFETCH_ITEMS_MAX];
  uint64_t tail, next, head; /* counted up for ever */
  uint64_t bytes;            /* contents of the items in the ring */
  pthread_t threads[PREFETCH_THREADS];
  unsigned thread_count, idle;
  bool quitting, waiting; /* waiting: the caller, for the item at tail */
  pthread_mutex_t lock;
  pthread_cond_t queued, done;
};

static struct timespec from_statx(struct statx_timestamp t) {
  return (struct timespec){.tv_sec = t.tv_sec, .tv_nsec = t.tv_nsec};
}

void prefetch_item_record(const struct prefetch_item *item, struct index_record *ret) {
  const struct statx *st = &item->status;
  ret->kind = item->kind;
  memcpy(ret->path, item->path, strlen(item->path) + 1);
  ret->target[0] = '\0';
  if (item->target)
    memcpy(ret->target, item->target, strlen(item->target) + 1);
  ret->sparse = false;
  ret->mode = st->stx_mode & 07777;
  ret->uid = st->stx_uid;
  ret->gid = st->stx_gid;
  bool device = item->kind == INDEX_CHARACTER || item->kind == INDEX_BLOCK;
  ret->device_major = device ? st->stx_rdev_major : 0;
  ret->device_minor = device ? st->stx_rdev_minor : 0;
  ret->size_bytes = st->stx_size;
  ret->inode = st->stx_ino;
  ret->links = st->stx_nlink;
  ret->modified = from_statx(st->stx_mtime);
  ret->changed = from_statx(st->stx_ctime);
  ret->metadata = item->metadata;
}

bool prefetch_item_may_be_sparse(const struct prefetch_item *item) {
  return item->kind == INDEX_FILE && item->status.stx_size > SPARSE_BYTES_MIN &&
         item->status.stx_blocks * STATX_BLOCK_BYTES < item->status.stx_size;
}

static bool read_ahead(const struct prefetch_item *item) {
  return item->kind == INDEX_FILE && item->status.stx_size <= PREFETCH_SMALL_BYTES &&
         !prefetch_item_may_be_sparse(item);
}

static int open_file(struct prefetch_item *item) {
  int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  item->fd = openat(item->directory->fd, item->name, flags | O_NOATIME);
  if (item->fd < 0 && errno == EPERM)
    item->fd = openat(item->directory->fd, item->name, flags);
  return item->fd < 0 ? error_errno(&item->error, "opening '/%s'", item->path) : 0;
}

/* One byte more is asked for than there should be, so that a file that grew is noticed as one that shrank is. */
static int read_content(struct prefetch_item *item) {
  size_t size_bytes = (size_t)item->status.stx_size, at = 0;
  item->data = malloc(size_bytes + 1);
  if (!item->data)
    return error_code(&item->error, -ENOMEM, "reading '/%s'", item->path);
  while (at <= size_bytes) {
    ssize_t n = read(item->fd, item->data + at, size_bytes + 1 - at);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return error_errno(&item->error, "reading '/%s'", item->path);
    if (n == 0)
      break;
    at += (size_t)n;
  }
  if (at != size_bytes)
    return error_set(&item->error, -EAGAIN, UMBRA_REASON_BAD_STATE, "'/%s' changed while it was read", item->path);
  item->content = digest_of(item->data, size_bytes);
  (void)close(item->fd);
  item->fd = -1;
  return 0;
}

static int read_link(struct prefetch_item *item) {
  char target[TREE_PATH_BYTES_MAX + 1];
  ssize_t n = readlinkat(item->directory->fd, item->name, target, sizeof target);
  if (n < 0)
    return error_errno(&item->error, "reading link '/%s'", item->path);
  if (n > TREE_PATH_BYTES_MAX || n == 0)
    return error_set(&item->error, -ENAMETOOLONG, UMBRA_REASON_LIMIT, "link '/%s' has a target of %zd bytes",
                     item->path, n);
  item->target = strndup(target, (size_t)n);
  return item->target ? 0 : error_code(&item->error, -ENOMEM, "reading link '/%s'", item->path);
}

static void read_item(struct prefetch_item *item, struct index_record *scratch) {
  int r = 0;
  if (item->kind == INDEX_HARD_LINK)
    return;
  if (item->kind == INDEX_FILE)
    r = open_file(item);
  else if (item->kind == INDEX_SYMLINK)
    r = read_link(item);
  if (r == 0) {
    r = metadata_read(item->fd, item->directory->fd, item->name, &item->attributes, &item->error);
    if (r < 0)
      (void)error_prefix(&item->error, r, "'/%s'", item->path);
  }
  if (r == 0 && !item->copied && (item->kind == INDEX_FILE || item->kind == INDEX_DIRECTORY))
    item->attributes.flags = file_flags_read(item->fd, item->directory->fd, item->name);
  if (r == 0 && read_ahead(item))
    r = read_content(item);
  else if (r == 0 && item->fd >= 0)
    (void)posix_fadvise(item->fd, 0, 4L * PREFETCH_SMALL_BYTES, POSIX_FADV_WILLNEED);
  if (r < 0)
    return;
  prefetch_item_record(item, scratch);
  if (metadata_digest(scratch, &item->attributes, &item->metadata) < 0)
    (void)error_code(&item->error, -ENOMEM, "reading '/%s'", item->path);
}

static void *read_items(void *userdata) {
  struct prefetch *p = userdata;
  struct index_record *scratch = malloc(sizeof *scratch);
  (void)pthread_mutex_lock(&p->lock);
  while (!p->quitting) {
    while (p->next < p->head && p->states[p->next % PREFETCH_ITEMS_MAX] == ITEM_DONE)
      p->next++;
    if (p->next == p->head) {
      p->idle++;
      (void)pthread_cond_wait(&p->queued, &p->lock);
      p->idle--;
      continue;
    }
    size_t place = p->next++ % PREFETCH_ITEMS_MAX;
    p->states[place] = ITEM_TAKEN;
    (void)pthread_mutex_unlock(&p->lock);
    if (scratch)
      read_item(&p->items[place], scratch);
    else
      (void)error_code(&p->items[place].error, -ENOMEM, "reading files");
    (void)pthread_mutex_lock(&p->lock);
    p->states[place] = ITEM_DONE;
    if (p->waiting && place == p->tail % PREFETCH_ITEMS_MAX)
      (void)pthread_cond_signal(&p->done);
  }
  (void)pthread_mutex_unlock(&p->lock);
  free(scratch);
  return NULL;
}

int prefetch_new(struct prefetch **ret, struct umbra_error *err) {
  struct prefetch *p = calloc(1, sizeof *p);
  if (!p)
    return error_code(err, -ENOMEM, "reading files");
  (void)pthread_mutex_init(&p->lock, NULL);
  (void)pthread_cond_init(&p->queued, NULL);
  (void)pthread_cond_init(&p->done, NULL);
  for (; p->thread_count < PREFETCH_THREADS; p->thread_count++) {
    int r = pthread_create(&p->threads[p->thread_count], NULL, read_items, p);
    if (r > 0) {
      prefetch_free(p);
      return error_code(err, -r, "starting a thread");
    }
  }
  *ret = p;
  return 0;
}

static uint64_t held_bytes(const struct prefetch_item *item) {
  return item->need != PREFETCH_NOTHING && read_ahead(item) ? item->status.stx_size : 0;
}

struct prefetch_item *prefetch_place(struct prefetch *p, uint64_t content_bytes) {
  if (p->head - p->tail == PREFETCH_ITEMS_MAX)
    return NULL;
  if (content_bytes <= PREFETCH_SMALL_BYTES && p->bytes + content_bytes > PREFETCH_BYTES_MAX)
    return NULL;
  struct prefetch_item *item = &p->items[p->head % PREFETCH_ITEMS_MAX];
  memset(item, 0, sizeof *item);
  item->fd = -1;
  return item;
}

void prefetch_put(struct prefetch *p) {
  struct prefetch_item *item = &p->items[p->head % PREFETCH_ITEMS_MAX];
  p->bytes += held_bytes(item);
  (void)pthread_mutex_lock(&p->lock);
  p->states[p->head % PREFETCH_ITEMS_MAX] = item->need == PREFETCH_NOTHING ? ITEM_DONE : ITEM_QUEUED;
  p->head++;
  if (item->need != PREFETCH_NOTHING && p->idle > 0)
    (void)pthread_cond_signal(&p->queued);
  (void)pthread_mutex_unlock(&p->lock);
}

struct prefetch_item *prefetch_take(struct prefetch *p) {
  if (p->head == p->tail)
    return NULL;
  size_t place = p->tail % PREFETCH_ITEMS_MAX;
  (void)pthread_mutex_lock(&p->lock);
  p->waiting = true;
  while (p->states[place] != ITEM_DONE)
    (void)pthread_cond_wait(&p->done, &p->lock);
  p->waiting = false;
  (void)pthread_mutex_unlock(&p->lock);
  return &p->items[place];
}

static void item_done(struct prefetch_item *item) {
  metadata_done(&item->attributes);
  directory_unref(item->directory);
  free(item->path);
  free(item->target);
  free(item->data);
  if (item->fd >= 0)
    (void)close(item->fd);
}

void prefetch_release(struct prefetch *p) {
  struct prefetch_item *item = &p->items[p->tail % PREFETCH_ITEMS_MAX];
  p->bytes -= held_bytes(item);
  item_done(item);
  (void)pthread_mutex_lock(&p->lock);
  if (p->next == p->tail)
    p->next++;
  p->tail++;
  (void)pthread_mutex_unlock(&p->lock);
}

void prefetch_free(struct prefetch *p) {
  if (!p)
    return;
  (void)pthread_mutex_lock(&p->lock);
  p->quitting = true;
  (void)pthread_cond_broadcast(&p->queued);
  (void)pthread_mutex_unlock(&p->lock);
  for (unsigned i = 0; i < p->thread_count; i++)
    (void)pthread_join(p->threads[i], NULL);
  for (; p->tail < p->head; p->tail++)
    item_done(&p->items[p->tail % PREFETCH_ITEMS_MAX]);
  (void)pthread_cond_destroy(&p->queued);
  (void)pthread_cond_destroy(&p->done);
  (void)pthread_mutex_destroy(&p->lock);
  free(p);
}
