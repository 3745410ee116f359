/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads an index from its uncompressed stream, whatever that comes from (a file, a test, a fuzzer).  Every record is
 * checked as it is decoded; the checksum over all of them is checked before the end is reported, so that a caller who
 * needs certainty before acting reads twice.
 */
#include "backup/index-record.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <zstd.h>

enum {
  BUFFER_BYTES = 512 * 1024,
  INPUT_BYTES = 128 * 1024,
  WINDOW_LOG_MAX = 23, /* what a damaged or hostile file can make us allocate: 8 MiB */
};

struct file_source {
  int fd; /* the caller's */
  ZSTD_DCtx *decompressor;
  uint8_t *input_data;
  ZSTD_inBuffer input;
  uint64_t position_bytes;
  size_t pending; /* zstd's hint: not 0 in the middle of a frame */
};

struct index_reader {
  index_fill fill;
  void *userdata;
  struct file_source file;
  char *name;
  XXH3_state_t *hash;
  uint8_t *buffer;
  size_t at_bytes, end_bytes;
  bool drained, finished;
  uint64_t records;
  struct index_header header;
  struct index_record record;
};

static ssize_t file_fill(void *userdata, void *buffer, size_t capacity_bytes, struct umbra_error *err) {
  struct file_source *f = userdata;
  ZSTD_outBuffer output = {.dst = buffer, .size = capacity_bytes};
  while (output.pos == 0) {
    if (f->input.pos == f->input.size) {
      ssize_t n = pread(f->fd, f->input_data, INPUT_BYTES, (off_t)f->position_bytes);
      if (n < 0)
        return error_errno(err, "reading");
      if (n == 0 && f->pending != 0)
        return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "the file ends early");
      if (n == 0)
        return 0;
      f->position_bytes += (uint64_t)n;
      f->input = (ZSTD_inBuffer){.src = f->input_data, .size = (size_t)n};
    }
    f->pending = ZSTD_decompressStream(f->decompressor, &output, &f->input);
    if (ZSTD_isError(f->pending))
      return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "decompressing: %s", ZSTD_getErrorName(f->pending));
  }
  return (ssize_t)output.pos;
}

/* Makes at least wanted bytes lie in the buffer, or all that are left. */
static int need(struct index_reader *r, size_t wanted_bytes, struct umbra_error *err) {
  while (r->end_bytes - r->at_bytes < wanted_bytes && !r->drained) {
    if (r->at_bytes > 0) {
      memmove(r->buffer, r->buffer + r->at_bytes, r->end_bytes - r->at_bytes);
      r->end_bytes -= r->at_bytes;
      r->at_bytes = 0;
    }
    ssize_t n = r->fill(r->userdata, r->buffer + r->end_bytes, BUFFER_BYTES - r->end_bytes, err);
    if (n < 0)
      return (int)n;
    r->drained = n == 0;
    r->end_bytes += (size_t)n;
  }
  return 0;
}

static int damaged(struct umbra_error *err, const char *what) {
  return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "%s", what);
}

static void consume(struct index_reader *r, size_t length_bytes) {
  (void)XXH3_128bits_update(r->hash, r->buffer + r->at_bytes, length_bytes);
  r->at_bytes += length_bytes;
}

static int take_number(struct index_reader *r, uint64_t max, uint64_t *ret, struct umbra_error *err) {
  int result = need(r, INDEX_NUMBER_BYTES_MAX, err);
  if (result < 0)
    return result;
  size_t n = index_number_decode(r->buffer + r->at_bytes, r->end_bytes - r->at_bytes, ret);
  if (n == 0 || *ret > max)
    return damaged(err, "a number in it is not valid");
  consume(r, n);
  return 0;
}

static int read_header(struct index_reader *r, struct umbra_error *err) {
  uint64_t version = 0, position = 0, seconds = 0, ns = 0;
  int result = need(r, INDEX_MAGIC_BYTES, err);
  if (result < 0)
    return result;
  if (r->end_bytes - r->at_bytes < INDEX_MAGIC_BYTES ||
      memcmp(r->buffer + r->at_bytes, INDEX_MAGIC, INDEX_MAGIC_BYTES) != 0)
    return damaged(err, "it does not begin like an index");
  consume(r, INDEX_MAGIC_BYTES);
  result = take_number(r, UINT64_MAX, &version, err);
  if (result == 0 && version != INDEX_VERSION)
    return error_set(err, -EPROTONOSUPPORT, UMBRA_REASON_INVALID, "its version is %" PRIu64 ", this program reads %d",
                     version, INDEX_VERSION);
  if (result == 0)
    result = take_number(r, INDEX_CHAIN_MAX, &position, err);
  if (result == 0)
    result = take_number(r, UINT64_MAX, &seconds, err);
  if (result == 0)
    result = take_number(r, 999999999, &ns, err);
  if (result < 0)
    return result;
  r->header.position = (uint32_t)position;
  r->header.racy_after = (struct timespec){.tv_sec = index_unzigzag(seconds), .tv_nsec = (long)ns};
  return 0;
}

static int named(struct index_reader *r, int result, struct umbra_error *err) {
  return result < 0 && r->name ? error_prefix(err, result, "index '%s'", r->name) : result;
}

static int allocate(struct index_reader **ret, struct umbra_error *err) {
  struct index_reader *r = calloc(1, sizeof *r);
  if (r) {
    r->buffer = malloc(BUFFER_BYTES);
    r->hash = digest_begin();
  }
  if (!r || !r->buffer || !r->hash) {
    index_reader_free(r);
    return error_code(err, -ENOMEM, "reading an index");
  }
  *ret = r;
  return 0;
}

/* Reads the header, and frees r if that fails. */
static int begin(struct index_reader *r, struct index_reader **ret, struct umbra_error *err) {
  int result = named(r, read_header(r, err), err);
  if (result < 0)
    index_reader_free(r);
  else
    *ret = r;
  return result;
}

int index_reader_new(index_fill fill, void *userdata, struct index_reader **ret, struct umbra_error *err) {
  struct index_reader *r = NULL;
  int result = allocate(&r, err);
  if (result < 0)
    return result;
  r->fill = fill;
  r->userdata = userdata;
  return begin(r, ret, err);
}

int index_reader_open(int fd, const char *name, struct index_reader **ret, struct umbra_error *err) {
  struct index_reader *r = NULL;
  int result = allocate(&r, err);
  if (result < 0)
    return result;
  r->fill = file_fill;
  r->userdata = &r->file;
  r->file.fd = fd;
  r->name = strdup(name);
  r->file.decompressor = ZSTD_createDCtx();
  r->file.input_data = malloc(INPUT_BYTES);
  if (!r->name || !r->file.decompressor || !r->file.input_data) {
    index_reader_free(r);
    return error_code(err, -ENOMEM, "reading an index");
  }
  (void)ZSTD_DCtx_setParameter(r->file.decompressor, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
  return begin(r, ret, err);
}

void index_reader_free(struct index_reader *r) {
  if (!r)
    return;
  (void)ZSTD_freeDCtx(r->file.decompressor);
  free(r->file.input_data);
  free(r->name);
  (void)XXH3_freeState(r->hash);
  free(r->buffer);
  free(r);
}

const struct index_header *index_reader_header(const struct index_reader *r) { return &r->header; }

static int read_end(struct index_reader *r, struct umbra_error *err) {
  uint64_t records = 0;
  int result = take_number(r, UINT64_MAX, &records, err);
  if (result < 0)
    return result;
  struct digest computed = digest_finish(r->hash), written;
  result = need(r, DIGEST_BYTES + 1, err);
  if (result < 0)
    return result;
  if (r->end_bytes - r->at_bytes != DIGEST_BYTES)
    return damaged(err, "it does not end where it should");
  memcpy(written.bytes, r->buffer + r->at_bytes, DIGEST_BYTES);
  if (records != r->records || !digest_equal(&computed, &written))
    return damaged(err, "its checksum does not fit");
  r->finished = true;
  return 0;
}

static int next(struct index_reader *r, struct umbra_error *err) {
  uint64_t body_bytes = 0;
  if (r->finished)
    return 0;
  int result = take_number(r, INDEX_RECORD_BYTES_MAX, &body_bytes, err);
  if (result < 0)
    return result;
  if (body_bytes == 0)
    return read_end(r, err);
  result = need(r, (size_t)body_bytes, err);
  if (result < 0)
    return result;
  if (r->end_bytes - r->at_bytes < body_bytes)
    return damaged(err, "it ends early");
  result = index_record_decode(&r->record, r->buffer + r->at_bytes, (size_t)body_bytes, err);
  if (result < 0)
    return result;
  consume(r, (size_t)body_bytes);
  r->records++;
  return 1;
}

int index_reader_next(struct index_reader *r, const struct index_record **ret, struct umbra_error *err) {
  int result = next(r, err);
  if (result == 1)
    *ret = &r->record;
  return named(r, result, err);
}
