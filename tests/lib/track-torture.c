/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tries to make tracking lose a write.
 *
 *     track-torture DEVICE ROUNDS SPELLS [sturdy] [no-discard]
 *
 * Threads write to DEVICE (all of it is overwritten) directly and at random: single sectors to a megabyte, zeroing
 * and discards among them.  Meanwhile a copy is kept up to date in memory by rounds of taking marks and reading what
 * is marked.  Then the writers are stopped, a last round is taken, and the copy must be the device.
 *
 * Then the other promise, in SPELLS: the writers go on, and what is read without a mark before or after the read must
 * still be the copy. Last, the tracking is pinned, dropped, written past and opened again, and the copy brought up to
 * date from it.
 *
 * Prints "rounds N granules-copied N unmarked-reads N"; status 0, or 1 with what was lost.
 */
#include "common/bitmap.h"
#include "common/fd.h"
#include "common/id.h"
#include "track/track.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WRITERS = 4, WRITE_BYTES_MAX = 1 << 20, GRANULE_BYTES = 4096, READS = 200 };

static const char *device;
static uint64_t size_bytes;
static int sector_bytes;
static unsigned char *copy;
static int device_fd;
static atomic_bool paused, finished;
static bool sturdy, without_discards;
static atomic_int writers_at_rest;
static atomic_ulong writes_done;

__attribute__((noreturn)) static void die(const char *what) {
  (void)fprintf(stderr, "track-torture: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static void write_once(int fd, unsigned char *buffer, uint64_t *random) {
  uint64_t sectors = size_bytes / (unsigned)sector_bytes;
  unsigned kind = next_random(random) % 32;
  uint64_t bytes_max = kind < 24 ? 16384 : WRITE_BYTES_MAX;
  uint64_t count = 1 + next_random(random) % (bytes_max / (unsigned)sector_bytes);
  uint64_t first = next_random(random) % (sectors - count);
  uint64_t range[2] = {first * (unsigned)sector_bytes, count * (unsigned)sector_bytes};
  if (kind == 30) {
    if (ioctl(fd, BLKZEROOUT, range) < 0)
      die("BLKZEROOUT");
  } else if (kind == 31) {
    if (!without_discards && ioctl(fd, BLKDISCARD, range) < 0 && errno != EOPNOTSUPP)
      die("BLKDISCARD");
  } else {
    memset(buffer, (int)next_random(random), range[1]);
    memcpy(buffer, random, sizeof *random);
    if (pwrite(fd, buffer, range[1], (off_t)range[0]) != (ssize_t)range[1])
      die("writing");
  }
  atomic_fetch_add(&writes_done, 1);
}

static void *writer(void *context) {
  uint64_t random = 0x9e3779b97f4a7c15 * ((uintptr_t)context + 1);
  void *buffer;
  int fd = open(device, O_RDWR | O_DIRECT | O_CLOEXEC);
  if (fd < 0 || posix_memalign(&buffer, GRANULE_BYTES, WRITE_BYTES_MAX) != 0)
    die("starting a writer");
  while (!atomic_load(&finished)) {
    if (atomic_load(&paused)) {
      atomic_fetch_add(&writers_at_rest, 1);
      while (atomic_load(&paused))
        (void)usleep(200);
      atomic_fetch_sub(&writers_at_rest, 1);
    } else
      write_once(fd, buffer, &random);
  }
  free(buffer);
  (void)close(fd);
  return NULL;
}

static void pause_writers(void) {
  atomic_store(&paused, true);
  while (atomic_load(&writers_at_rest) < WRITERS)
    (void)usleep(200);
}

static void resume_writers(void) {
  atomic_store(&paused, false);
  while (atomic_load(&writers_at_rest) > 0)
    (void)usleep(200);
}

static uint64_t granule_length(uint64_t granule) {
  uint64_t left = size_bytes - granule * GRANULE_BYTES;
  return left < GRANULE_BYTES ? left : GRANULE_BYTES;
}

static uint64_t copy_round(struct track *t, struct bitmap *marks) {
  struct umbra_error err = {0};
  uint64_t at = 0, first, count, copied = 0;
  bitmap_clear_all(marks);
  if (track_take(t, marks, NULL, &err) < 0)
    die(err.message);
  for (; bitmap_next_run(marks, at, 256, &first, &count); at = first + count, copied += count) {
    uint64_t end = (first + count - 1) * GRANULE_BYTES + granule_length(first + count - 1);
    if (fd_pread_all(device_fd, copy + first * GRANULE_BYTES, end - first * GRANULE_BYTES, first * GRANULE_BYTES) < 0)
      die("reading");
  }
  return copied;
}

static void compare(const char *when) {
  void *buffer;
  if (posix_memalign(&buffer, GRANULE_BYTES, GRANULE_BYTES) != 0)
    die("memory");
  for (uint64_t g = 0; g * GRANULE_BYTES < size_bytes; g++) {
    if (fd_pread_all(device_fd, buffer, granule_length(g), g * GRANULE_BYTES) < 0)
      die("reading");
    if (memcmp(buffer, copy + g * GRANULE_BYTES, granule_length(g)) != 0) {
      (void)fprintf(stderr, "track-torture: granule %" PRIu64 " was lost %s\n", g, when);
      exit(1);
    }
  }
  free(buffer);
}

/* T5: a read with no mark before and after it shows what was there at the take before. */
static uint64_t read_unmarked(const struct track *t, uint64_t granules) {
  static uint64_t random = 88172645463325252ULL;
  uint64_t unmarked = 0;
  void *buffer;
  if (posix_memalign(&buffer, GRANULE_BYTES, GRANULE_BYTES) != 0)
    die("memory");
  for (int i = 0; i < READS; i++) {
    uint64_t g = next_random(&random) % granules;
    if (track_marked(t, g))
      continue;
    if (fd_pread_all(device_fd, buffer, granule_length(g), g * GRANULE_BYTES) < 0)
      die("reading");
    if (track_marked(t, g))
      continue;
    unmarked++;
    if (memcmp(buffer, copy + g * GRANULE_BYTES, granule_length(g)) != 0) {
      (void)fprintf(stderr, "track-torture: granule %" PRIu64 " changed without a mark\n", g);
      exit(1);
    }
  }
  free(buffer);
  return unmarked;
}

static struct track *pin_and_reopen(struct track *t) {
  struct umbra_error err = {0};
  char id[ID_TEXT_BYTES];
  id_new(id);
  uint64_t generation = track_generation(t);
  if (track_pin(t, id, &err) < 0)
    die(err.message);
  struct track *second = NULL;
  if (track_open_pinned(id, generation, device_fd, &second, &err) != -EBUSY)
    die("pinned tracking was opened twice");
  t = track_stop(t);
  if (track_open_pinned(id, generation + 1, device_fd, &second, &err) != -ESTALE)
    die("pinned tracking of another generation was opened");
  unsigned long before = atomic_load(&writes_done);
  resume_writers();
  while (atomic_load(&writes_done) < before + 200)
    (void)usleep(200);
  pause_writers();
  if (track_open_pinned(id, generation, device_fd, &t, &err) < 0)
    die(err.message);
  if (track_unpin(id, &err) < 0)
    die(err.message);
  return t;
}

int main(int argc, char **argv) {
  struct umbra_error err = {0};
  struct track *t = NULL;
  struct bitmap marks;
  pthread_t threads[WRITERS];
  if (argc < 4)
    return 2;
  for (int i = 4; i < argc; i++) {
    sturdy = sturdy || strcmp(argv[i], "sturdy") == 0;
    without_discards = without_discards || strcmp(argv[i], "no-discard") == 0;
  }
  device = argv[1];
  device_fd = open(device, O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (device_fd < 0 || ioctl(device_fd, BLKGETSIZE64, &size_bytes) < 0 ||
      ioctl(device_fd, BLKSSZGET, &sector_bytes) < 0)
    die(device);
  if (posix_memalign((void **)&copy, GRANULE_BYTES, size_bytes + GRANULE_BYTES) != 0)
    die("memory");
  for (uintptr_t i = 0; i < WRITERS; i++)
    if (pthread_create(&threads[i], NULL, writer, (void *)i) != 0)
      die("starting a writer");
  while (atomic_load(&writes_done) < 100)
    (void)usleep(200);
  if (track_start(device_fd, sturdy ? TRACK_STURDY : 0, &t, &err) < 0)
    die(err.message);
  uint64_t granules = track_granules(t), copied = 0, rounds = strtoull(argv[2], NULL, 10), unmarked = 0;
  if (track_granule_shift(t) != 12 || bitmap_init(&marks, granules) < 0)
    die("granules");
  if (fd_pread_all(device_fd, copy, size_bytes, 0) < 0)
    die("reading");
  for (uint64_t i = 0; i < rounds; i++)
    copied += copy_round(t, &marks);
  pause_writers();
  copied += copy_round(t, &marks);
  compare("in rounds");
  /* Many short spells: the marks soon cover everything. */
  for (int i = 0; i < atoi(argv[3]); i++) {
    resume_writers();
    unmarked += read_unmarked(t, granules);
    pause_writers();
    copied += copy_round(t, &marks);
  }
  compare("after unmarked reads");
  t = pin_and_reopen(t);
  copied += copy_round(t, &marks);
  compare("while pinned");
  track_stop(t);
  atomic_store(&finished, true);
  atomic_store(&paused, false);
  for (int i = 0; i < WRITERS; i++)
    (void)pthread_join(threads[i], NULL);
  bitmap_done(&marks);
  free(copy);
  (void)printf("rounds %" PRIu64 " granules-copied %" PRIu64 " unmarked-reads %" PRIu64 "\n", rounds, copied,
               unmarked);
  return copied > 0 && unmarked > 0 ? 0 : 1;
}
