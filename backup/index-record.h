/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One record of the index as bytes. Private to index-*.c, tests and fuzzing. */
#ifndef BACKUP_INDEX_RECORD_H
#define BACKUP_INDEX_RECORD_H

#include "backup/index.h"

enum { INDEX_NUMBER_BYTES_MAX = 10 };

#define INDEX_MAGIC "UMBRAIDX"
enum { INDEX_MAGIC_BYTES = 8 };

/* Numbers: 7 bits a byte, lowest first, the top bit says that more follow. Returns the bytes written. */
size_t index_number_encode(uint64_t value, uint8_t *to);
/* Returns the bytes read; 0 if there is no number, or one that has a shorter form. */
size_t index_number_decode(const uint8_t *from, size_t length_bytes, uint64_t *ret);

static inline uint64_t index_zigzag(int64_t value) { return (uint64_t)value << 1 ^ (uint64_t)(value >> 63); }
static inline int64_t index_unzigzag(uint64_t value) { return (int64_t)(value >> 1) ^ -(int64_t)(value & 1); }

/* Bytes of the record, at most INDEX_RECORD_BYTES_MAX. previous: path of the record before it, "" for the first. */
size_t index_record_encode(const struct index_record *record, const char *previous, uint8_t *to);

/* *record holds the record before it (its path is read) and becomes this one. 0 or -EBADMSG with the reason. */
int index_record_decode(struct index_record *record, const uint8_t *from, size_t length_bytes,
                        struct umbra_error *err);

#endif
