/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The look under the hold.  The table is cut into parts of some ten KiB; each thread takes the next part, opens each
 * directory of it once and calls statx(2) for each name, relative to it.  Nothing is listed here: a directory whose
 * names changed has another ctime.  Reads of a frozen filesystem work; whatever would write to it is avoided (O_PATH
 * sets no access time).
 */
#include "providers/files/look.h"

#include "common/cleanup.h"
#include "providers/files/table.h"
#include "providers/files/tree.h"
#include "providers/files/urgent.h"
#include "providers/files/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct looker {
  struct look *look;
  pthread_t thread;
  bool started;
  uint8_t *block; /* TABLE_BLOCK_BYTES_MAX */
  struct look_found *found;
  size_t count;
  int result;
};

struct look {
  int live_fd, table_fd;
  const uint64_t *starts;
  size_t starts_count;
  unsigned threads;
  struct looker lookers[LOOK_THREADS_MAX]; /* the first is the caller's own */
  atomic_size_t next;
  atomic_bool ending;
  sem_t begin, done;
  struct look_found *sorted; /* all that was found, joined */
  size_t sorted_count;
};

/* Memory that is there from the start: nothing is faulted in under the hold. */
static void *map_memory(size_t length_bytes) {
  void *m = mmap(NULL, length_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return m == MAP_FAILED ? NULL : m;
}

static int note(struct looker *me, uint64_t block_offset_bytes, uint32_t entry_offset) {
  if (me->count == LOOK_FOUND_MAX)
    return -EAGAIN;
  me->found[me->count++] =
      (struct look_found){.block_offset_bytes = block_offset_bytes, .entry_offset = entry_offset};
  return 0;
}

/* statx without what is not compared. */
static int glance(int directory_fd, const char *name, struct statx *ret) {
  int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
  return statx(directory_fd, name, flags, STATX_TYPE | STATX_INO | STATX_SIZE | STATX_CTIME | STATX_MTIME, ret);
}

static int look_at_block(struct looker *me, uint64_t offset_bytes) {
  const struct table_block_head *head = table_block_head(me->block);
  CLEANUP_CLOSE int fd =
      tree_open_directory(me->look->live_fd, table_block_path(me->block), head->path_bytes, O_PATH);
  struct statx sx;
  /* Gone, or another directory now: the one above it has changed and is listed anew. */
  if (fd < 0 || glance(fd, "", &sx) < 0 || sx.stx_ino != head->inode)
    return 0;
  bool changed = head->flags & TABLE_UNSURE || head->ctime_ns != tree_time_ns(sx.stx_ctime) ||
                 head->mtime_ns != tree_time_ns(sx.stx_mtime);
  if (changed && !(head->flags & TABLE_CONTINUED) && note(me, offset_bytes, 0) < 0)
    return -EAGAIN;
  struct table_entry e;
  char name[TABLE_NAME_BYTES_MAX + 1];
  for (uint32_t at = table_block_first(me->block); table_block_next(me->block, &at, &e);) {
    if ((e.head.flags & TABLE_TYPE_MASK) == S_IFDIR >> 12)
      continue;
    memcpy(name, e.name, e.head.name_bytes);
    name[e.head.name_bytes] = 0;
    if (!(e.head.flags & TABLE_UNSURE) && glance(fd, name, &sx) == 0 && walk_is_same(&e.head, &sx))
      continue;
    if (note(me, offset_bytes, e.offset_in_block) < 0)
      return -EAGAIN;
  }
  return 0;
}

static int look_at_part(struct looker *me, uint64_t from_bytes, uint64_t to_bytes) {
  for (uint64_t at = from_bytes; at < to_bytes; at += table_block_head(me->block)->length_bytes) {
    int r = table_read_block(me->look->table_fd, at, me->block);
    if (r == 0)
      return 0;
    if (r > 0)
      r = look_at_block(me, at);
    if (r < 0)
      return r;
  }
  return 0;
}

static void work(struct looker *me) {
  struct look *l = me->look;
  me->count = 0;
  me->result = 0;
  size_t i;
  while (me->result >= 0 && (i = atomic_fetch_add(&l->next, 1)) < l->starts_count)
    me->result = look_at_part(me, l->starts[i], i + 1 < l->starts_count ? l->starts[i + 1] : UINT64_MAX);
}

static void *looker_main(void *context) {
  struct looker *me = context;
  struct urgent before;
  urgent_begin(&before);
  for (;;) {
    while (sem_wait(&me->look->begin) < 0) {
    }
    if (atomic_load(&me->look->ending))
      return NULL;
    work(me);
    (void)sem_post(&me->look->done);
  }
}

int look_new(int live_fd, int table_fd, const uint64_t *starts, size_t starts_count, struct look **ret) {
  struct look *l = calloc(1, sizeof *l);
  if (!l)
    return -ENOMEM;
  l->live_fd = live_fd;
  l->table_fd = table_fd;
  l->starts = starts;
  l->starts_count = starts_count;
  (void)sem_init(&l->begin, 0, 0);
  (void)sem_init(&l->done, 0, 0);
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  unsigned threads = processors < 1 ? 1 : processors > LOOK_THREADS_MAX ? LOOK_THREADS_MAX : (unsigned)processors;
  if (starts_count < threads)
    threads = starts_count ? (unsigned)starts_count : 1;
  l->sorted = map_memory(threads * LOOK_FOUND_MAX * sizeof *l->sorted);
  int r = l->sorted ? 0 : -ENOMEM;
  /* Signals are the program's main thread's. */
  sigset_t all, before;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  for (unsigned i = 0; i < threads && r >= 0; i++) {
    struct looker *me = &l->lookers[i];
    me->look = l;
    me->block = map_memory(TABLE_BLOCK_BYTES_MAX);
    me->found = map_memory(LOOK_FOUND_MAX * sizeof *me->found);
    l->threads = i + 1;
    if (!me->block || !me->found)
      r = -ENOMEM;
    else if (i > 0 && (r = -pthread_create(&me->thread, NULL, looker_main, me)) == 0)
      me->started = true;
  }
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (r < 0) {
    look_free(l);
    return r;
  }
  *ret = l;
  return 0;
}

void look_free(struct look *l) {
  if (!l)
    return;
  atomic_store(&l->ending, true);
  for (unsigned i = 0; i < l->threads; i++)
    (void)sem_post(&l->begin);
  for (unsigned i = 0; i < l->threads; i++) {
    if (l->lookers[i].started)
      (void)pthread_join(l->lookers[i].thread, NULL);
    if (l->lookers[i].block)
      (void)munmap(l->lookers[i].block, TABLE_BLOCK_BYTES_MAX);
    if (l->lookers[i].found)
      (void)munmap(l->lookers[i].found, LOOK_FOUND_MAX * sizeof *l->lookers[i].found);
  }
  if (l->sorted)
    (void)munmap(l->sorted, l->threads * LOOK_FOUND_MAX * sizeof *l->sorted);
  (void)sem_destroy(&l->begin);
  (void)sem_destroy(&l->done);
  free(l);
}

static bool is_before(const struct look_found *a, const struct look_found *b) {
  return a->block_offset_bytes != b->block_offset_bytes ? a->block_offset_bytes < b->block_offset_bytes
                                                        : a->entry_offset < b->entry_offset;
}

/* Each thread's list is in order already: parts are taken in order. */
static void join_lists(struct look *l) {
  size_t at[LOOK_THREADS_MAX] = {0};
  l->sorted_count = 0;
  for (;;) {
    const struct look_found *first = NULL;
    unsigned from = 0;
    for (unsigned i = 0; i < l->threads; i++) {
      const struct looker *me = &l->lookers[i];
      if (at[i] < me->count && (!first || is_before(&me->found[at[i]], first))) {
        first = &me->found[at[i]];
        from = i;
      }
    }
    if (!first)
      return;
    l->sorted[l->sorted_count++] = *first;
    at[from]++;
  }
}

int look_run(struct look *l) {
  atomic_store(&l->next, 0);
  for (unsigned i = 1; i < l->threads; i++)
    (void)sem_post(&l->begin);
  work(&l->lookers[0]);
  int r = l->lookers[0].result;
  for (unsigned i = 1; i < l->threads; i++)
    while (sem_wait(&l->done) < 0) {
    }
  for (unsigned i = 1; i < l->threads; i++)
    if (l->lookers[i].result < 0)
      r = l->lookers[i].result;
  join_lists(l);
  return r;
}

size_t look_count(const struct look *l) { return l->sorted_count; }
const struct look_found *look_found(const struct look *l, size_t index) { return &l->sorted[index]; }
