/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring of items, [tail, head), of which [next, head) wait for a thread.  The lock protects these numbers, `done`
 * and `quitting`; an item belongs to the thread that took it until it is done, else to the caller.
 */
#include "backup/restore-queue.h"

#include "backup/restore-file.h"
#include "common/fd.h"

#include <errno.h>
#include <pthread.h>

struct restore_queue {
  struct restore_item items[RESTORE_QUEUE_ITEMS_MAX];
  bool done[RESTORE_QUEUE_ITEMS_MAX];
  uint64_t tail, next, head;
  size_t bytes;
  bool privileged, quitting;
  pthread_t threads[RESTORE_QUEUE_THREADS];
  unsigned thread_count;
  pthread_mutex_t lock;
  pthread_cond_t queued, finished;
};

static void make_file(struct restore_item *item, bool privileged) {
  struct restore_file f;
  int r = restore_file_begin(&f, item->directory->fd, item->name, item->keep, item->attributes.flags, &item->error);
  if (r == -EEXIST && item->keep) {
    item->kept = true;
    return;
  }
  if (r < 0)
    return;
  r = fd_write_all(f.fd, item->data, item->data_bytes);
  if (r < 0) {
    restore_file_abandon(&f);
    (void)error_code(&item->error, r, "writing the file");
    return;
  }
  (void)restore_file_finish(&f, &item->basics, &item->attributes, privileged, &item->skipped, &item->error);
  item->device = f.device;
  item->inode = f.inode;
}

static void *make_files(void *userdata) {
  struct restore_queue *q = userdata;
  (void)pthread_mutex_lock(&q->lock);
  while (!q->quitting) {
    if (q->next == q->head) {
      (void)pthread_cond_wait(&q->queued, &q->lock);
      continue;
    }
    size_t place = q->next++ % RESTORE_QUEUE_ITEMS_MAX;
    (void)pthread_mutex_unlock(&q->lock);
    make_file(&q->items[place], q->privileged);
    (void)pthread_mutex_lock(&q->lock);
    q->done[place] = true;
    if (place == q->tail % RESTORE_QUEUE_ITEMS_MAX)
      (void)pthread_cond_signal(&q->finished);
  }
  (void)pthread_mutex_unlock(&q->lock);
  return NULL;
}

int restore_queue_new(bool privileged, struct restore_queue **ret, struct umbra_error *err) {
  struct restore_queue *q = calloc(1, sizeof *q);
  if (!q)
    return error_code(err, -ENOMEM, "restoring files");
  q->privileged = privileged;
  (void)pthread_mutex_init(&q->lock, NULL);
  (void)pthread_cond_init(&q->queued, NULL);
  (void)pthread_cond_init(&q->finished, NULL);
  for (; q->thread_count < RESTORE_QUEUE_THREADS; q->thread_count++) {
    int r = pthread_create(&q->threads[q->thread_count], NULL, make_files, q);
    if (r > 0) {
      restore_queue_free(q);
      return error_code(err, -r, "starting a thread");
    }
  }
  *ret = q;
  return 0;
}

struct restore_item *restore_queue_place(struct restore_queue *q, size_t data_bytes) {
  bool full = q->head - q->tail == RESTORE_QUEUE_ITEMS_MAX || q->bytes + data_bytes > RESTORE_QUEUE_BYTES_MAX;
  if (full && q->head != q->tail)
    return NULL;
  struct restore_item *item = &q->items[q->head % RESTORE_QUEUE_ITEMS_MAX];
  memset(item, 0, sizeof *item);
  return item;
}

void restore_queue_put(struct restore_queue *q) {
  size_t place = q->head % RESTORE_QUEUE_ITEMS_MAX;
  q->bytes += q->items[place].data_bytes;
  (void)pthread_mutex_lock(&q->lock);
  q->done[place] = false;
  q->head++;
  (void)pthread_cond_signal(&q->queued);
  (void)pthread_mutex_unlock(&q->lock);
}

struct restore_item *restore_queue_take(struct restore_queue *q) {
  if (q->head == q->tail)
    return NULL;
  size_t place = q->tail % RESTORE_QUEUE_ITEMS_MAX;
  (void)pthread_mutex_lock(&q->lock);
  while (!q->done[place])
    (void)pthread_cond_wait(&q->finished, &q->lock);
  (void)pthread_mutex_unlock(&q->lock);
  return &q->items[place];
}

static void item_done(struct restore_item *item) {
  free(item->path);
  directory_unref(item->directory);
  metadata_done(&item->attributes);
  free(item->data);
}

void restore_queue_release(struct restore_queue *q) {
  struct restore_item *item = &q->items[q->tail % RESTORE_QUEUE_ITEMS_MAX];
  q->bytes -= item->data_bytes;
  item_done(item);
  (void)pthread_mutex_lock(&q->lock);
  q->tail++;
  (void)pthread_mutex_unlock(&q->lock);
}

void restore_queue_free(struct restore_queue *q) {
  if (!q)
    return;
  (void)pthread_mutex_lock(&q->lock);
  q->quitting = true;
  (void)pthread_cond_broadcast(&q->queued);
  (void)pthread_mutex_unlock(&q->lock);
  for (unsigned i = 0; i < q->thread_count; i++)
    (void)pthread_join(q->threads[i], NULL);
  for (; q->tail < q->head; q->tail++)
    item_done(&q->items[q->tail % RESTORE_QUEUE_ITEMS_MAX]);
  (void)pthread_cond_destroy(&q->queued);
  (void)pthread_cond_destroy(&q->finished);
  (void)pthread_mutex_destroy(&q->lock);
  free(q);
}
