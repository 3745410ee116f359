/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * order-check [--at-least N] [--at-most N] SEED DIR...: are these copies of the directories that order-write wrote
 * to, in the same order, together the state after exactly its first K operations, for some K (between the bounds)?
 * Prints K and ends with 0 if so.  Ends with 1 if there is none, and says what differs at the K that comes closest;
 * 2: cannot tell.
 *
 * All operations are replayed in memory.  After each, only the object it changed is compared again with what was
 * found, and the number of objects that differ is kept: K is where it is 0.
 */
#include "order-model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Operations replayed past the highest number found: those may have only taken something away. */
enum { REPLAY_BEYOND = 10000, IMPOSSIBLE_SHOWN_MAX = 20, DIFFERENCES_SHOWN_MAX = 20 };

struct check {
  struct order found, replayed; /* found.number: the highest number seen */
  bool differs[ORDER_DIRECTORIES_MAX][ORDER_OBJECTS];
  unsigned differing;
  unsigned impossible; /* things that no operation leaves behind */
};

__attribute__((noreturn)) static void die(const char *what) {
  fprintf(stderr, "order-check: %s: %s\n", what, strerror(errno));
  exit(2);
}

__attribute__((format(printf, 2, 3))) static void impossible(struct check *c, const char *format, ...) {
  if (c->impossible++ >= IMPOSSIBLE_SHOWN_MAX)
    return;
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
}

static uint64_t seen(struct check *c, uint64_t number) {
  if (number > c->found.number)
    c->found.number = number;
  return number;
}

static void *read_file(int directory, const char *name, size_t length_max, size_t *ret_length) {
  int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    die(name);
  char *data = malloc(length_max + 1);
  size_t length = 0;
  ssize_t n;
  while ((n = read(fd, data + length, length_max + 1 - length)) > 0)
    length += (size_t)n;
  if (n < 0)
    die(name);
  close(fd);
  *ret_length = length;
  return data;
}

/* The number that a run of words repeats. */
static uint64_t repeated(struct check *c, const uint64_t *words, size_t count, const char *name, unsigned at) {
  for (size_t i = 1; i < count; i++)
    if (words[i] != words[0]) {
      impossible(c, "%s: number %u is torn: %" PRIu64 " and %" PRIu64, name, at, words[0], words[i]);
      break;
    }
  return seen(c, words[0]);
}

static void load_append(struct check *c, int directory, struct order_append *append, const char *name) {
  enum { RECORD_BYTES = RECORD_WORDS * sizeof(uint64_t) };
  size_t length;
  uint64_t *words = read_file(directory, name, APPEND_RECORDS_MAX * RECORD_BYTES, &length);
  if (length % RECORD_BYTES || length > APPEND_RECORDS_MAX * RECORD_BYTES) {
    impossible(c, "%s: %zu bytes are no whole number of records", name, length);
    length = 0;
  }
  append->count = (unsigned)(length / RECORD_BYTES);
  for (unsigned i = 0; i < append->count; i++)
    append->numbers[i] = repeated(c, words + (size_t)i * RECORD_WORDS, RECORD_WORDS, name, i);
  free(words);
}

static void load_fixed(struct check *c, int directory, struct order_directory *d) {
  char name[ORDER_NAME_BYTES];
  size_t length;
  for (unsigned i = 0; i < APPEND_FILES; i++) {
    snprintf(name, sizeof name, "append-%u", i);
    load_append(c, directory, &d->append[i], name);
  }
  for (unsigned i = 0; i < STORE_FILES; i++) {
    snprintf(name, sizeof name, "store-%u", i);
    uint64_t *words = read_file(directory, name, STORE_SLOTS * STORE_SLOT_DISTANCE_BYTES, &length);
    if (length != STORE_SLOTS * STORE_SLOT_DISTANCE_BYTES)
      impossible(c, "%s: %zu bytes", name, length);
    else
      for (unsigned slot = 0; slot < STORE_SLOTS; slot++)
        d->store[i][slot] = seen(c, words[slot * (STORE_SLOT_DISTANCE_BYTES / sizeof *words)]);
    free(words);
  }
  uint64_t *words = read_file(directory, "direct", (size_t)DIRECT_BLOCKS * DIRECT_BLOCK_BYTES, &length);
  if (length != (size_t)DIRECT_BLOCKS * DIRECT_BLOCK_BYTES)
    impossible(c, "direct: %zu bytes", length);
  else
    for (unsigned i = 0; i < DIRECT_BLOCKS; i++)
      d->direct[i] = repeated(c, words + i * (DIRECT_BLOCK_BYTES / sizeof *words), DIRECT_BLOCK_BYTES / sizeof *words,
                              "direct", i);
  free(words);
}

/* Notes the numbers in the names "PREFIX-FILE-NUMBER" of a directory; a second one of the same file cannot be. */
static unsigned load_names(struct check *c, int parent, const char *path, const char *prefix, uint64_t *numbers,
                           bool *present, unsigned files) {
  int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir)
    die(path);
  size_t prefix_length = strlen(prefix);
  unsigned count = 0;
  for (struct dirent *e; (e = readdir(dir));) {
    unsigned file;
    uint64_t number;
    if (strncmp(e->d_name, prefix, prefix_length) != 0)
      continue;
    if (sscanf(e->d_name + prefix_length, "-%u-%" SCNu64, &file, &number) != 2 || file >= files || present[file]) {
      impossible(c, "%s/%s cannot be there", path, e->d_name);
      continue;
    }
    present[file] = true;
    numbers[file] = seen(c, number);
    count++;
  }
  closedir(dir);
  return count;
}

static void load(struct check *c, const char *path, struct order_directory *d) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    die(path);
  bool toggles[TOGGLE_FILES] = {0}, renames[RENAME_FILES] = {0};
  load_fixed(c, fd, d);
  load_names(c, fd, ".", "toggle", d->toggle, toggles, TOGGLE_FILES);
  unsigned renamed = load_names(c, fd, "one", "renamed", d->renamed, renames, RENAME_FILES);
  renamed += load_names(c, fd, "two", "renamed", d->renamed, renames, RENAME_FILES);
  if (renamed != RENAME_FILES)
    impossible(c, "%s: %u of %u renamed files", path, renamed, (unsigned)RENAME_FILES);
  close(fd);
}

static bool same_append(const struct order_append *a, const struct order_append *b) {
  return a->count == b->count && memcmp(a->numbers, b->numbers, a->count * sizeof *a->numbers) == 0;
}

static bool same(const struct order_directory *a, const struct order_directory *b, const struct order_operation *op) {
  switch (op->kind) {
  case ORDER_APPEND:
  case ORDER_TRUNCATE:
    return same_append(&a->append[op->file], &b->append[op->file]);
  case ORDER_STORE:
    return a->store[op->file][op->slot] == b->store[op->file][op->slot];
  case ORDER_DIRECT:
    return a->direct[op->slot] == b->direct[op->slot];
  case ORDER_TOGGLE:
    return a->toggle[op->file] == b->toggle[op->file];
  case ORDER_RENAME:
    break;
  }
  return a->renamed[op->file] == b->renamed[op->file];
}

static void compare(struct check *c, const struct order_operation *op) {
  bool *differs = &c->differs[op->directory][order_object(op)];
  bool now = !same(&c->found.directories[op->directory], &c->replayed.directories[op->directory], op);
  c->differing += (unsigned)now - (unsigned)*differs;
  *differs = now;
}

/* Every object of every directory, as an operation that would change it. */
static void each_object(struct check *c, void (*visit)(struct check *, const struct order_operation *)) {
  static const struct {
    enum order_kind kind;
    unsigned files, slots;
  } objects[] = {
      {ORDER_APPEND, APPEND_FILES, 1}, {ORDER_STORE, STORE_FILES, STORE_SLOTS}, {ORDER_DIRECT, 1, DIRECT_BLOCKS},
      {ORDER_TOGGLE, TOGGLE_FILES, 1}, {ORDER_RENAME, RENAME_FILES, 1},
  };
  for (unsigned directory = 0; directory < c->found.directory_count; directory++)
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
      for (unsigned file = 0; file < objects[i].files; file++)
        for (unsigned slot = 0; slot < objects[i].slots; slot++)
          visit(c, &(struct order_operation){
                       .kind = objects[i].kind, .directory = directory, .file = file, .slot = slot});
}

/* Replays up to `to`; returns the first K within the bounds at which nothing differs, else 0 and the closest one. */
static bool replay(struct check *c, uint64_t from, uint64_t to, uint64_t *ret_closest, unsigned *ret_differing) {
  memset(&c->replayed, 0, sizeof c->replayed);
  memset(c->differs, 0, sizeof c->differs);
  c->differing = 0;
  c->replayed.seed = c->found.seed;
  c->replayed.directory_count = c->found.directory_count;
  each_object(c, compare);
  *ret_differing = UINT32_MAX;
  for (;;) {
    if (c->replayed.number >= from && c->differing < *ret_differing) {
      *ret_closest = c->replayed.number;
      *ret_differing = c->differing;
    }
    if (*ret_differing == 0 || c->replayed.number >= to)
      return *ret_differing == 0;
    struct order_operation op = order_next(&c->replayed);
    order_apply(&c->replayed, &op);
    compare(c, &op);
  }
}

static unsigned shown;
static void show_difference(struct check *c, const struct order_operation *op) {
  static const char *const names[] = {[ORDER_APPEND] = "append",
                                      [ORDER_STORE] = "store",
                                      [ORDER_DIRECT] = "direct",
                                      [ORDER_TOGGLE] = "toggle",
                                      [ORDER_RENAME] = "renamed"};
  if (!c->differs[op->directory][order_object(op)] || shown++ >= DIFFERENCES_SHOWN_MAX)
    return;
  const struct order_directory *f = &c->found.directories[op->directory],
                               *r = &c->replayed.directories[op->directory];
  printf("directory %u, %s %u slot %u: ", op->directory, names[op->kind], op->file, op->slot);
  if (op->kind == ORDER_APPEND) {
    const struct order_append *a = &f->append[op->file], *b = &r->append[op->file];
    printf("%u records up to %" PRIu64 ", should be %u up to %" PRIu64 "\n", a->count,
           a->count ? a->numbers[a->count - 1] : 0, b->count, b->count ? b->numbers[b->count - 1] : 0);
    return;
  }
  uint64_t is = op->kind == ORDER_STORE    ? f->store[op->file][op->slot]
                : op->kind == ORDER_DIRECT ? f->direct[op->slot]
                : op->kind == ORDER_TOGGLE ? f->toggle[op->file]
                                           : f->renamed[op->file];
  uint64_t should = op->kind == ORDER_STORE    ? r->store[op->file][op->slot]
                    : op->kind == ORDER_DIRECT ? r->direct[op->slot]
                    : op->kind == ORDER_TOGGLE ? r->toggle[op->file]
                                               : r->renamed[op->file];
  printf("%" PRIu64 ", should be %" PRIu64 "\n", is, should);
}

int main(int argc, char **argv) {
  static struct check c;
  uint64_t from = 0, to = UINT64_MAX, closest = 0;
  unsigned differing;
  int i = 1;
  for (; i + 1 < argc && strncmp(argv[i], "--at-", 5) == 0; i += 2)
    *(strcmp(argv[i], "--at-least") == 0 ? &from : &to) = strtoull(argv[i + 1], NULL, 10);
  if (argc - i < 2 || argc - i - 1 > ORDER_DIRECTORIES_MAX) {
    fprintf(stderr, "usage: order-check [--at-least N] [--at-most N] SEED DIR...\n");
    return 2;
  }
  c.found.seed = strtoull(argv[i++], NULL, 10);
  c.found.directory_count = (unsigned)(argc - i);
  for (unsigned d = 0; i < argc; i++, d++)
    load(&c, argv[i], &c.found.directories[d]);
  if (c.impossible)
    return 1;
  uint64_t beyond = (c.found.number > from ? c.found.number : from) + REPLAY_BEYOND;
  if (replay(&c, from, to < beyond ? to : beyond, &closest, &differing)) {
    printf("%" PRIu64 "\n", closest);
    return 0;
  }
  printf("no prefix: highest number found %" PRIu64 ", bounds %" PRIu64 "…%" PRIu64 "; closest is %" PRIu64
         ", where %u objects differ:\n",
         c.found.number, from, to, closest, differing);
  (void)replay(&c, closest, closest, &closest, &differing);
  each_object(&c, show_difference);
  return 1;
}
