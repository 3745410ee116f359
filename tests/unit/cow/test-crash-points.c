/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent shadow copies against a machine that loses power at any moment: every write, zeroing and flush of origin
 * and storage is recorded; then for each position of the record the disks are made as they might be there: what was
 * flushed, and of the rest everything, nothing, or any sectors.  Recovery must then find each shadow copy that was
 * told to be there, with the model's content, none that was deleted, and leave the origin as it is.  UMBRA_SEED
 * repeats a run; UMBRA_POINTS says how many points there are to be.
 */
#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/engine-state.h"
#include "cow/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
  CHUNK = 4096,
  VOLUME_BYTES = 60 * CHUNK + 1536,
  SECTORS = VOLUME_BYTES / 512,
  POINTS_DEFAULT = 1200,
  SHADOWS_MAX = 400,
  STEPS = 300,
  SLOTS_PLENTY = 2000,
  SLOTS_FEW = 90,
  SLOTS_FEW_BESIDE_HOLES = 40,
  LEFT_OUT_MIN = 20, /* fewer would try little */
  HOLES = 50,        /* fewer than there may be chunks to leave out */
};

/* ---- the record ---- */

enum disk { ORIGIN, STORAGE, DISKS };
struct event {
  enum disk disk;
  bool flush;
  unsigned char *data; /* of a write */
  uint64_t offset, length;
  size_t begun, ended; /* positions: counts of all beginnings and ends before */
  size_t durable;      /* a write's: the end of the first flush that began after its end */
};

static struct {
  pthread_mutex_t lock;
  bool on;
  bool storage_fails; /* writes and flushes of it, from now on */
  int fds[DISKS];
  struct event *events;
  size_t count, capacity, position;
} record = {.lock = PTHREAD_MUTEX_INITIALIZER, .fds = {-1, -1}};

static size_t begin_event(int fd, bool flush, const void *data, uint64_t offset, uint64_t length) {
  size_t number = SIZE_MAX;
  pthread_mutex_lock(&record.lock);
  for (int d = 0; d < DISKS && record.on; d++) {
    if (record.fds[d] != fd)
      continue;
    if (record.count == record.capacity) {
      record.capacity = record.capacity ? record.capacity * 2 : 1024;
      record.events = realloc(record.events, record.capacity * sizeof *record.events);
    }
    number = record.count++;
    struct event *e = &record.events[number];
    *e = (struct event){.disk = (enum disk)d, .flush = flush, .offset = offset, .length = length};
    e->begun = ++record.position;
    e->ended = e->durable = SIZE_MAX;
    if (length > 0) {
      e->data = calloc(1, length);
      if (data)
        memcpy(e->data, data, length);
    }
  }
  pthread_mutex_unlock(&record.lock);
  return number;
}

static void end_event(size_t number) {
  if (number == SIZE_MAX)
    return;
  pthread_mutex_lock(&record.lock);
  struct event *e = &record.events[number];
  e->ended = ++record.position;
  for (size_t i = 0; e->flush && i < number; i++) {
    struct event *w = &record.events[i];
    if (!w->flush && w->disk == e->disk && w->durable == SIZE_MAX && w->ended < e->begun)
      w->durable = e->ended;
  }
  pthread_mutex_unlock(&record.lock);
}

static size_t position_now(void) {
  pthread_mutex_lock(&record.lock);
  size_t at = record.position;
  pthread_mutex_unlock(&record.lock);
  return at;
}

/* In place of the C library's, for the engine that is linked here. */
static bool fails(int fd) {
  errno = EIO;
  return record.storage_fails && fd == record.fds[STORAGE];
}
ssize_t pwrite(int fd, const void *buffer, size_t length, off_t offset) {
  if (fails(fd))
    return -1;
  size_t number = begin_event(fd, false, buffer, (uint64_t)offset, length);
  ssize_t n = syscall(SYS_pwrite64, fd, buffer, length, offset);
  assert_true(n == (ssize_t)length || record.fds[ORIGIN] < 0);
  end_event(number);
  return n;
}
int fdatasync(int fd) {
  if (fails(fd))
    return -1;
  size_t number = begin_event(fd, true, NULL, 0, 0);
  end_event(number);
  return 0;
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
  size_t number =
      mode & FALLOC_FL_PUNCH_HOLE ? begin_event(fd, false, NULL, (uint64_t)offset, (uint64_t)length) : SIZE_MAX;
  int r = (int)syscall(SYS_fallocate, fd, mode, offset, length);
  end_event(number);
  return r;
}

/* Transfers then go one after the other, through the above. */
int io_setup(int events, io_context_t *context) {
  (void)events;
  (void)context;
  return -ENOSYS;
}

/* ---- the machine ---- */

struct machine {
  int origin_fd, storage_fd;
  struct cow_storage *storage;
  struct cow_arena arena;
  struct cow_ledger *ledger;
  struct cow_engine *engine;
  struct cow_recovery found;
  unsigned lanes; /* 0: one */
  cow_free_space_fn free_space;
};

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static int file_of(const char *name, uint64_t bytes) {
  int fd = memfd_create(name, MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
  return fd;
}

static void format(int storage_fd, uint32_t slots) {
  struct umbra_error err = {0};
  struct cow_disk_super super = {.volume_bytes = VOLUME_BYTES,
                                 .chunk_bytes = CHUNK,
                                 .slots_max = slots,
                                 .holes_max = HOLES,
                                 .next_number = 1,
                                 .seed = UINT64_C(0x1234567887654321)};
  if (cow_ledger_format(storage_fd, &super, &err) < 0)
    fail_msg("%s", err.message);
}

static void start_programs(struct machine *m) {
  struct umbra_error err = {0};
  uint32_t slots = m->arena.header->slots_max;
  struct cow_storage_options so = {.fd = m->storage_fd,
                                   .chunk_bytes = CHUNK,
                                   .limit_bytes = (uint64_t)slots * CHUNK,
                                   .start_bytes = cow_disk_slots_start(slots + HOLES)};
  assert_int_equal(cow_storage_open(&so, &m->storage, &err), 0);
  if (cow_ledger_open(m->storage_fd, m->origin_fd, &m->arena, &m->ledger, &err) < 0)
    fail_msg("%s", err.message);
  struct cow_engine_options eo = {.origin_fd = m->origin_fd,
                                  .storage = m->storage,
                                  .arena = &m->arena,
                                  .ledger = m->ledger,
                                  .lanes = m->lanes ? m->lanes : 1,
                                  .free_space = m->free_space};
  if (cow_engine_open(&eo, &m->engine, &err) < 0)
    fail_msg("%s", err.message);
}

static void stop_programs(struct machine *m) {
  cow_engine_close(m->engine);
  cow_ledger_close(m->ledger);
  cow_storage_close(m->storage);
}

static void attach(struct machine *m) {
  struct umbra_error err = {0};
  if (cow_recover(m->storage_fd, m->origin_fd, VOLUME_BYTES, "", &m->arena, &m->found, &err) < 0)
    fail_msg("%s", err.message);
  start_programs(m);
}

static void leave(struct machine *m) {
  stop_programs(m);
  cow_arena_done(&m->arena);
}

/* ---- what is free ---- */

/* As in a filesystem the volume itself says it: its first sector, which is written often, has a word that tells. */
static bool word_says_free(uint64_t word, uint64_t chunk) {
  return chunk >= 8 && (word * UINT64_C(0x9e3779b97f4a7c15) >> (chunk % 60) & 7) != 0;
}

static bool is_free(const unsigned char *volume, uint64_t chunk) {
  uint64_t word;
  memcpy(&word, volume, sizeof word);
  return word_says_free(word, chunk);
}

static int visit_free(const struct free_space_source *source, free_space_visit_fn visit, void *context,
                      struct umbra_error *err) {
  (void)err;
  uint64_t word;
  int r = source->read(source->context, &word, sizeof word, 0);
  for (uint64_t c = 0; c < VOLUME_BYTES / CHUNK && r == 0; c++)
    if (word_says_free(word, c))
      r = visit(context, c * CHUNK, CHUNK);
  return r;
}

/* ---- the model ---- */

struct shadow {
  char id[37];
  unsigned char *bytes;
  bool kept;
  /* Positions: it may be there from…, must be from…, may be gone (or dropped) from…, must be gone from… */
  size_t made, settled, ending, gone;
  bool dropped;
};

struct run {
  struct machine machine;
  uint64_t random, sequence;
  unsigned char *live, *scratch;
  struct shadow shadows[SHADOWS_MAX];
  size_t shadow_count;
  uint64_t written[SECTORS]; /* the last sequence of each sector */
  struct flushed {
    size_t position;
    uint64_t sectors[SECTORS];
  } * flushes; /* what each flush of the volume promised */
  size_t flush_count;
  uint64_t left_out;
};

static void stop_run(struct run *r) {
  struct cow_engine_status status;
  cow_engine_status(r->machine.engine, &status);
  r->left_out += status.chunks_left_out;
  stop_programs(&r->machine);
}

static void leave_run(struct run *r) {
  stop_run(r);
  cow_arena_done(&r->machine.arena);
}

/* Each sector says which write was its last. */
static void step_write(struct run *r) {
  uint64_t first = next_random(&r->random) % SECTORS, count = 1 + next_random(&r->random) % 20;
  if (next_random(&r->random) % 4 == 0)
    first = next_random(&r->random) % 16; /* the witness's sectors are written often enough to matter */
  count = count < SECTORS - first ? count : SECTORS - first;
  bool zero = next_random(&r->random) % 16 == 0;
  for (uint64_t s = first; s < first + count; s++) {
    unsigned char *at = r->live + s * 512;
    memset(at, 0, 512);
    r->written[s] = zero ? 0 : ++r->sequence;
    for (unsigned i = 0; !zero && i < 512; i += 8)
      memcpy(at + i, &r->sequence, 8);
  }
  int result = zero ? cow_engine_zero(r->machine.engine, first * 512, count * 512)
                    : cow_engine_write(r->machine.engine, r->live + first * 512, count * 512, first * 512);
  assert_int_equal(result, 0);
}

static void step_flush(struct run *r) {
  uint64_t promised[SECTORS];
  memcpy(promised, r->written, sizeof promised);
  assert_int_equal(cow_engine_flush(r->machine.engine), 0);
  r->flushes = realloc(r->flushes, (r->flush_count + 1) * sizeof *r->flushes);
  r->flushes[r->flush_count].position = position_now();
  memcpy(r->flushes[r->flush_count++].sectors, promised, sizeof promised);
}

static void step_make(struct run *r) {
  struct umbra_error err = {0};
  if (r->shadow_count == SHADOWS_MAX)
    return;
  struct shadow *s = &r->shadows[r->shadow_count++];
  *s = (struct shadow){.kept = next_random(&r->random) % 4 != 0, .bytes = malloc(VOLUME_BYTES)};
  s->settled = s->ending = s->gone = SIZE_MAX;
  (void)snprintf(s->id, sizeof s->id, "shadow-%zu", r->shadow_count);
  assert_int_equal(cow_engine_begin(r->machine.engine, s->id, &err), 0);
  if (s->kept)
    assert_int_equal(cow_engine_keep(r->machine.engine, s->id, &err), 0);
  memcpy(s->bytes, r->live, VOLUME_BYTES);
  s->made = position_now();
  assert_int_equal(cow_engine_commit(r->machine.engine, s->id, true), 0);
  if (next_random(&r->random) % 4 != 0)
    cow_engine_wait_free_known(r->machine.engine);
  if (!s->kept)
    return;
  /* The volume goes on in between. */
  for (unsigned i = next_random(&r->random) % 4; i > 0; i--)
    step_write(r);
  int result = cow_engine_settle(r->machine.engine, s->id, &err);
  if (result == 0)
    s->settled = position_now();
  else
    assert_int_equal(result, -EIO); /* dropped meanwhile */
}

static void delete_one(struct run *r, struct shadow *s) {
  struct umbra_error err = {0};
  size_t at = position_now();
  s->ending = s->ending < at ? s->ending : at;
  assert_int_equal(cow_engine_delete(r->machine.engine, s->id, false, &err), 0);
  s->gone = position_now();
  if (next_random(&r->random) % 2)
    cow_engine_wait_reclaimed(r->machine.engine);
}

static void step_delete(struct run *r) {
  struct shadow *s = r->shadow_count > 0 ? &r->shadows[next_random(&r->random) % r->shadow_count] : NULL;
  if (s && s->gone == SIZE_MAX)
    delete_one(r, s);
}

/* What is left out is what all who are live had free: of many that is little. */
static void keep_few(struct run *r) {
  size_t live = 0;
  for (size_t i = r->shadow_count; i > 0 && r->machine.free_space; i--)
    if (r->shadows[i - 1].gone == SIZE_MAX && ++live > 2)
      delete_one(r, &r->shadows[i - 1]);
}

/* Only the server dies: the arena stays. */
static void step_restart(struct run *r) {
  stop_run(r);
  start_programs(&r->machine);
}

/* The server dies when what it copied out is durable, and neither published nor overwritten. */
static void step_die(struct run *r) {
  struct cow_engine *e = r->machine.engine;
  struct cow_arena *a = &r->machine.arena;
  static const enum cow_region kept[] = {COW_REGION_KEYS, COW_REGION_COVERED_A, COW_REGION_COVERED_B};
  unsigned char *before[3];
  for (unsigned i = 0; i < 3; i++) {
    before[i] = malloc(a->bytes[kept[i]]);
    memcpy(before[i], a->at[kept[i]], a->bytes[kept[i]]);
  }
  struct cow_lane *lane = &e->lanes[0];
  uint64_t first = next_random(&r->random) % (VOLUME_BYTES / CHUNK - 8);
  lane->ranges[0] = (struct cow_range){.first = first, .last = first + next_random(&r->random) % 8};
  pthread_rwlock_rdlock(&e->epoch);
  assert_int_equal(cow_cover(e, lane, 1), 0);
  pthread_rwlock_unlock(&e->epoch);
  stop_run(r);
  for (unsigned i = 0; i < 3; i++) {
    memcpy(a->at[kept[i]], before[i], a->bytes[kept[i]]);
    free(before[i]);
  }
  start_programs(&r->machine);
}

/* Both programs die, the machine goes on: as a crash in which nothing is lost. */
static void step_reattach(struct run *r) {
  if (next_random(&r->random) % 2)
    assert_int_equal(cow_ledger_finish(r->machine.ledger), 0);
  leave_run(r);
  attach(&r->machine);
  for (size_t i = 0; i < r->shadow_count; i++)
    if (!r->shadows[i].kept && r->shadows[i].gone == SIZE_MAX)
      r->shadows[i].ending = r->shadows[i].gone = 0;
}

/* Who was dropped in the step that began at `before`. */
static void note_dropped(struct run *r, size_t before) {
  static struct cow_shadow_info info[COW_SHADOWS_MAX];
  size_t count = cow_engine_list(r->machine.engine, info, COW_SHADOWS_MAX);
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < r->shadow_count && info[i].state == COW_SHADOW_DROPPED; j++)
      if (strcmp(info[i].id, r->shadows[j].id) == 0 && !r->shadows[j].dropped) {
        r->shadows[j].dropped = true;
        r->shadows[j].ending = before;
      }
}

static void begin_work(struct run *r, uint32_t slots) {
  r->live = calloc(1, VOLUME_BYTES);
  r->scratch = malloc(VOLUME_BYTES);
  r->machine.origin_fd = file_of("origin", VOLUME_BYTES);
  r->machine.storage_fd = file_of("storage", 0);
  format(r->machine.storage_fd, slots);
  assert_int_equal(
      ftruncate(r->machine.storage_fd, (off_t)(cow_disk_slots_start(slots + HOLES) + (uint64_t)slots * CHUNK)), 0);
  record.count = record.position = 0;
  record.fds[ORIGIN] = r->machine.origin_fd;
  record.fds[STORAGE] = r->machine.storage_fd;
  record.on = true;
  attach(&r->machine);
}

static void end_work(struct run *r) {
  leave_run(r);
  record.on = record.storage_fails = false;
  record.fds[ORIGIN] = record.fds[STORAGE] = -1;
}

static void work(struct run *r, uint32_t slots) {
  begin_work(r, slots);
  for (unsigned step = 0; step < STEPS; step++) {
    size_t before = position_now();
    unsigned dice = next_random(&r->random) % 100;
    if (dice < 8) {
      keep_few(r);
      step_make(r);
    } else if (dice < 14)
      step_delete(r);
    else if (dice < 18)
      step_flush(r);
    else if (dice < 20)
      step_restart(r);
    else if (dice < 21)
      step_reattach(r);
    else if (dice < 24 && slots >= SLOTS_PLENTY)
      step_die(r);
    else
      step_write(r);
    note_dropped(r, before);
  }
  end_work(r);
}

/*
 * Several threads write at once, so that commits wait for each other's flushes; each has sectors of its own,
 * interleaved, so that they share chunks. Between their turns they stand still, and a shadow copy is made.
 */
enum { THREADS = 4, TURNS = 12, TURN_WRITES = 25 };

struct writer {
  struct run *run;
  unsigned index;
  uint64_t random;
};

static void *write_turn(void *context) {
  struct writer *w = context;
  struct run *r = w->run;
  for (unsigned i = 0; i < TURN_WRITES; i++) {
    uint64_t sector = next_random(&w->random) % (SECTORS / THREADS) * THREADS + w->index;
    unsigned char *at = r->live + sector * 512;
    for (unsigned b = 0; b < 512; b += 8) {
      uint64_t value = next_random(&w->random) | 1;
      memcpy(at + b, &value, 8);
    }
    assert_int_equal(cow_engine_write(r->machine.engine, at, 512, sector * 512), 0);
  }
  return NULL;
}

static void work_together(struct run *r, uint32_t slots) {
  struct writer writers[THREADS];
  r->machine.lanes = THREADS + 1;
  begin_work(r, slots);
  for (unsigned i = 0; i < THREADS; i++)
    writers[i] = (struct writer){.run = r, .index = i, .random = next_random(&r->random)};
  for (unsigned turn = 0; turn < TURNS; turn++) {
    pthread_t threads[THREADS];
    step_make(r);
    if (turn % 3 == 2)
      step_delete(r);
    for (unsigned i = 0; i < THREADS; i++)
      assert_int_equal(pthread_create(&threads[i], NULL, write_turn, &writers[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
      assert_int_equal(pthread_join(threads[i], NULL), 0);
  }
  end_work(r);
}

/* ---- the points ---- */

enum loss { LOSE_NOTHING, LOSE_ALL, LOSE_ANY, LOSSES };

struct disks {
  int fds[DISKS];
  unsigned char *at[DISKS], *before; /* before: the origin as the crash left it */
  uint64_t bytes[DISKS];
};

static void make_disks(struct disks *d, uint32_t slots) {
  d->bytes[ORIGIN] = VOLUME_BYTES;
  d->bytes[STORAGE] = cow_disk_slots_start(slots + HOLES) + (uint64_t)slots * CHUNK;
  for (int i = 0; i < DISKS; i++) {
    d->fds[i] = file_of("disk", d->bytes[i]);
    d->at[i] = mmap(NULL, d->bytes[i], PROT_READ | PROT_WRITE, MAP_SHARED, d->fds[i], 0);
    assert_true(d->at[i] != MAP_FAILED);
  }
  d->before = malloc(VOLUME_BYTES);
}

static void lose_disks(struct disks *d) {
  for (int i = 0; i < DISKS; i++) {
    (void)munmap(d->at[i], d->bytes[i]);
    close(d->fds[i]);
  }
  free(d->before);
}

static void apply(struct disks *d, const struct event *e, enum loss loss, uint64_t *random) {
  if (loss == LOSE_ALL)
    return;
  for (uint64_t at = 0; at < e->length; at += 512)
    if (loss == LOSE_NOTHING || next_random(random) % 2)
      memcpy(d->at[e->disk] + e->offset + at, e->data + at, 512);
}

/* The disks at this position, from those that were formatted. */
static void crash(struct disks *d, const struct disks *new, size_t position, enum loss loss, uint64_t *random) {
  for (int i = 0; i < DISKS; i++)
    memcpy(d->at[i], new->at[i], d->bytes[i]);
  for (size_t i = 0; i < record.count && record.events[i].begun <= position; i++) {
    const struct event *e = &record.events[i];
    if (!e->flush)
      apply(d, e,
            e->durable <= position                             ? LOSE_NOTHING
            : loss == LOSE_ANY && next_random(random) % 3 == 0 ? LOSE_ALL
                                                               : loss,
            random);
  }
  memcpy(d->before, d->at[ORIGIN], VOLUME_BYTES);
}

static void check_origin(const struct run *r, const struct disks *d, size_t position) {
  assert_memory_equal(d->before, d->at[ORIGIN], VOLUME_BYTES);
  const struct flushed *last = NULL;
  for (size_t i = 0; i < r->flush_count && r->flushes[i].position <= position; i++)
    last = &r->flushes[i];
  for (size_t s = 0; last && s < SECTORS; s++) {
    uint64_t value;
    memcpy(&value, d->at[ORIGIN] + s * 512, 8);
    if (value != 0 && value < last->sectors[s])
      fail_msg("sector %zu lost write %llu, which was flushed", s, (unsigned long long)last->sectors[s]);
  }
}

static int read_whole(struct cow_engine *e, const char *id, unsigned char *to) {
  struct umbra_error err = {0};
  struct cow_shadow *s;
  int r = cow_shadow_open(e, id, &s, &err);
  if (r < 0)
    return r;
  r = cow_shadow_read(s, to, VOLUME_BYTES, 0);
  cow_shadow_close(s);
  return r;
}

/* Where r->scratch is not what the shadow copy should be; VOLUME_BYTES: nowhere. What was free may read as zeros. */
static size_t find_wrong(const struct run *r, const struct shadow *s) {
  static const unsigned char zeros[CHUNK];
  for (size_t at = 0; at < VOLUME_BYTES; at += CHUNK) {
    size_t bytes = VOLUME_BYTES - at < CHUNK ? VOLUME_BYTES - at : CHUNK;
    if (memcmp(r->scratch + at, s->bytes + at, bytes) != 0 &&
        (!r->machine.free_space || !is_free(s->bytes, at / CHUNK) || memcmp(r->scratch + at, zeros, bytes) != 0))
      return at;
  }
  return VOLUME_BYTES;
}

static void check_shadow(const struct run *r, const struct machine *m, const struct shadow *s, size_t position) {
  int result = read_whole(m->engine, s->id, r->scratch);
  bool must = s->kept && s->settled <= position && position < s->ending;
  bool may = s->kept && s->made <= position && position < s->gone;
  if (result == 0 && !may)
    fail_msg("position %zu: %s is there", position, s->id);
  if (result < 0 && must)
    fail_msg("position %zu: %s is gone: %d %s", position, s->id, result, m->found.why_dropped);
  if (result < 0)
    return;
  size_t wrong = find_wrong(r, s);
  if (wrong < VOLUME_BYTES)
    fail_msg("position %zu: %s differs in the chunk at byte %zu", position, s->id, wrong);
}

static void check_all(const struct run *r, const struct machine *m, size_t position) {
  for (size_t i = 0; i < r->shadow_count; i++)
    check_shadow(r, m, &r->shadows[i], position);
  assert_null(cow_engine_check(m->engine));
}

/* Recovered, it goes on, and what is there survives that, too. */
static void go_on(const struct run *r, struct machine *m, size_t position, uint64_t *random) {
  static unsigned char bytes[8 * 512];
  memset(bytes, 0xee, sizeof bytes);
  for (unsigned i = 0; i < 20; i++)
    assert_int_equal(cow_engine_write(m->engine, bytes, sizeof bytes, next_random(random) % (SECTORS - 8) * 512), 0);
  /* Slots may run out for those of the present: only that all who are there are right is known. */
  for (size_t i = 0; i < r->shadow_count; i++) {
    const struct shadow *s = &r->shadows[i];
    if (read_whole(m->engine, s->id, r->scratch) == 0) {
      assert_true(s->made <= position && position < s->gone);
      assert_int_equal(find_wrong(r, s), VOLUME_BYTES);
    }
  }
}

static void check_point(struct run *r, struct disks *d, const struct disks *new, size_t position, enum loss loss) {
  struct machine m = {
      .origin_fd = d->fds[ORIGIN], .storage_fd = d->fds[STORAGE], .free_space = r->machine.free_space};
  crash(d, new, position, loss, &r->random);
  attach(&m);
  check_origin(r, d, position);
  check_all(r, &m, position);
  leave(&m);
  if (next_random(&r->random) % 4 != 0)
    return;
  attach(&m); /* once more: the first changed nothing that counts */
  check_all(r, &m, position);
  go_on(r, &m, position, &r->random);
  leave(&m);
  attach(&m);
  for (size_t i = 0; i < r->shadow_count; i++)
    if (read_whole(m.engine, r->shadows[i].id, r->scratch) == 0)
      assert_int_equal(find_wrong(r, &r->shadows[i]), VOLUME_BYTES);
  leave(&m);
}

static void forget(struct run *r) {
  for (size_t i = 0; i < r->shadow_count; i++)
    free(r->shadows[i].bytes);
  for (size_t i = 0; i < record.count; i++)
    free(record.events[i].data);
  free(r->flushes);
  free(r->live);
  free(r->scratch);
  close(r->machine.origin_fd);
  close(r->machine.storage_fd);
}

static uint64_t number_of(const char *name, uint64_t otherwise) {
  const char *given = getenv(name);
  return given ? strtoull(given, NULL, 10) : otherwise;
}

static void survive(uint32_t slots, void (*do_work)(struct run *r, uint32_t slots), cow_free_space_fn free_space) {
  uint64_t seed = number_of("UMBRA_SEED", (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid());
  size_t wanted = number_of("UMBRA_POINTS", POINTS_DEFAULT) / 6, points = 0, settled = 0, dropped = 0;
  uint64_t left_out = 0;
  print_message("UMBRA_SEED=%llu\n", (unsigned long long)seed);
  for (uint64_t round = 1; points < wanted || (free_space && left_out <= LEFT_OUT_MIN && round < 40); round++) {
    static struct run r;
    struct disks d, new;
    r = (struct run){.random = seed * round * 2 + 1, .machine.free_space = free_space};
    make_disks(&d, slots);
    make_disks(&new, slots);
    format(new.fds[STORAGE], slots);
    assert_int_equal(ftruncate(new.fds[STORAGE], (off_t) new.bytes[STORAGE]), 0);
    do_work(&r, slots);
    left_out += r.left_out;
    for (size_t i = 0; i < r.shadow_count; i++) {
      settled += r.shadows[i].settled != SIZE_MAX;
      dropped += r.shadows[i].dropped;
    }
    /* Every position of a round once, in one way or another, up to what is wanted in all. */
    size_t stride = record.position / (wanted / 2 + 1) + 1;
    for (size_t p = next_random(&r.random) % stride; p <= record.position && points < wanted; p += stride, points++)
      check_point(&r, &d, &new, p, (enum loss)(next_random(&r.random) % LOSSES));
    forget(&r);
    lose_disks(&d);
    lose_disks(&new);
  }
  print_message("%zu points, %zu persistent shadow copies, %zu dropped, %llu chunks left out\n", points, settled,
                dropped, (unsigned long long)left_out);
  assert_true(points >= wanted && settled > 10);
  assert_int_equal(left_out > LEFT_OUT_MIN, free_space != NULL);
}

static void survives_loss_of_power(void **state) {
  (void)state;
  survive(SLOTS_PLENTY, work, NULL);
}
static void survives_it_when_full(void **state) {
  (void)state;
  survive(SLOTS_FEW, work, NULL);
}
static void survives_it_when_many_write(void **state) {
  (void)state;
  survive(SLOTS_PLENTY, work_together, NULL);
}
static void survives_it_with_holes(void **state) {
  (void)state;
  survive(SLOTS_PLENTY, work, visit_free);
}
static void survives_it_with_holes_when_full(void **state) {
  (void)state;
  survive(SLOTS_FEW_BESIDE_HOLES, work, visit_free);
}
static void survives_it_with_holes_when_many_write(void **state) {
  (void)state;
  survive(SLOTS_PLENTY, work_together, visit_free);
}

/* Storage that fails ends persistence, not the volume; what failed is remembered by the next server. */
static void failing_storage_ends_it(void **state) {
  (void)state;
  static struct run r;
  struct umbra_error err = {0};
  r = (struct run){.random = 1};
  begin_work(&r, SLOTS_PLENTY);
  struct cow_engine *e = r.machine.engine;
  assert_int_equal(cow_engine_begin(e, "kept", &err), 0);
  assert_int_equal(cow_engine_keep(e, "kept", &err), 0);
  assert_int_equal(cow_engine_commit(e, "kept", false), 0);
  assert_int_equal(cow_engine_settle(e, "kept", &err), 0);
  memset(r.live, 1, CHUNK);
  assert_int_equal(cow_engine_write(e, r.live, CHUNK, 0), 0);
  assert_int_equal(read_whole(e, "kept", r.scratch), 0);
  record.storage_fails = true;
  /* It is there as long as nothing is overwritten that it needs; it cannot be deleted, since that could not be told.
   */
  assert_int_equal(cow_engine_write(e, r.live, CHUNK, 0), 0);
  assert_int_equal(read_whole(e, "kept", r.scratch), 0);
  assert_int_equal(cow_engine_delete(e, "kept", false, &err), -EIO);
  assert_int_equal(cow_engine_write(e, r.live, CHUNK, 5 * CHUNK), 0);
  assert_int_equal(read_whole(e, "kept", r.scratch), -EIO);
  stop_programs(&r.machine);
  record.storage_fails = false;
  start_programs(&r.machine);
  e = r.machine.engine;
  assert_int_equal(cow_engine_begin(e, "more", &err), 0);
  assert_int_equal(cow_engine_keep(e, "more", &err), -EIO);
  assert_int_equal(cow_engine_commit(e, "more", false), 0);
  memset(r.live, 2, CHUNK);
  assert_int_equal(cow_engine_write(e, r.live, CHUNK, 0), 0);
  assert_int_equal(read_whole(e, "more", r.scratch), 0);
  assert_int_equal(r.scratch[0], 1);
  leave(&r.machine);
  /* Chunk 0, which the witness looks at, was changed when that could not be told: nothing of it is believed. */
  attach(&r.machine);
  assert_int_equal(r.machine.found.live, 0);
  assert_string_equal(r.machine.found.why_dropped, "the volume was changed while it was not attached");
  end_work(&r);
  forget(&r);
}

/* One that is not settled can be; one without a ledger cannot be kept. */
static void order_is_kept(void **state) {
  (void)state;
  static struct run r;
  struct umbra_error err = {0};
  r = (struct run){.random = 1};
  begin_work(&r, SLOTS_PLENTY);
  struct cow_engine *e = r.machine.engine;
  assert_int_equal(cow_engine_keep(e, "one", &err), -EINVAL);
  assert_int_equal(cow_engine_begin(e, "one", &err), 0);
  assert_int_equal(cow_engine_settle(e, "one", &err), -EINVAL);
  assert_int_equal(cow_engine_commit(e, "one", false), 0);
  assert_int_equal(cow_engine_keep(e, "one", &err), -EINVAL);
  assert_int_equal(cow_engine_settle(e, "one", &err), -EINVAL);
  assert_int_equal(cow_engine_settle(e, "two", &err), -ENOENT);
  assert_int_equal(cow_engine_begin(e, "two", &err), 0);
  assert_int_equal(cow_engine_keep(e, "two", &err), 0);
  assert_int_equal(cow_engine_commit(e, "two", false), 0);
  assert_int_equal(cow_engine_settle(e, "two", &err), 0);
  assert_int_equal(cow_engine_settle(e, "two", &err), 0);
  struct cow_engine_status status;
  cow_engine_status(e, &status);
  assert_int_equal(status.shadows, 2);
  assert_int_equal(status.kept, 1);
  end_work(&r);
  forget(&r);
}

/* Large storage in which nothing is takes no memory for what could be. */
static void empty_storage_is_cheap(void **state) {
  (void)state;
  struct umbra_error err = {0};
  struct cow_disk_super super = {
      .volume_bytes = UINT64_C(4) << 30, .chunk_bytes = CHUNK, .slots_max = 1 << 18, .next_number = 1, .seed = 1};
  const struct cow_geometry g = {.volume_bytes = super.volume_bytes, .chunk_bytes = CHUNK};
  super.holes_max = cow_disk_holes_for(&g, super.slots_max);
  assert_int_equal(super.holes_max, COW_DISK_HOLES_PER_SLOT << 18);
  int fd = file_of("storage", 0);
  assert_int_equal(cow_ledger_format(fd, &super, &err), 0);
  struct cow_arena arena;
  struct bitmap clear;
  struct cow_recovery found;
  assert_int_equal(cow_recovery_look(fd, -1, VOLUME_BYTES, &arena, &clear, &found, &err), -EXDEV);
  bitmap_done(&clear);
  assert_int_equal(cow_recovery_look(fd, -1, 0, &arena, &clear, &found, &err), 0);
  assert_true(cow_arena_memory_bytes(&arena) < sizeof(struct cow_arena_header) + 65536);
  bitmap_done(&clear);
  cow_arena_done(&arena);
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(survives_loss_of_power),           cmocka_unit_test(survives_it_when_full),
      cmocka_unit_test(survives_it_when_many_write),      cmocka_unit_test(survives_it_with_holes),
      cmocka_unit_test(survives_it_with_holes_when_full), cmocka_unit_test(survives_it_with_holes_when_many_write),
      cmocka_unit_test(failing_storage_ends_it),          cmocka_unit_test(order_is_kept),
      cmocka_unit_test(empty_storage_is_cheap),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
