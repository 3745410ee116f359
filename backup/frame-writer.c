/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compresses a stream in frames on several threads.
 *
 * The caller's thread fills the job at `head`, threads compress jobs that are ready in any order, the caller's thread
 * writes the oldest to the file when it needs its place.  Jobs are a ring: [tail, head) are given away, head is being
 * filled. The lock protects `state` of every job, `next`, and `quitting`; a job's buffers belong to whom its state
 * names.
 */
#include "backup/frames.h"

#include "backup/frame-format.h"
#include "backup/spool.h"
#include "common/cleanup.h"
#include "common/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <zstd.h>

enum job_state { JOB_FREE, JOB_READY, JOB_TAKEN, JOB_DONE };
enum { JOBS_MAX = FRAMES_THREADS_MAX + FRAMES_AHEAD, WRITEBACK_BYTES = 16 * 1024 * 1024 };

struct job {
  enum job_state state;
  uint8_t *input, *output;
  size_t input_bytes, output_bytes; /* output_bytes: a zstd result, maybe an error */
};

struct frame_writer {
  int fd, level;
  struct job jobs[JOBS_MAX];
  unsigned job_count, head, tail, next; /* counted up for ever, modulo job_count */
  pthread_t threads[FRAMES_THREADS_MAX];
  unsigned thread_count;
  bool quitting;
  pthread_mutex_t lock;
  pthread_cond_t ready, done;
  uint64_t offset_bytes, file_bytes, writeback_bytes;
  XXH3_state_t *hash;
  struct spool table; /* one record a frame: 8 bytes of the seek table */
  uint32_t frames;
};

static void *compress_jobs(void *userdata) {
  struct frame_writer *w = userdata;
  ZSTD_CCtx *compressor = ZSTD_createCCtx();
  if (compressor) {
    (void)ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, w->level);
    (void)ZSTD_CCtx_setParameter(compressor, ZSTD_c_checksumFlag, 1);
  }
  (void)pthread_mutex_lock(&w->lock);
  for (;;) {
    while (!w->quitting && w->jobs[w->next % w->job_count].state != JOB_READY)
      (void)pthread_cond_wait(&w->ready, &w->lock);
    if (w->quitting)
      break;
    struct job *j = &w->jobs[w->next++ % w->job_count];
    j->state = JOB_TAKEN;
    (void)pthread_mutex_unlock(&w->lock);
    j->output_bytes =
        compressor ? ZSTD_compress2(compressor, j->output, ZSTD_compressBound(FRAME_BYTES), j->input, j->input_bytes)
                   : (size_t)-ENOMEM;
    (void)pthread_mutex_lock(&w->lock);
    j->state = JOB_DONE;
    (void)pthread_cond_signal(&w->done);
  }
  (void)pthread_mutex_unlock(&w->lock);
  (void)ZSTD_freeCCtx(compressor);
  return NULL;
}

static unsigned usable_processors(void) {
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return count < 1 ? 1 : count > FRAMES_THREADS_MAX ? FRAMES_THREADS_MAX : (unsigned)count;
}

static int start_threads(struct frame_writer *w, unsigned count, struct umbra_error *err) {
  for (w->thread_count = 0; w->thread_count < count; w->thread_count++) {
    int r = pthread_create(&w->threads[w->thread_count], NULL, compress_jobs, w);
    if (r > 0)
      return error_code(err, -r, "starting a thread");
  }
  return 0;
}

int frame_writer_new(int fd, int level, int spool_dir_fd, struct frame_writer **ret, struct umbra_error *err) {
  struct frame_writer *w = calloc(1, sizeof *w);
  if (!w)
    return error_code(err, -ENOMEM, "beginning the archive");
  w->fd = fd;
  w->level = level;
  w->table.fd = -1;
  (void)pthread_mutex_init(&w->lock, NULL);
  (void)pthread_cond_init(&w->ready, NULL);
  (void)pthread_cond_init(&w->done, NULL);
  w->hash = digest_begin();
  unsigned threads = usable_processors();
  w->job_count = threads + FRAMES_AHEAD;
  int r = w->hash ? spool_init(&w->table, spool_dir_fd, err) : error_code(err, -ENOMEM, "beginning the archive");
  for (unsigned i = 0; r == 0 && i < w->job_count; i++) {
    w->jobs[i].input = malloc(FRAME_BYTES);
    w->jobs[i].output = malloc(ZSTD_compressBound(FRAME_BYTES));
    if (!w->jobs[i].input || !w->jobs[i].output)
      r = error_code(err, -ENOMEM, "beginning the archive");
  }
  if (r == 0)
    r = start_threads(w, threads, err);
  if (r < 0)
    frame_writer_free(w);
  else
    *ret = w;
  return r;
}

static int write_out(struct frame_writer *w, const void *data, size_t length_bytes, struct umbra_error *err) {
  int r = fd_write_all(w->fd, data, length_bytes);
  if (r < 0)
    return error_code(err, r, "writing the archive");
  (void)XXH3_128bits_update(w->hash, data, length_bytes);
  w->file_bytes += length_bytes;
  if (w->file_bytes - w->writeback_bytes >= WRITEBACK_BYTES) {
    /* Only begins writing, so that the fsync at the end finds little to do. */
    (void)sync_file_range(w->fd, (off_t)w->writeback_bytes, (off_t)(w->file_bytes - w->writeback_bytes),
                          SYNC_FILE_RANGE_WRITE);
    w->writeback_bytes = w->file_bytes;
  }
  return 0;
}

/* Waits for the oldest job and writes it to the file. */
static int retire(struct frame_writer *w, struct umbra_error *err) {
  struct job *j = &w->jobs[w->tail % w->job_count];
  uint8_t entry[SEEK_TABLE_ENTRY_BYTES];
  (void)pthread_mutex_lock(&w->lock);
  while (j->state != JOB_DONE)
    (void)pthread_cond_wait(&w->done, &w->lock);
  j->state = JOB_FREE;
  (void)pthread_mutex_unlock(&w->lock);
  w->tail++;
  if (ZSTD_isError(j->output_bytes))
    return error_set(err, -EIO, UMBRA_REASON_INTERNAL, "compressing: %s", ZSTD_getErrorName(j->output_bytes));
  if (++w->frames > FRAMES_MAX)
    return error_set(err, -EFBIG, UMBRA_REASON_LIMIT, "the archive has more than %u frames", FRAMES_MAX);
  frame_put_u32(entry, (uint32_t)j->output_bytes);
  frame_put_u32(entry + 4, (uint32_t)j->input_bytes);
  int r = spool_append(&w->table, entry, sizeof entry, err);
  return r < 0 ? r : write_out(w, j->output, j->output_bytes, err);
}

static int submit(struct frame_writer *w, struct umbra_error *err) {
  (void)pthread_mutex_lock(&w->lock);
  w->jobs[w->head % w->job_count].state = JOB_READY;
  (void)pthread_cond_signal(&w->ready);
  (void)pthread_mutex_unlock(&w->lock);
  w->head++;
  if (w->head - w->tail == w->job_count) {
    int r = retire(w, err);
    if (r < 0)
      return r;
  }
  w->jobs[w->head % w->job_count].input_bytes = 0;
  return 0;
}

int frame_writer_add(struct frame_writer *w, const void *data, size_t length_bytes, struct umbra_error *err) {
  const uint8_t *from = data;
  while (length_bytes > 0) {
    struct job *j = &w->jobs[w->head % w->job_count];
    size_t room_bytes = FRAME_BYTES - j->input_bytes, n = length_bytes < room_bytes ? length_bytes : room_bytes;
    memcpy(j->input + j->input_bytes, from, n);
    j->input_bytes += n;
    w->offset_bytes += n;
    from += n;
    length_bytes -= n;
    if (j->input_bytes == FRAME_BYTES) {
      int r = submit(w, err);
      if (r < 0)
        return r;
    }
  }
  return 0;
}

uint64_t frame_writer_offset(const struct frame_writer *w) { return w->offset_bytes; }

static int write_table(struct frame_writer *w, struct umbra_error *err) {
  uint8_t header[SEEK_TABLE_HEADER_BYTES], footer[SEEK_TABLE_FOOTER_BYTES] = {0};
  struct spool_cursor cursor;
  uint32_t frames = w->frames;
  frame_put_u32(header, SEEK_TABLE_SKIPPABLE_MAGIC);
  frame_put_u32(header + 4, frames * SEEK_TABLE_ENTRY_BYTES + SEEK_TABLE_FOOTER_BYTES);
  int r = write_out(w, header, sizeof header, err);
  if (r < 0)
    return r;
  r = spool_cursor_init(&cursor, &w->table, SPOOL_BUFFER_BYTES, err);
  while (r == 0 && (r = spool_next(&cursor, err)) == 1)
    r = write_out(w, cursor.record, cursor.record_bytes, err);
  spool_cursor_done(&cursor);
  if (r < 0)
    return r;
  frame_put_u32(footer, frames);
  frame_put_u32(footer + 5, SEEK_TABLE_MAGIC);
  return write_out(w, footer, sizeof footer, err);
}

int frame_writer_finish(struct frame_writer *w, struct digest *ret_file, uint64_t *ret_file_bytes,
                        struct umbra_error *err) {
  int r = w->jobs[w->head % w->job_count].input_bytes > 0 ? submit(w, err) : 0;
  while (r == 0 && w->tail != w->head)
    r = retire(w, err);
  if (r == 0)
    r = write_table(w, err);
  if (r < 0)
    return r;
  *ret_file = digest_finish(w->hash);
  *ret_file_bytes = w->file_bytes;
  return 0;
}

void frame_writer_free(struct frame_writer *w) {
  if (!w)
    return;
  (void)pthread_mutex_lock(&w->lock);
  w->quitting = true;
  (void)pthread_cond_broadcast(&w->ready);
  (void)pthread_mutex_unlock(&w->lock);
  for (unsigned i = 0; i < w->thread_count; i++)
    (void)pthread_join(w->threads[i], NULL);
  for (unsigned i = 0; i < w->job_count; i++) {
    free(w->jobs[i].input);
    free(w->jobs[i].output);
  }
  (void)XXH3_freeState(w->hash);
  spool_done(&w->table);
  (void)pthread_cond_destroy(&w->ready);
  (void)pthread_cond_destroy(&w->done);
  (void)pthread_mutex_destroy(&w->lock);
  free(w);
}
