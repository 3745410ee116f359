/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads a framed stream from any position, a few frames ahead on other threads.
 *
 * Frame n has its slot at n % SLOTS.  The lock protects every slot's frame and state; a slot's buffers belong to a
 * thread while it is TAKEN, else to the caller.  What the caller was given stays untouched until it asks for the
 * next: then slots are given out anew, never the one of the frame it asks for.
 */
#include "backup/frames.h"

#include "backup/frame-format.h"
#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <zstd.h>

enum { SLOTS = 4, THREADS_MAX = 2, TABLE_ENTRIES_FIRST = 256 };
#define NO_FRAME UINT32_MAX

enum slot_state { SLOT_FREE, SLOT_WANTED, SLOT_TAKEN, SLOT_DONE };

struct slot {
  uint32_t frame;
  enum slot_state state;
  uint8_t *input, *output;
  int result; /* 0 or negative errno */
  const char *why;
};

struct frame_place {
  uint64_t file_offset_bytes, offset_bytes; /* of its first byte: compressed, uncompressed */
};

struct frame_reader {
  int fd;
  char *name;
  struct frame_place *table; /* frames + 1: the last says where all ends */
  uint32_t frames, capacity;
  struct slot slots[SLOTS];
  pthread_t threads[THREADS_MAX];
  unsigned thread_count;
  bool quitting;
  pthread_mutex_t lock;
  pthread_cond_t wanted, done;
  uint64_t position_bytes;
  uint32_t last_frame; /* given to the caller before */
};

static int add_frame(struct frame_reader *r, uint64_t compressed_bytes, uint64_t uncompressed_bytes) {
  if (r->frames + 2 > r->capacity) {
    uint32_t capacity = r->capacity ? 2 * r->capacity : TABLE_ENTRIES_FIRST;
    struct frame_place *larger = realloc(r->table, capacity * sizeof *larger);
    if (!larger)
      return -ENOMEM;
    r->table = larger;
    r->capacity = capacity;
    if (r->frames == 0)
      r->table[0] = (struct frame_place){0};
  }
  const struct frame_place *last = &r->table[r->frames];
  r->table[r->frames + 1] =
      (struct frame_place){last->file_offset_bytes + compressed_bytes, last->offset_bytes + uncompressed_bytes};
  r->frames++;
  return 0;
}

static bool size_allowed(uint64_t compressed_bytes, uint64_t uncompressed_bytes) {
  return compressed_bytes > 0 && compressed_bytes <= ZSTD_compressBound(FRAME_BYTES) && uncompressed_bytes > 0 &&
         uncompressed_bytes <= FRAME_BYTES;
}

/* 0, or -EBADMSG if there is no seek table that fits the file. */
static int read_table(struct frame_reader *r, uint64_t file_bytes) {
  uint8_t footer[SEEK_TABLE_FOOTER_BYTES], header[SEEK_TABLE_HEADER_BYTES];
  if (file_bytes < SEEK_TABLE_HEADER_BYTES + SEEK_TABLE_FOOTER_BYTES)
    return -EBADMSG;
  int result = fd_pread_all(r->fd, footer, sizeof footer, file_bytes - sizeof footer);
  if (result < 0)
    return result;
  uint64_t frames = frame_get_u32(footer), entries_bytes = frames * SEEK_TABLE_ENTRY_BYTES;
  uint64_t table_bytes = SEEK_TABLE_HEADER_BYTES + entries_bytes + SEEK_TABLE_FOOTER_BYTES;
  if (frame_get_u32(footer + 5) != SEEK_TABLE_MAGIC || footer[4] != 0 || frames > FRAMES_MAX ||
      table_bytes > file_bytes)
    return -EBADMSG;
  result = fd_pread_all(r->fd, header, sizeof header, file_bytes - table_bytes);
  if (result < 0)
    return result;
  if (frame_get_u32(header) != SEEK_TABLE_SKIPPABLE_MAGIC ||
      frame_get_u32(header + 4) != entries_bytes + SEEK_TABLE_FOOTER_BYTES)
    return -EBADMSG;
  CLEANUP_FREE uint8_t *entries = malloc(entries_bytes + 1);
  if (!entries)
    return -ENOMEM;
  result = fd_pread_all(r->fd, entries, entries_bytes, file_bytes - table_bytes + sizeof header);
  for (uint64_t i = 0; result == 0 && i < frames; i++) {
    const uint8_t *e = entries + i * SEEK_TABLE_ENTRY_BYTES;
    result = size_allowed(frame_get_u32(e), frame_get_u32(e + 4))
                 ? add_frame(r, frame_get_u32(e), frame_get_u32(e + 4))
                 : -EBADMSG;
  }
  if (result == 0 && (r->frames > 0 ? r->table[r->frames].file_offset_bytes : 0) != file_bytes - table_bytes)
    return -EBADMSG;
  return result;
}

/* Goes from frame to frame while they make sense. What lies behind the first that does not is lost. */
static int scan_frames(struct frame_reader *r, uint64_t file_bytes) {
  uint64_t at = 0, buffer_bytes = ZSTD_compressBound(FRAME_BYTES);
  r->frames = 0;
  while (at < file_bytes) {
    uint64_t n = file_bytes - at < buffer_bytes ? file_bytes - at : buffer_bytes;
    int result = fd_pread_all(r->fd, r->slots[0].input, n, at);
    if (result < 0)
      return result;
    size_t compressed_bytes = ZSTD_findFrameCompressedSize(r->slots[0].input, n);
    unsigned long long uncompressed_bytes = ZSTD_getFrameContentSize(r->slots[0].input, n);
    if (ZSTD_isError(compressed_bytes) || !size_allowed(compressed_bytes, uncompressed_bytes))
      return 0;
    result = add_frame(r, compressed_bytes, uncompressed_bytes);
    if (result < 0)
      return result;
    at += compressed_bytes;
  }
  return 0;
}

static void decompress_slot(struct frame_reader *r, ZSTD_DCtx *decompressor, struct slot *s) {
  const struct frame_place *p = &r->table[s->frame];
  size_t compressed_bytes = (size_t)(p[1].file_offset_bytes - p[0].file_offset_bytes);
  size_t wanted_bytes = (size_t)(p[1].offset_bytes - p[0].offset_bytes);
  s->result = fd_pread_all(r->fd, s->input, compressed_bytes, p->file_offset_bytes);
  s->why = s->result < 0 ? strerrordesc_np(-s->result) : NULL;
  if (s->result < 0)
    return;
  size_t n = ZSTD_decompressDCtx(decompressor, s->output, FRAME_BYTES, s->input, compressed_bytes);
  if (!ZSTD_isError(n) && n == wanted_bytes)
    return;
  s->result = -EBADMSG;
  s->why = ZSTD_isError(n) ? ZSTD_getErrorName(n) : "it has another length than the seek table says";
}

static struct slot *wanted_slot(struct frame_reader *r) {
  struct slot *first = NULL;
  for (size_t i = 0; i < SLOTS; i++)
    if (r->slots[i].state == SLOT_WANTED && (!first || r->slots[i].frame < first->frame))
      first = &r->slots[i];
  return first;
}

static void *decompress_slots(void *userdata) {
  struct frame_reader *r = userdata;
  ZSTD_DCtx *decompressor = ZSTD_createDCtx();
  (void)pthread_mutex_lock(&r->lock);
  while (!r->quitting) {
    struct slot *s = wanted_slot(r);
    if (!s) {
      (void)pthread_cond_wait(&r->wanted, &r->lock);
      continue;
    }
    s->state = SLOT_TAKEN;
    (void)pthread_mutex_unlock(&r->lock);
    if (decompressor) {
      decompress_slot(r, decompressor, s);
    } else {
      s->result = -ENOMEM;
      s->why = strerrordesc_np(ENOMEM);
    }
    (void)pthread_mutex_lock(&r->lock);
    s->state = SLOT_DONE;
    (void)pthread_cond_signal(&r->done);
  }
  (void)pthread_mutex_unlock(&r->lock);
  (void)ZSTD_freeDCtx(decompressor);
  return NULL;
}

static int allocate(int fd, const char *name, struct frame_reader **ret) {
  struct frame_reader *r = calloc(1, sizeof *r);
  if (!r)
    return -ENOMEM;
  *ret = r;
  r->fd = fd;
  r->last_frame = NO_FRAME;
  (void)pthread_mutex_init(&r->lock, NULL);
  (void)pthread_cond_init(&r->wanted, NULL);
  (void)pthread_cond_init(&r->done, NULL);
  r->name = strdup(name);
  for (size_t i = 0; i < SLOTS; i++) {
    r->slots[i].frame = NO_FRAME;
    r->slots[i].input = malloc(ZSTD_compressBound(FRAME_BYTES));
    r->slots[i].output = malloc(FRAME_BYTES);
    if (!r->slots[i].input || !r->slots[i].output)
      return -ENOMEM;
  }
  return r->name ? 0 : -ENOMEM;
}

static int start_threads(struct frame_reader *r) {
  cpu_set_t set;
  unsigned count = sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 1 ? THREADS_MAX : 1;
  for (r->thread_count = 0; r->thread_count < count; r->thread_count++) {
    int result = pthread_create(&r->threads[r->thread_count], NULL, decompress_slots, r);
    if (result > 0)
      return -result;
  }
  return 0;
}

int frame_reader_new(int fd, const char *name, struct frame_reader **ret, bool *ret_table_damaged,
                     struct umbra_error *err) {
  struct frame_reader *r = NULL;
  struct stat st;
  int result = fstat(fd, &st) < 0 ? -errno : allocate(fd, name, &r);
  if (result == 0) {
    result = read_table(r, (uint64_t)st.st_size);
    *ret_table_damaged = result == -EBADMSG;
    if (result == -EBADMSG)
      result = scan_frames(r, (uint64_t)st.st_size);
  }
  if (result == 0)
    result = start_threads(r);
  if (result < 0) {
    frame_reader_free(r);
    return error_code(err, result, "opening archive '%s'", name);
  }
  *ret = r;
  return 0;
}

uint64_t frame_reader_length(const struct frame_reader *r) {
  return r->frames > 0 ? r->table[r->frames].offset_bytes : 0;
}

void frame_reader_seek(struct frame_reader *r, uint64_t offset_bytes) { r->position_bytes = offset_bytes; }

/* The frame that contains the offset, which must be below the length. */
static uint32_t frame_of(const struct frame_reader *r, uint64_t offset_bytes) {
  uint32_t low = 0, high = r->frames;
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    if (r->table[middle].offset_bytes <= offset_bytes)
      low = middle;
    else
      high = middle;
  }
  return low;
}

uint64_t frame_reader_after(const struct frame_reader *r, uint64_t offset_bytes) {
  return offset_bytes < frame_reader_length(r) ? r->table[frame_of(r, offset_bytes) + 1].offset_bytes : offset_bytes;
}

/* Gives out slots for the frame and, when reading goes on in order, for those behind it. */
static void want(struct frame_reader *r, uint32_t frame) {
  uint32_t ahead = r->last_frame != NO_FRAME && (frame == r->last_frame + 1 || frame == r->last_frame) ? SLOTS : 1;
  for (uint32_t f = frame; f < r->frames && f - frame < ahead; f++) {
    struct slot *s = &r->slots[f % SLOTS];
    if (s->frame == f && s->state != SLOT_FREE)
      continue;
    while (s->state == SLOT_TAKEN)
      (void)pthread_cond_wait(&r->done, &r->lock);
    s->frame = f;
    s->state = SLOT_WANTED;
  }
  (void)pthread_cond_broadcast(&r->wanted);
}

int frame_reader_next(struct frame_reader *r, const void **ret, size_t *ret_bytes, struct umbra_error *err) {
  if (r->position_bytes >= frame_reader_length(r))
    return 0;
  uint32_t frame = frame_of(r, r->position_bytes);
  const struct frame_place *p = &r->table[frame];
  struct slot *s = &r->slots[frame % SLOTS];
  (void)pthread_mutex_lock(&r->lock);
  want(r, frame);
  while (s->state != SLOT_DONE)
    (void)pthread_cond_wait(&r->done, &r->lock);
  (void)pthread_mutex_unlock(&r->lock);
  r->last_frame = frame;
  if (s->result < 0)
    return error_set(err, s->result, UMBRA_REASON_DAMAGED, "archive '%s', bytes %" PRIu64 " to %" PRIu64 ": %s",
                     r->name, p[0].file_offset_bytes, p[1].file_offset_bytes, s->why);
  size_t skip_bytes = (size_t)(r->position_bytes - p->offset_bytes);
  *ret = s->output + skip_bytes;
  *ret_bytes = (size_t)(p[1].offset_bytes - r->position_bytes);
  r->position_bytes = p[1].offset_bytes;
  return 1;
}

void frame_reader_free(struct frame_reader *r) {
  if (!r)
    return;
  (void)pthread_mutex_lock(&r->lock);
  r->quitting = true;
  (void)pthread_cond_broadcast(&r->wanted);
  (void)pthread_mutex_unlock(&r->lock);
  for (unsigned i = 0; i < r->thread_count; i++)
    (void)pthread_join(r->threads[i], NULL);
  for (size_t i = 0; i < SLOTS; i++) {
    free(r->slots[i].input);
    free(r->slots[i].output);
  }
  (void)pthread_cond_destroy(&r->wanted);
  (void)pthread_cond_destroy(&r->done);
  (void)pthread_mutex_destroy(&r->lock);
  free(r->table);
  free(r->name);
  free(r);
}
