/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the ledger share. */
#ifndef COW_LEDGER_STATE_H
#define COW_LEDGER_STATE_H

#include "cow/ledger.h"

#include <pthread.h>

enum {
  LEDGER_BLOCKS = 64, /* of cells, kept in memory */
  /* Buffers of COW_DISK_BLOCK_BYTES: */
  LEDGER_SUPER_BUFFER = 0,
  LEDGER_TABLE_BUFFER,
  LEDGER_ORIGIN_BUFFER, /* COW_WITNESS_PLACES of them */
  LEDGER_CACHED_FIRST = LEDGER_ORIGIN_BUFFER + COW_WITNESS_PLACES,
  LEDGER_BUFFERS = LEDGER_CACHED_FIRST + LEDGER_BLOCKS,
};

/* One commit that waits for its flush; on its thread's stack. */
struct ledger_waiter {
  struct ledger_waiter *next;
  const struct cow_stored *stored;
  size_t count;
  uint32_t epoch;
  bool done;
  int result;
};

struct cow_ledger {
  int storage_fd, origin_fd;
  struct cow_arena *arena;
  unsigned char *buffers;

  pthread_mutex_t lock; /* who waits; a leaf */
  pthread_cond_t flushed;
  struct ledger_waiter *waiting;
  bool leading; /* somebody flushes; what follows is his */
  struct ledger_block {
    uint64_t offset; /* 0: none */
    bool changed;
  } blocks[LEDGER_BLOCKS];
  unsigned next_victim;

  pthread_mutex_t table;       /* records and superblock, while they are written; under witness */
  struct cow_disk_super super; /* but for seed and sizes, which never change */

  pthread_mutex_t witness; /* writes to its sectors, one at a time */
  bool watching;           /* the superblock's sums hold */
  bool pending;            /* the origin has not been flushed since the last write there */
  bool reread;             /* a sector was written twice at once: which one came last is not known */
};

/*
 * What the last server made durable and did not publish must go before its slot takes something else: the cell would
 * say that this is what it says (E14).
 */
int cow_ledger_clear_unpublished(struct cow_ledger *l);
int cow_ledger_start(struct cow_ledger *l, struct umbra_error *err);
/* Marks the ledger failed if r is an error. Returns r. */
int cow_ledger_failed(struct cow_ledger *l, int r);

#endif
