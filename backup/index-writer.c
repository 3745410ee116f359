/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes an index: records are encoded one after the other into a zstd stream. */
#include "backup/index-record.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <assert.h>
#include <errno.h>
#include <zstd.h>

enum { COMPRESSION_LEVEL = 1, BATCH_BYTES = 256 * 1024 };

struct index_writer {
  int fd; /* the caller's */
  ZSTD_CCtx *compressor;
  XXH3_state_t *hash;
  uint64_t records;
  uint8_t *batch; /* uncompressed, BATCH_BYTES and room for one more record */
  size_t batch_bytes;
  uint8_t *output;
  size_t output_capacity_bytes;
  char path[TREE_PATH_BYTES_MAX + 1]; /* of the record before */
};

static int compress(struct index_writer *w, ZSTD_EndDirective directive, struct umbra_error *err) {
  ZSTD_inBuffer input = {.src = w->batch, .size = w->batch_bytes};
  size_t left = 0;
  (void)XXH3_128bits_update(w->hash, w->batch, w->batch_bytes);
  do {
    ZSTD_outBuffer output = {.dst = w->output, .size = w->output_capacity_bytes};
    left = ZSTD_compressStream2(w->compressor, &output, &input, directive);
    if (ZSTD_isError(left))
      return error_set(err, -EIO, UMBRA_REASON_INTERNAL, "compressing the index: %s", ZSTD_getErrorName(left));
    int r = fd_write_all(w->fd, w->output, output.pos);
    if (r < 0)
      return error_code(err, r, "writing the index");
  } while (input.pos < input.size || (directive == ZSTD_e_end && left > 0));
  w->batch_bytes = 0;
  return 0;
}

static size_t encode_header(const struct index_header *header, uint8_t *to) {
  size_t n = INDEX_MAGIC_BYTES;
  memcpy(to, INDEX_MAGIC, INDEX_MAGIC_BYTES);
  n += index_number_encode(INDEX_VERSION, to + n);
  n += index_number_encode(header->position, to + n);
  n += index_number_encode(index_zigzag(header->racy_after.tv_sec), to + n);
  n += index_number_encode((uint64_t)header->racy_after.tv_nsec, to + n);
  return n;
}

int index_writer_new(int fd, const struct index_header *header, struct index_writer **ret, struct umbra_error *err) {
  struct index_writer *w = calloc(1, sizeof *w);
  if (w) {
    w->fd = fd;
    w->output_capacity_bytes = ZSTD_CStreamOutSize();
    w->batch = malloc(BATCH_BYTES + INDEX_RECORD_BYTES_MAX + 2 * INDEX_NUMBER_BYTES_MAX);
    w->output = malloc(w->output_capacity_bytes);
    w->compressor = ZSTD_createCCtx();
    w->hash = digest_begin();
  }
  if (!w || !w->batch || !w->output || !w->compressor || !w->hash) {
    index_writer_free(w);
    return error_code(err, -ENOMEM, "beginning the index");
  }
  (void)ZSTD_CCtx_setParameter(w->compressor, ZSTD_c_compressionLevel, COMPRESSION_LEVEL);
  (void)ZSTD_CCtx_setParameter(w->compressor, ZSTD_c_checksumFlag, 1);
  w->batch_bytes = encode_header(header, w->batch);
  *ret = w;
  return 0;
}

int index_writer_add(struct index_writer *w, const struct index_record *record, struct umbra_error *err) {
  uint8_t body[INDEX_RECORD_BYTES_MAX];
  assert(w->records == 0 || tree_path_compare(w->path, record->path) < 0);
  size_t body_bytes = index_record_encode(record, w->path, body);
  w->batch_bytes += index_number_encode(body_bytes, w->batch + w->batch_bytes);
  memcpy(w->batch + w->batch_bytes, body, body_bytes);
  w->batch_bytes += body_bytes;
  w->records++;
  memcpy(w->path, record->path, strlen(record->path) + 1);
  return w->batch_bytes >= BATCH_BYTES ? compress(w, ZSTD_e_continue, err) : 0;
}

int index_writer_finish(struct index_writer *w, uint64_t *ret_records, struct umbra_error *err) {
  w->batch_bytes += index_number_encode(0, w->batch + w->batch_bytes);
  w->batch_bytes += index_number_encode(w->records, w->batch + w->batch_bytes);
  int r = compress(w, ZSTD_e_continue, err);
  if (r < 0)
    return r;
  struct digest d = digest_finish(w->hash);
  memcpy(w->batch, d.bytes, DIGEST_BYTES);
  w->batch_bytes = DIGEST_BYTES;
  *ret_records = w->records;
  return compress(w, ZSTD_e_end, err);
}

void index_writer_free(struct index_writer *w) {
  if (!w)
    return;
  (void)ZSTD_freeCCtx(w->compressor);
  (void)XXH3_freeState(w->hash);
  free(w->batch);
  free(w->output);
  free(w);
}
