/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes what reads the kernel's descriptors of ublk requests, over an engine with a shadow copy.  The input is a
 * list of them: a byte for how many come together, then each one's bytes.  Whatever comes, the engine's index must
 * hold, the shadow copy stay what it was, and an answer never be longer than what was asked for. With replay.c it is
 * a program that runs each file of the corpus once.
 */
#include "cow/engine.h"
#include "cow/front/ublk-queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Making and ending a context of the kernel's takes a grace period; transfers go one after the other without. */
int io_setup(int events, io_context_t *context) {
  (void)events;
  (void)context;
  return -ENOSYS;
}

enum {
  CHUNK = 4096,
  VOLUME_BYTES = 40 * CHUNK + 512,
  SLOTS = 64,
  TOGETHER_MAX = 4,
  ROUNDS_MAX = 64,
};

struct input {
  const uint8_t *at;
  size_t left;
};
static unsigned take(struct input *in) {
  if (in->left == 0)
    return 0;
  in->left--;
  return *in->at++;
}
static void take_bytes(struct input *in, void *to, size_t count) {
  size_t n = count < in->left ? count : in->left;
  memcpy(to, in->at, n);
  in->at += n;
  in->left -= n;
}

struct volume {
  int origin_fd, storage_fd;
  struct cow_storage *storage;
  struct cow_arena arena;
  struct cow_engine *engine;
  unsigned char then[VOLUME_BYTES];
};

static unsigned char *ublk_data, *kernel_data;

static void check(bool holds) {
  if (!holds)
    abort();
}

static void open_volume(struct volume *v) {
  struct umbra_error err = {0};
  struct cow_geometry g = {.volume_bytes = VOLUME_BYTES, .chunk_bytes = CHUNK};
  v->origin_fd = memfd_create("origin", MFD_CLOEXEC);
  v->storage_fd = memfd_create("storage", MFD_CLOEXEC);
  for (size_t i = 0; i < VOLUME_BYTES; i++)
    v->then[i] = (unsigned char)(i / 512 + 1);
  check(v->origin_fd >= 0 && v->storage_fd >= 0 &&
        pwrite(v->origin_fd, v->then, VOLUME_BYTES, 0) == (ssize_t)VOLUME_BYTES);
  struct cow_storage_options so = {.fd = v->storage_fd, .chunk_bytes = CHUNK, .limit_bytes = (uint64_t)SLOTS * CHUNK};
  check(cow_arena_create(&v->arena, &g, SLOTS, COW_SLOTS_MAX, &err) >= 0 &&
        cow_storage_open(&so, &v->storage, &err) >= 0);
  struct cow_engine_options eo = {.origin_fd = v->origin_fd, .storage = v->storage, .arena = &v->arena, .lanes = 2};
  check(cow_engine_open(&eo, &v->engine, &err) >= 0 && cow_engine_begin(v->engine, "then", &err) >= 0 &&
        cow_engine_commit(v->engine, "then", true) >= 0);
}

static void close_volume(struct volume *v) {
  cow_engine_close(v->engine);
  cow_storage_close(v->storage);
  cow_arena_done(&v->arena);
  (void)close(v->origin_fd);
  (void)close(v->storage_fd);
}

static int move(void *context, uint16_t tag, bool from_request, void *buffer, size_t bytes) {
  (void)context;
  check(bytes <= COW_REQUEST_BYTES_MAX);
  if (from_request)
    memset(buffer, tag, bytes);
  else
    memcpy(kernel_data, buffer, bytes);
  return tag == 3 ? -EFAULT : 0;
}

static void ask(struct volume *v, struct input *in, size_t count) {
  struct ublk_request requests[TOGETHER_MAX];
  struct ublk_worker w = {.engine = v->engine, .data = ublk_data, .move = move};
  for (size_t i = 0; i < count; i++) {
    requests[i] = (struct ublk_request){.tag = (uint16_t)i, .result = INT32_MAX};
    take_bytes(in, &requests[i].descriptor, sizeof requests[i].descriptor);
  }
  ublk_answer(&w, requests, count);
  for (size_t i = 0; i < count; i++)
    check(requests[i].result <= 0 ||
          (uint64_t)requests[i].result == (uint64_t)requests[i].descriptor.nr_sectors * COW_SECTOR_BYTES);
}

static void check_shadow(struct volume *v) {
  static unsigned char got[(VOLUME_BYTES + COW_BUFFER_ALIGNMENT - 1) / COW_BUFFER_ALIGNMENT * COW_BUFFER_ALIGNMENT]
      __attribute__((aligned(COW_BUFFER_ALIGNMENT)));
  struct cow_shadow *s;
  check(!cow_engine_check(v->engine));
  check(cow_shadow_open(v->engine, "then", &s, NULL) >= 0);
  check(cow_shadow_read(s, got, VOLUME_BYTES, 0) >= 0 && memcmp(got, v->then, VOLUME_BYTES) == 0);
  cow_shadow_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input in = {data, size};
  static struct volume v;
  if (!ublk_data) {
    ublk_data = aligned_alloc(COW_BUFFER_ALIGNMENT, UBLK_DATA_BYTES);
    kernel_data = malloc(COW_REQUEST_BYTES_MAX);
    check(ublk_data && kernel_data);
  }
  open_volume(&v);
  for (unsigned round = 0; in.left > 0 && round < ROUNDS_MAX; round++)
    ask(&v, &in, 1 + take(&in) % TOGETHER_MAX);
  check_shadow(&v);
  close_volume(&v);
  return 0;
}
