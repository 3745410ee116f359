/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/free-map.h"

#include "common/cleanup.h"
#include "cow/engine-state.h"

#include <errno.h>
#include <string.h>

enum { BOUNCE_BYTES = 64 * 1024 };

/* One look. Ranges that touch are one: a chunk may lie in both. */
struct look {
  struct cow_engine *e;
  struct cow_shadow *shadow;
  unsigned char *bounce; /* BOUNCE_BYTES, aligned */
  struct bitmap chunks;  /* over the map's words */
  uint64_t begin_bytes, end_bytes;
};

/* Any range, through a buffer as the shadow copy wants it. The volume's size is a multiple of sectors. */
static int read_shadow(void *context, void *buffer, size_t length_bytes, uint64_t offset_bytes) {
  struct look *l = context;
  for (size_t done = 0; done < length_bytes;) {
    uint64_t at = offset_bytes + done, first = at / COW_SECTOR_BYTES * COW_SECTOR_BYTES;
    uint64_t left = (at - first + (length_bytes - done) + COW_SECTOR_BYTES - 1) / COW_SECTOR_BYTES * COW_SECTOR_BYTES;
    size_t piece = left < BOUNCE_BYTES ? (size_t)left : BOUNCE_BYTES;
    if (atomic_load(&l->e->free_map.ending))
      return -ECANCELED;
    int r = cow_shadow_read(l->shadow, l->bounce, piece, first);
    if (r < 0)
      return r;
    size_t bytes = piece - (size_t)(at - first);
    if (bytes > length_bytes - done)
      bytes = length_bytes - done;
    memcpy((unsigned char *)buffer + done, l->bounce + (at - first), bytes);
    done += bytes;
  }
  return 0;
}

/* The chunks that lie wholly in the range; the volume's last may be short. */
static void note_range(struct look *l) {
  const struct cow_geometry *g = &l->e->geometry;
  uint64_t first = (l->begin_bytes + g->chunk_bytes - 1) / g->chunk_bytes;
  uint64_t end = l->end_bytes == g->volume_bytes ? cow_chunk_count(g) : l->end_bytes / g->chunk_bytes;
  if (end > first)
    bitmap_set_range(&l->chunks, first, end - first);
}

static int take_range(void *context, uint64_t offset_bytes, uint64_t length_bytes) {
  struct look *l = context;
  if (offset_bytes != l->end_bytes) {
    note_range(l);
    l->begin_bytes = offset_bytes;
  }
  l->end_bytes = offset_bytes + length_bytes;
  return 0;
}

/* Nobody reads the words meanwhile: their number is not of this epoch. */
static int look_into(struct look *l) {
  struct cow_free_map *m = &l->e->free_map;
  uint64_t chunks = cow_chunk_count(&l->e->geometry);
  atomic_store(&m->number, 0);
  if (!m->words)
    m->words = calloc((chunks + 63) / 64, sizeof *m->words);
  if (!m->all_words)
    m->all_words = calloc((chunks + 63) / 64, sizeof *m->all_words);
  if (!m->words || !m->all_words)
    return -ENOMEM;
  atomic_store(&m->memory_bytes, (chunks + 63) / 64 * (sizeof *m->words + sizeof *m->all_words));
  l->chunks = (struct bitmap){.words = m->words, .bits = chunks};
  bitmap_clear_all(&l->chunks);
  struct free_space_source source = {.read = read_shadow, .context = l, .volume_bytes = l->e->geometry.volume_bytes};
  int r = l->e->free_space(&source, take_range, l, NULL);
  if (r == 0)
    note_range(l);
  return r;
}

/* What all have: as far as it was known of all that are older, or alone if there are none. */
static void join_older(struct look *l, uint32_t number, uint32_t older) {
  struct cow_free_map *m = &l->e->free_map;
  struct bitmap all = {.words = m->all_words, .bits = l->chunks.bits};
  uint64_t words = bitmap_word_count(&all);
  if (older == 0)
    memcpy(m->all_words, m->words, words * sizeof *m->words);
  for (uint64_t i = 0; older > 0 && i < words; i++)
    m->all_words[i] &= m->words[i];
  m->all_number = m->all_number >= older ? number : 0;
}

/*
 * What cannot be read or is refused is not known, and everything is copied. It counts only if the shadow copy was
 * live to the end: its chunks may be somebody else's after that.
 */
static void learn(struct cow_engine *e) {
  struct look l = {.e = e};
  uint32_t older = 0;
  if (cow_shadow_open_held(e, &l.shadow, &older) < 0)
    return;
  uint32_t number = cow_shadow_number(l.shadow);
  if (atomic_load(&e->free_map.number) == number) {
    cow_shadow_close(l.shadow);
    return;
  }
  l.bounce = aligned_alloc(COW_BUFFER_ALIGNMENT, BOUNCE_BYTES);
  int r = l.bounce ? look_into(&l) : -ENOMEM;
  if (r == 0) {
    join_older(&l, number, older);
    e->free_map.older = older;
    atomic_store_explicit(&e->free_map.number, number, memory_order_release);
  }
  free(l.bounce);
  cow_shadow_close(l.shadow);
}

static void *learner_main(void *context) {
  struct cow_engine *e = context;
  struct cow_free_map *m = &e->free_map;
  pthread_mutex_lock(&m->lock);
  while (!atomic_load(&m->ending)) {
    if (!m->wanted) {
      pthread_cond_wait(&m->change, &m->lock);
      continue;
    }
    m->wanted = false;
    m->learning = true;
    pthread_mutex_unlock(&m->lock);
    learn(e);
    pthread_mutex_lock(&m->lock);
    m->learning = false;
    pthread_cond_broadcast(&m->change);
  }
  pthread_mutex_unlock(&m->lock);
  return NULL;
}

int cow_free_map_start(struct cow_engine *e, struct umbra_error *err) {
  struct cow_free_map *m = &e->free_map;
  if (!e->free_space)
    return 0;
  pthread_mutex_init(&m->lock, NULL);
  pthread_cond_init(&m->change, NULL);
  m->wanted = true;
  int r = -pthread_create(&m->learner, NULL, learner_main, e);
  if (r < 0) {
    pthread_cond_destroy(&m->change);
    pthread_mutex_destroy(&m->lock);
    return error_code(err, r, "starting the thread that learns what is free");
  }
  m->started = true;
  return 0;
}

void cow_free_map_stop(struct cow_engine *e) {
  struct cow_free_map *m = &e->free_map;
  if (!m->started)
    return;
  pthread_mutex_lock(&m->lock);
  atomic_store(&m->ending, true);
  pthread_cond_broadcast(&m->change);
  pthread_mutex_unlock(&m->lock);
  (void)pthread_join(m->learner, NULL);
  pthread_cond_destroy(&m->change);
  pthread_mutex_destroy(&m->lock);
  free(m->words);
  free(m->all_words);
  *m = (struct cow_free_map){0};
}

void cow_free_map_wake(struct cow_engine *e) {
  struct cow_free_map *m = &e->free_map;
  if (!m->started)
    return;
  pthread_mutex_lock(&m->lock);
  m->wanted = true;
  pthread_cond_broadcast(&m->change);
  pthread_mutex_unlock(&m->lock);
}

void cow_engine_wait_free_known(struct cow_engine *e) {
  struct cow_free_map *m = &e->free_map;
  if (!m->started)
    return;
  pthread_mutex_lock(&m->lock);
  while (m->wanted || m->learning)
    pthread_cond_wait(&m->change, &m->lock);
  pthread_mutex_unlock(&m->lock);
}
