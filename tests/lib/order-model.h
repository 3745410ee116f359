/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The order proof's model: an endless list of operations, number 1, 2, 3 …, on files in several directories
 * (volumes), and what the files hold after each of them.
 *
 * order-write carries the operations out, one after the other, each finished before the next begins.  Operation and
 * state follow from the seed alone, so order-check can tell for any copy of the directories whether there is a number
 * K with copy = state after exactly the operations 1…K: then the copy is a prefix, one instant over all directories.
 * If there is none, the copy shows an operation without one that was finished before it began, and is no instant.
 *
 * Each operation is one system call (or one 8-byte store) that changes something, so none is ever seen half done:
 *     append    write(2) of one record at the end of a file
 *     store     one 64-bit store into a shared mapping
 *     direct    pwrite(2) of one block with O_DIRECT
 *     toggle    open(2) with O_CREAT | O_EXCL of a file that is not there, unlink(2) of one that is
 *     rename    rename(2) of a file into another directory of the same volume
 *     truncate  ftruncate(2) of an append file to half of its records
 * Every one of them leaves its number behind (in a record, a slot, a block, a file name) or takes others' away.
 *
 * What may be asked of whom:
 * - A frozen volume (ext4, XFS) shows every operation that returned before the freeze began, synced or not:
 * freeze_super() first stops new writes and page faults and then writes out all that is dirty.  A store to a page
 * that is still writable then lands before that page is written out; a store after that faults and waits.
 * - btrfs orders its snapshot only with what was synced.  In a directory given as DIR:synced each operation is
 * followed by fsync(2) or msync(2) of what it changed before the next begins; with that, btrfs has to show a prefix
 * too.
 */
#ifndef TESTS_LIB_ORDER_MODEL_H
#define TESTS_LIB_ORDER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  ORDER_DIRECTORIES_MAX = 8,
  APPEND_FILES = 3,
  APPEND_RECORDS_MAX = 512,
  RECORD_WORDS = 8, /* a record is its operation's number, this many times over: a torn one shows */
  STORE_FILES = 2,
  STORE_SLOTS = 64,
  STORE_SLOT_DISTANCE_BYTES = 1024, /* four slots a page */
  DIRECT_BLOCKS = 32,
  DIRECT_BLOCK_BYTES = 4096,
  TOGGLE_FILES = 16,
  RENAME_FILES = 4,
  ORDER_OBJECTS = APPEND_FILES + STORE_FILES * STORE_SLOTS + DIRECT_BLOCKS + TOGGLE_FILES + RENAME_FILES,
};

enum order_kind { ORDER_APPEND, ORDER_STORE, ORDER_DIRECT, ORDER_TOGGLE, ORDER_RENAME, ORDER_TRUNCATE };
enum order_sync { ORDER_SYNC_NONE, ORDER_SYNC_DATA, ORDER_SYNC_FULL };

struct order_append {
  unsigned count;
  uint64_t numbers[APPEND_RECORDS_MAX];
};

/* What one directory holds; a number is that of the operation that left it there, 0 = as at the start. */
struct order_directory {
  struct order_append append[APPEND_FILES];
  uint64_t store[STORE_FILES][STORE_SLOTS];
  uint64_t direct[DIRECT_BLOCKS];
  uint64_t toggle[TOGGLE_FILES];  /* 0: not there; else the file's name carries it */
  uint64_t renamed[RENAME_FILES]; /* the file's name carries it; always there */
};

struct order {
  uint64_t seed;
  uint64_t number; /* of the last operation applied */
  unsigned directory_count;
  struct order_directory directories[ORDER_DIRECTORIES_MAX];
};

struct order_operation {
  uint64_t number;
  enum order_kind kind;
  enum order_sync sync;
  unsigned directory;
  unsigned file;        /* which append, store, toggle or renamed file */
  unsigned slot;        /* store slot or direct block */
  unsigned count_after; /* truncate: records that stay */
  uint64_t previous;    /* toggle, rename: the number that the file's name carries before; 0: not there */
};

/* The operation after o->number. */
struct order_operation order_next(const struct order *o);

/* Makes o the state after it. */
void order_apply(struct order *o, const struct order_operation *operation);

/* Which of its directory's ORDER_OBJECTS objects the operation changes. */
unsigned order_object(const struct order_operation *operation);

/* The objects' names in the file system; text is the caller's. */
enum { ORDER_NAME_BYTES = 64 };
void order_toggle_name(char text[ORDER_NAME_BYTES], unsigned file, uint64_t number);
void order_renamed_name(char text[ORDER_NAME_BYTES], unsigned file, uint64_t number); /* "one/…" or "two/…" */

#endif
