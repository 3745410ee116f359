/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tracking as a process uses it: loading and attaching the program, proving that it is live, taking the marks, and
 * telling honestly when something may have gone unseen.  Outliving the process is in pin.c.
 *
 * Marks are taken word by word with an atomic exchange, against the program's atomic or: a mark is in the old value
 * or in the new one, never in neither (T3).
 */
#include "track/track.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "track/internal.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <track.skel.h>
#include <unistd.h>

enum { SECTOR_BYTES = 512, PROBE_BYTES = 4096, PROBES_MAX = 8, IN_FLIGHT_POLL_MS = 2 };

__attribute__((format(printf, 2, 0))) static int print_quietly(enum libbpf_print_level level, const char *format,
                                                               va_list arguments) {
  if (level > LIBBPF_WARN)
    return 0;
  char line[LOG_LINE_BYTES_MAX];
  (void)vsnprintf(line, sizeof line, format, arguments);
  line[strcspn(line, "\n")] = 0;
  log_debug("libbpf: %s", line);
  return 0;
}

struct track *track_new(void) {
  struct track *t = calloc(1, sizeof *t);
  if (!t)
    return NULL;
  t->marks_fd = t->state_fd = t->config_fd = t->bios_fd = t->lock_fd = -1;
  for (unsigned i = 0; i < TRACK_PROGRAMS_MAX; i++)
    t->link_fds[i] = t->program_fds[i] = -1;
  return t;
}

struct track *track_stop(struct track *t) {
  if (!t)
    return NULL;
  if (t->marks)
    (void)munmap((void *)t->marks, t->marks_bytes);
  if (t->state)
    (void)munmap((void *)t->state, t->state_bytes);
  for (unsigned i = 0; i < TRACK_PROGRAMS_MAX; i++) {
    cleanup_close_fd(&t->link_fds[i]);
    cleanup_close_fd(&t->program_fds[i]);
  }
  cleanup_close_fd(&t->marks_fd);
  cleanup_close_fd(&t->state_fd);
  cleanup_close_fd(&t->config_fd);
  cleanup_close_fd(&t->bios_fd);
  cleanup_close_fd(&t->lock_fd);
  free(t);
  return NULL;
}

static void cleanup_track(struct track **t) { track_stop(*t); }
static void cleanup_skeleton(struct track_bpf **skeleton) { track_bpf__destroy(*skeleton); }

int track_map(struct track *t, struct umbra_error *err) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  t->marks_bytes = ((t->granules + 63) / 64 * 8 + page - 1) & ~(page - 1);
  t->state_bytes = (sizeof(struct track_state) + page - 1) & ~(page - 1);
  void *at = mmap(NULL, t->marks_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, t->marks_fd, 0);
  if (at == MAP_FAILED)
    return error_errno(err, "mapping the marks of changed blocks");
  t->marks = at;
  at = mmap(NULL, t->state_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, t->state_fd, 0);
  if (at == MAP_FAILED)
    return error_errno(err, "mapping the state of block tracking");
  t->state = at;
  return 0;
}

static void set_granule(struct track *t) {
  t->bytes = (t->config.end_sector - t->config.start_sector) * SECTOR_BYTES;
  t->granule_shift = TRACK_GRANULE_SHIFT_MIN;
  while (t->bytes >> t->granule_shift >= UINT64_C(8) * TRACK_BITMAP_BYTES_MAX)
    t->granule_shift++;
  t->granules = (t->bytes + (UINT64_C(1) << t->granule_shift) - 1) >> t->granule_shift;
  t->config.granule_shift_sectors = t->granule_shift - 9;
}

static int configure(struct track *t, dev_t device, struct umbra_error *err) {
  struct track_place place;
  int r = track_place_find(device, &place, err);
  if (r < 0)
    return r;
  if (place.zoned)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "block device %u:%u is zoned, where a write lands is not known beforehand", major(device),
                     minor(device));
  if (place.sectors == 0)
    return error_set(err, -ENODATA, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "block device %u:%u is empty", major(device),
                     minor(device));
  t->config = (struct track_config){
      .layout = TRACK_LAYOUT,
      .disk_major = place.disk_major,
      .disk_first_minor = place.disk_first_minor,
      .bio_based = place.bio_based,
      .direct = getenv("UMBRA_TRACK_INDIRECT") == NULL,
      .start_sector = place.start_sector,
      .end_sector = place.start_sector + place.sectors,
  };
  if (getrandom(&t->config.generation, sizeof t->config.generation, 0) < 0)
    return error_errno(err, "drawing a number for block tracking");
  set_granule(t);
  return 0;
}

/* Loads one copy of the program; copies after the first use the first one's maps. */
static int load_copy(struct track *t, struct track_bpf **ret, struct umbra_error *err) {
  CLEANUP(cleanup_skeleton) struct track_bpf *skeleton = track_bpf__open();
  if (!skeleton)
    return error_errno(err, "opening the block tracking program");
  *(struct track_config *)skeleton->rodata = t->config;
  (void)bpf_program__set_autoload(skeleton->progs.track_request, !t->config.bio_based);
  (void)bpf_program__set_autoload(skeleton->progs.track_bio, t->config.bio_based);
  int r = bpf_map__set_max_entries(skeleton->maps.marks, (__u32)((t->granules + 63) / 64));
  if (r >= 0 && t->config.bio_based)
    r = bpf_map__set_max_entries(skeleton->maps.bios, TRACK_BIOS_IN_FLIGHT_MAX);
  if (r >= 0 && t->marks_fd >= 0) {
    r = bpf_map__reuse_fd(skeleton->maps.marks, t->marks_fd);
    if (r >= 0)
      r = bpf_map__reuse_fd(skeleton->maps.bss, t->state_fd);
    if (r >= 0)
      r = bpf_map__reuse_fd(skeleton->maps.bios, t->bios_fd);
  }
  if (r >= 0)
    r = track_bpf__load(skeleton);
  if (r < 0) {
    error_code(err, r, "loading the block tracking program into the kernel");
    if (r == -EPERM)
      return error_prefix(err, r, "needs root with CAP_BPF and CAP_PERFMON");
    if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
      return error_prefix(err, r, "this kernel has no BTF (/sys/kernel/btf/vmlinux)");
    return r;
  }
  *ret = take_pointer(skeleton);
  return 0;
}

static int keep_fd(int fd, int *ret, struct umbra_error *err) {
  *ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return *ret < 0 ? error_errno(err, "keeping a descriptor of block tracking") : 0;
}

static int attach_program(struct track *t, struct bpf_program *program, const char *tracepoint,
                          struct umbra_error *err) {
  assert(t->programs < TRACK_PROGRAMS_MAX);
  int r = keep_fd(bpf_program__fd(program), &t->program_fds[t->programs], err);
  if (r < 0)
    return r;
  int fd = bpf_raw_tracepoint_open(tracepoint, t->program_fds[t->programs]);
  if (fd < 0)
    return error_errno(err, "attaching block tracking to tracepoint '%s'", tracepoint);
  t->link_fds[t->programs++] = fd;
  return 0;
}

/* Completion first: from the first bio seen at queueing on, its completion is seen as well. */
static int load_and_attach_copy(struct track *t, struct umbra_error *err) {
  CLEANUP(cleanup_skeleton) struct track_bpf *skeleton = NULL;
  int r = load_copy(t, &skeleton, err);
  if (r < 0 && t->config.direct && t->marks_fd < 0) {
    t->config.direct = false; /* Linux before 6.2 */
    error_clear(err);
    r = load_copy(t, &skeleton, err);
  }
  if (r >= 0 && t->marks_fd < 0) {
    r = keep_fd(bpf_map__fd(skeleton->maps.marks), &t->marks_fd, err);
    if (r >= 0)
      r = keep_fd(bpf_map__fd(skeleton->maps.bss), &t->state_fd, err);
    if (r >= 0)
      r = keep_fd(bpf_map__fd(skeleton->maps.rodata), &t->config_fd, err);
    if (r >= 0)
      r = keep_fd(bpf_map__fd(skeleton->maps.bios), &t->bios_fd, err);
  }
  if (r >= 0)
    r = t->config.bio_based ? attach_program(t, skeleton->progs.track_bio, "block_bio_complete", err)
                            : attach_program(t, skeleton->progs.track_request, "block_rq_complete", err);
  if (r >= 0)
    r = attach_program(t, skeleton->progs.track_queue, "block_bio_queue", err);
  return r;
}

/* A read of our own has to show up at both tracepoints, or this device does not pass them. */
static int prove_live(struct track *t, int device_fd, struct umbra_error *err) {
  CLEANUP_FREE void *buffer = NULL;
  size_t length_bytes = t->bytes < PROBE_BYTES ? (size_t)t->bytes : PROBE_BYTES;
  if (posix_memalign(&buffer, PROBE_BYTES, PROBE_BYTES) != 0)
    return error_code(err, -ENOMEM, "proving that block tracking is live");
  for (int i = 0; i < PROBES_MAX; i++) {
    int r = fd_pread_all(device_fd, buffer, length_bytes, 0);
    if (r < 0)
      return error_code(err, r, "reading the start of the device");
    if (t->state->seen_queue && t->state->seen_complete)
      return 0;
  }
  return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                   "reads of disk %u:%u do not pass the kernel's block tracepoints", t->config.disk_major,
                   t->config.disk_first_minor);
}

/*
 * What was in flight on a device without requests when we attached completes with nobody knowing its range.  Each
 * such write is counted (orphans), and a count that grows later voids the tracking; waiting here makes that rare.
 */
static void let_old_bios_end(dev_t device) {
  int64_t end_ns = clock_monotonic_ns() + TRACK_START_WAIT_MS_MAX * NS_PER_MS;
  while (track_place_in_flight(device) > 0 && clock_monotonic_ns() < end_ns) {
    struct timespec pause = {.tv_nsec = IN_FLIGHT_POLL_MS * NS_PER_MS};
    (void)nanosleep(&pause, NULL);
  }
}

int track_start(int device_fd, unsigned flags, struct track **ret, struct umbra_error *err) {
  (void)libbpf_set_print(print_quietly);
  struct stat st;
  if (fstat(device_fd, &st) < 0)
    return error_errno(err, "looking at the device to be tracked");
  if (!S_ISBLK(st.st_mode))
    return error_set(err, -ENOTBLK, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "what is to be tracked is no block device");
  CLEANUP(cleanup_track) struct track *t = track_new();
  if (!t)
    return error_code(err, -ENOMEM, "starting block tracking");
  int r = configure(t, st.st_rdev, err);
  t->config.without_discards = (flags & TRACK_WITHOUT_DISCARDS) != 0;
  for (int copy = 0; r >= 0 && copy < (flags & TRACK_STURDY ? TRACK_COPIES_STURDY : 1); copy++)
    r = load_and_attach_copy(t, err);
  if (r >= 0)
    r = track_map(t, err);
  if (r >= 0)
    r = prove_live(t, device_fd, err);
  if (r < 0)
    return r;
  if (t->config.bio_based)
    let_old_bios_end(st.st_rdev);
  t->state->orphans_base = t->state->orphans;
  t->state->misses_base = track_misses(t);
  r = track_check(t, NULL, err);
  if (r < 0)
    return r;
  *ret = take_pointer(t);
  return 0;
}

/* Small programs that need what ours needs: loading ours takes a look at all of the kernel's types, a tenth of a
 * second. */
int track_possible(dev_t device, struct umbra_error *why) {
  (void)libbpf_set_print(print_quietly);
  struct track probe = {0};
  int r = configure(&probe, device, why);
  if (r < 0)
    return r;
  if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
    return error_errno(why, "finding the kernel's types (BTF) in '/sys/kernel/btf/vmlinux'");
  r = libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_RAW_TRACEPOINT, NULL);
  if (r == 0)
    return error_set(why, -EPERM, UMBRA_REASON_ACCESS,
                     "the kernel takes no BPF program from us: needs root with CAP_BPF and CAP_PERFMON");
  if (r > 0)
    r = libbpf_probe_bpf_helper(BPF_PROG_TYPE_RAW_TRACEPOINT, BPF_FUNC_loop, NULL);
  if (r == 0)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "block tracking needs Linux 5.17 or later (the BPF helper bpf_loop)");
  return r < 0 ? error_code(why, r, "trying BPF programs") : 0;
}

unsigned track_granule_shift(const struct track *t) { return t->granule_shift; }
uint64_t track_granules(const struct track *t) { return t->granules; }
uint64_t track_bytes(const struct track *t) { return t->bytes; }
uint64_t track_generation(const struct track *t) { return t->config.generation; }

uint64_t track_misses(const struct track *t) {
  uint64_t misses = 0;
  for (unsigned i = 0; i < t->programs; i++) {
    struct bpf_prog_info info = {0};
    __u32 length = sizeof info;
    if (bpf_obj_get_info_by_fd(t->program_fds[i], &info, &length) < 0)
      return UINT64_MAX; /* not known: taken for missed */
    misses += info.recursion_misses;
  }
  return misses;
}

int track_check(struct track *t, bool *ret_sturdy, struct umbra_error *err) {
  bool sturdy = t->programs > TRACK_EVENTS;
  if (ret_sturdy)
    *ret_sturdy = sturdy;
  uint32_t lost = t->state->lost;
  if (lost)
    return error_set(err, -ESTALE, UMBRA_REASON_INTERNAL,
                     "block tracking of disk %u:%u may have missed a write (%#x)", t->config.disk_major,
                     t->config.disk_first_minor, lost);
  if (t->state->orphans != t->state->orphans_base)
    return error_set(err, -ESTALE, UMBRA_REASON_INTERNAL,
                     "a write to disk %u:%u from before block tracking began ended during it", t->config.disk_major,
                     t->config.disk_first_minor);
  if (!sturdy && track_misses(t) != t->state->misses_base) {
    if (ret_sturdy)
      *ret_sturdy = true;
    return error_set(err, -ESTALE, UMBRA_REASON_INTERNAL,
                     "block tracking of disk %u:%u was interrupted by an interrupt that it did not see",
                     t->config.disk_major, t->config.disk_first_minor);
  }
  return 0;
}

int track_take(struct track *t, struct bitmap *marks, bool *ret_sturdy, struct umbra_error *err) {
  assert(marks->bits == t->granules);
  for (uint64_t i = 0; i < bitmap_word_count(marks); i++)
    if (t->marks[i])
      marks->words[i] |= __atomic_exchange_n(&t->marks[i], 0, __ATOMIC_SEQ_CST);
  /* After the exchange, so that a miss from before it is known now. */
  return track_check(t, ret_sturdy, err);
}

uint64_t track_count(const struct track *t) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < (t->granules + 63) / 64; i++)
    count += (uint64_t)__builtin_popcountll(t->marks[i]);
  return count;
}

bool track_marked(const struct track *t, uint64_t granule) {
  assert(granule < t->granules);
  return __atomic_load_n(&t->marks[granule / 64], __ATOMIC_SEQ_CST) >> (granule % 64) & 1;
}
