/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * order-write SEED PROGRESS DIR[:synced]...: carries out the operations of order-model.h in the directories (each
 * empty, each on a volume of its own), as fast as it can, until SIGTERM.  PROGRESS is a file outside of them that
 * always holds the number of the last operation finished, 20 digits; it appears once everything is set up.  Prints
 * the last number at its end.
 */
#include "order-model.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STORE_FILE_BYTES = STORE_SLOTS * STORE_SLOT_DISTANCE_BYTES, PROGRESS_DIGITS = 20 };

struct place {
  bool synced;
  int fd; /* the directory */
  int append_fds[APPEND_FILES], direct_fd;
  unsigned char *stores[STORE_FILES];
};

static volatile sig_atomic_t stopped;
static void stop(int number) {
  (void)number;
  stopped = 1;
}

__attribute__((noreturn)) static void die(const char *what) {
  fprintf(stderr, "order-write: %s: %s\n", what, strerror(errno));
  exit(2);
}

static int must(int result, const char *what) {
  if (result < 0)
    die(what);
  return result;
}

static int create_at(int directory, const char *name, int flags) {
  return must(openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | flags, 0600), name);
}

static void *direct_buffer(void) {
  static _Alignas(DIRECT_BLOCK_BYTES) uint64_t buffer[DIRECT_BLOCK_BYTES / sizeof(uint64_t)];
  return buffer;
}

static void write_direct(struct place *p, unsigned block, uint64_t number) {
  uint64_t *buffer = direct_buffer();
  for (size_t i = 0; i < DIRECT_BLOCK_BYTES / sizeof *buffer; i++)
    buffer[i] = number;
  if (pwrite(p->direct_fd, buffer, DIRECT_BLOCK_BYTES, (off_t)block * DIRECT_BLOCK_BYTES) != DIRECT_BLOCK_BYTES)
    die("direct write");
}

static void set_up(struct place *p, char *argument) {
  char *colon = strrchr(argument, ':'), name[ORDER_NAME_BYTES];
  if (colon && strcmp(colon, ":synced") == 0) {
    p->synced = true;
    *colon = '\0';
  }
  p->fd = must(open(argument, O_RDONLY | O_DIRECTORY | O_CLOEXEC), argument);
  must(mkdirat(p->fd, "one", 0700), "mkdir");
  must(mkdirat(p->fd, "two", 0700), "mkdir");
  for (unsigned i = 0; i < APPEND_FILES; i++) {
    snprintf(name, sizeof name, "append-%u", i);
    p->append_fds[i] = create_at(p->fd, name, O_APPEND);
  }
  for (unsigned i = 0; i < STORE_FILES; i++) {
    snprintf(name, sizeof name, "store-%u", i);
    int fd = create_at(p->fd, name, 0);
    must(ftruncate(fd, STORE_FILE_BYTES), "ftruncate");
    p->stores[i] = mmap(NULL, STORE_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p->stores[i] == MAP_FAILED)
      die("mmap");
    memset(p->stores[i], 0, STORE_FILE_BYTES);
    close(fd);
  }
  p->direct_fd = create_at(p->fd, "direct", O_DIRECT);
  for (unsigned i = 0; i < DIRECT_BLOCKS; i++)
    write_direct(p, i, 0);
  for (unsigned i = 0; i < RENAME_FILES; i++) {
    order_renamed_name(name, i, 0);
    close(create_at(p->fd, name, 0));
  }
  must(syncfs(p->fd), "syncfs");
}

static void sync_file(int fd, enum order_sync sync) {
  if (sync == ORDER_SYNC_DATA)
    must(fdatasync(fd), "fdatasync");
  else if (sync == ORDER_SYNC_FULL)
    must(fsync(fd), "fsync");
}

static void append(struct place *p, const struct order_operation *op, enum order_sync sync) {
  uint64_t record[RECORD_WORDS];
  for (size_t i = 0; i < RECORD_WORDS; i++)
    record[i] = op->number;
  if (write(p->append_fds[op->file], record, sizeof record) != sizeof record)
    die("append");
  sync_file(p->append_fds[op->file], sync);
}

static void store(struct place *p, const struct order_operation *op, enum order_sync sync) {
  _Atomic uint64_t *slot = (void *)(p->stores[op->file] + op->slot * STORE_SLOT_DISTANCE_BYTES);
  atomic_store(slot, op->number);
  if (sync != ORDER_SYNC_NONE)
    must(msync(p->stores[op->file], STORE_FILE_BYTES, MS_SYNC), "msync");
}

static void toggle(struct place *p, const struct order_operation *op) {
  char name[ORDER_NAME_BYTES];
  order_toggle_name(name, op->file, op->previous ? op->previous : op->number);
  if (op->previous)
    must(unlinkat(p->fd, name, 0), name);
  else
    close(create_at(p->fd, name, 0));
}

static void move(struct place *p, const struct order_operation *op) {
  char from[ORDER_NAME_BYTES], to[ORDER_NAME_BYTES];
  order_renamed_name(from, op->file, op->previous);
  order_renamed_name(to, op->file, op->number);
  must(renameat(p->fd, from, p->fd, to), from);
}

static void carry_out(struct place *p, const struct order_operation *op) {
  enum order_sync sync = p->synced ? ORDER_SYNC_FULL : op->sync;
  switch (op->kind) {
  case ORDER_APPEND:
    append(p, op, sync);
    break;
  case ORDER_STORE:
    store(p, op, sync);
    break;
  case ORDER_DIRECT:
    write_direct(p, op->slot, op->number);
    sync_file(p->direct_fd, sync);
    break;
  case ORDER_TOGGLE:
    toggle(p, op);
    sync_file(p->fd, sync);
    break;
  case ORDER_RENAME:
    move(p, op);
    sync_file(p->fd, sync);
    break;
  case ORDER_TRUNCATE:
    must(ftruncate(p->append_fds[op->file], (off_t)(op->count_after * RECORD_WORDS * sizeof(uint64_t))), "truncate");
    sync_file(p->append_fds[op->file], sync);
    break;
  }
}

/* The progress file is a mapping, so that telling costs no system call an operation. */
static char *progress_open(const char *path) {
  char temporary[4096];
  snprintf(temporary, sizeof temporary, "%s.new", path);
  int fd = must(open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), temporary);
  must(ftruncate(fd, PROGRESS_DIGITS + 1), "ftruncate");
  char *text = mmap(NULL, PROGRESS_DIGITS + 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (text == MAP_FAILED)
    die("mmap");
  memset(text, '0', PROGRESS_DIGITS);
  text[PROGRESS_DIGITS] = '\n';
  close(fd);
  must(rename(temporary, path), path);
  return text;
}

static void progress_tell(char *text, uint64_t number) {
  for (int i = PROGRESS_DIGITS - 1; i >= 0 && number; i--, number /= 10)
    text[i] = (char)('0' + number % 10);
}

int main(int argc, char **argv) {
  static struct place places[ORDER_DIRECTORIES_MAX];
  static struct order o;
  if (argc < 4 || argc - 3 > ORDER_DIRECTORIES_MAX) {
    fprintf(stderr, "usage: order-write SEED PROGRESS DIR[:synced]...\n");
    return 2;
  }
  o.seed = strtoull(argv[1], NULL, 10);
  o.directory_count = (unsigned)argc - 3;
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  for (unsigned i = 0; i < o.directory_count; i++)
    set_up(&places[i], argv[3 + i]);
  char *progress = progress_open(argv[2]);
  while (!stopped) {
    struct order_operation op = order_next(&o);
    carry_out(&places[op.directory], &op);
    order_apply(&o, &op);
    progress_tell(progress, op.number);
  }
  printf("%" PRIu64 "\n", o.number);
  return 0;
}
