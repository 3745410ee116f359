/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checksums of a backup: XXH3-128 in its canonical (big-endian) bytes.  They find damage, not forgery: who can write
 * to the target can write a matching checksum.
 */
#ifndef BACKUP_DIGEST_H
#define BACKUP_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <xxhash.h>

enum { DIGEST_BYTES = 16, DIGEST_TEXT_BYTES = 2 * DIGEST_BYTES + 1 };

struct digest {
  uint8_t bytes[DIGEST_BYTES];
};

static inline struct digest digest_from_hash(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  struct digest d;
  XXH128_canonicalFromHash(&canonical, hash);
  memcpy(d.bytes, canonical.digest, DIGEST_BYTES);
  return d;
}
static inline struct digest digest_of(const void *data, size_t length_bytes) {
  return digest_from_hash(XXH3_128bits(data, length_bytes));
}
static inline bool digest_equal(const struct digest *a, const struct digest *b) {
  return memcmp(a->bytes, b->bytes, DIGEST_BYTES) == 0;
}

/*
 * Over several pieces. The state is made by xxhash itself: it wants 64-byte alignment, which malloc does not give,
 * and a compiler that was promised it emits instructions that fault without it.
 */
static inline void cleanup_hash_free(XXH3_state_t **state) { (void)XXH3_freeState(*state); }
#define CLEANUP_HASH __attribute__((cleanup(cleanup_hash_free)))

static inline XXH3_state_t *digest_begin(void) { /* NULL: no memory */
  XXH3_state_t *state = XXH3_createState();
  if (state)
    (void)XXH3_128bits_reset(state);
  return state;
}
static inline struct digest digest_finish(const XXH3_state_t *state) {
  return digest_from_hash(XXH3_128bits_digest(state));
}

/* 32 lower-case hexadecimal digits; the buffer is the caller's. */
const char *digest_format(const struct digest *d, char buffer[DIGEST_TEXT_BYTES]);
int digest_parse(const char *text, struct digest *ret); /* 0 or -EINVAL */

/* Reads fd from its beginning to its end. 0 or negative errno. */
int digest_of_file(int fd, struct digest *ret, uint64_t *ret_bytes);

#endif
