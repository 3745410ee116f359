/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the FUSE front: the input becomes requests, well formed or not, that a front with its threads takes from a
 * session (tests/lib/fuse-session.h) and carries out on a small volume with two shadow copies.  Whatever it says,
 * each request that can be answered gets one answer, of a sound form; shadow copies stay what they were, and so does
 * the engine's index.  With replay.c it is a program that runs each file of the corpus once.
 */
#include "common/fd.h"
#include "cow/engine.h"
#include "cow/front/fuse.h"
#include "tests/lib/fuse-session.h"

#include "tests/fuzz/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libaio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Making and ending a context of the kernel's takes a grace period; transfers go one after the other without. */
int io_setup(int events, io_context_t *context) {
  (void)events;
  (void)context;
  return -ENOSYS;
}

enum {
  CHUNK = 4096,
  CHUNKS = 24,
  VOLUME_BYTES = CHUNKS * CHUNK - 512,
  SLOTS = 3 * CHUNKS, /* two shadow copies never need more */
  REQUESTS_MAX = 48,
  SHADOWS = 2,
  NODE_SHADOWS = 16,
  ARGUMENT_BYTES = FUSE_FRONT_HEAD_BYTES - (int)sizeof(struct fuse_in_header),
};
static const uint64_t last_unique = 1 << 20;

/* Sectors of the volume and a little beyond, or anything. */
static uint64_t take_offset(struct input *in) {
  unsigned kind = take(in);
  uint64_t value = kind < 240 ? (uint64_t)kind * 512 : 0;
  if (kind >= 240)
    take_bytes(in, (unsigned char *)&value, sizeof value);
  return value;
}

/* One run: the volume, and what was asked. */
struct run {
  int origin_fd, storage_fd;
  struct cow_arena arena;
  struct cow_storage *storage;
  struct cow_engine *engine;
  struct fuse_front *front;
  struct asked {
    uint32_t opcode;
    uint64_t node, offset_bytes;
    bool wants_answer, answered;
  } asked[REQUESTS_MAX + 1]; /* by unique, from 1 */
  unsigned count;
};
static unsigned char images[SHADOWS][VOLUME_BYTES];

static void make_shadow(struct run *r, unsigned i) {
  static unsigned char data[VOLUME_BYTES] __attribute__((aligned(COW_BUFFER_ALIGNMENT)));
  char id[] = {(char)('a' + i), '\0'};
  for (size_t at = 0; at < VOLUME_BYTES; at++)
    data[at] = (unsigned char)(at / 512 * (3 + i) + i);
  must(cow_engine_write(r->engine, data, VOLUME_BYTES, 0) == 0, "the volume cannot be written to");
  memcpy(images[i], data, VOLUME_BYTES);
  must(cow_engine_begin(r->engine, id, NULL) == 0 && cow_engine_commit(r->engine, id, true) == 0, "no shadow copy");
}

static void begin_run(struct run *r) {
  struct cow_geometry g = {.volume_bytes = VOLUME_BYTES, .chunk_bytes = CHUNK};
  *r = (struct run){.origin_fd = memfd_create("origin", MFD_CLOEXEC),
                    .storage_fd = memfd_create("storage", MFD_CLOEXEC)};
  must(r->origin_fd >= 0 && r->storage_fd >= 0 && ftruncate(r->origin_fd, VOLUME_BYTES) == 0, "no memory");
  struct cow_storage_options so = {.fd = r->storage_fd, .chunk_bytes = CHUNK, .limit_bytes = (uint64_t)SLOTS * CHUNK};
  must(cow_arena_create(&r->arena, &g, SLOTS, COW_SLOTS_MAX, NULL) == 0 && cow_storage_open(&so, &r->storage, NULL) == 0, "no rig");
  struct cow_engine_options eo = {.origin_fd = r->origin_fd, .storage = r->storage, .arena = &r->arena, .lanes = 2};
  must(cow_engine_open(&eo, &r->engine, NULL) == 0, "the engine does not start");
  for (unsigned i = 0; i < SHADOWS; i++)
    make_shadow(r, i);
}

/* What the front gives no answer to: there is nobody to give it to, or nobody who waits. */
static bool wants_answer(const struct fuse_in_header *h, size_t bytes) {
  return bytes >= sizeof *h && h->len == bytes && h->opcode != FUSE_FORGET && h->opcode != FUSE_BATCH_FORGET &&
         h->opcode != FUSE_INTERRUPT;
}

static void send(struct run *r, unsigned char *packet, size_t bytes, uint64_t offset_bytes) {
  struct fuse_in_header h = {0};
  uint64_t unique = ++r->count;
  if (bytes >= offsetof(struct fuse_in_header, unique) + sizeof unique)
    memcpy(packet + offsetof(struct fuse_in_header, unique), &unique, sizeof unique);
  memcpy(&h, packet, bytes < sizeof h ? bytes : sizeof h);
  r->asked[unique] = (struct asked){
      .opcode = h.opcode, .node = h.nodeid, .offset_bytes = offset_bytes, .wants_answer = wants_answer(&h, bytes)};
  fuse_session_send_bytes(packet, bytes);
}

/* Any bytes. */
static void send_raw(struct run *r, struct input *in) {
  static unsigned char packet[256];
  size_t bytes = 1 + take(in);
  memset(packet, 0, sizeof packet);
  take_bytes(in, packet, bytes);
  /* As a read of a shadow copy its offset would have to be known. */
  uint64_t offset_bytes = 0;
  memcpy(&offset_bytes, packet + sizeof(struct fuse_in_header) + offsetof(struct fuse_read_in, offset), 8);
  send(r, packet, bytes, offset_bytes);
}

/* One with a sound header, an operation of those there are, and arguments that may make sense. */
static void send_formed(struct run *r, struct input *in) {
  static const uint32_t opcodes[] = {FUSE_WRITE,   FUSE_READ,    FUSE_FALLOCATE, FUSE_LOOKUP,  FUSE_OPEN,
                                     FUSE_RELEASE, FUSE_GETATTR, FUSE_FSYNC,     FUSE_INIT,    FUSE_STATFS,
                                     FUSE_OPENDIR, FUSE_READDIR, FUSE_INTERRUPT, FUSE_DESTROY, FUSE_SETATTR};
  static const uint64_t nodes[] = {2, NODE_SHADOWS + 1, NODE_SHADOWS + 2, 1, NODE_SHADOWS, 0};
  static unsigned char packet[FUSE_FRONT_HEAD_BYTES + (1 << 16)];
  struct fuse_in_header h = {.opcode = opcodes[take(in) % (sizeof opcodes / sizeof opcodes[0])],
                             .nodeid = nodes[take(in) % (sizeof nodes / sizeof nodes[0])]};
  unsigned char *arguments = packet + sizeof h, *data = packet + FUSE_FRONT_HEAD_BYTES;
  uint64_t offset_bytes = take_offset(in), length_bytes = take_offset(in);
  size_t bytes = ARGUMENT_BYTES;
  memset(packet, 0, FUSE_FRONT_HEAD_BYTES);
  if (h.opcode == FUSE_READ || h.opcode == FUSE_WRITE) {
    struct fuse_write_in io = {.offset = offset_bytes, .size = (uint32_t)length_bytes};
    memcpy(arguments, &io, sizeof io); /* a read's are alike up to there */
    if (h.opcode == FUSE_WRITE) {
      size_t given = length_bytes < 1 << 16 ? (size_t)length_bytes : 1 << 16;
      memset(data, (int)take(in), given);
      bytes += given;
    }
  } else if (h.opcode == FUSE_FALLOCATE) {
    struct fuse_fallocate_in f = {.offset = offset_bytes, .length = length_bytes, .mode = take(in)};
    memcpy(arguments, &f, sizeof f);
  } else if (h.opcode == FUSE_LOOKUP) {
    static const char *const names[] = {"volume", "shadow-a", "shadow-b", "shadow-", "shadow-aa"};
    unsigned which = take(in);
    bytes = 1 + take(in);
    if (which < sizeof names / sizeof names[0])
      bytes = (size_t)snprintf((char *)arguments, ARGUMENT_BYTES, "%s", names[which]) + 1;
    else
      take_bytes(in, arguments, bytes);
  } else
    take_bytes(in, arguments, take(in) % ARGUMENT_BYTES);
  h.len = (uint32_t)(sizeof h + bytes);
  memcpy(packet, &h, sizeof h);
  send(r, packet, h.len, offset_bytes);
}

/* An answer to one of the requests. */
static void judge(struct run *r, const unsigned char *answer, size_t bytes) {
  const struct fuse_out_header *out = (const void *)answer;
  must(bytes >= sizeof *out && out->len == bytes, "an answer of another length than it says");
  must(out->error <= 0 && out->error > -4096, "an error that is none");
  must(out->error == 0 || bytes == sizeof *out, "an error with something behind it");
  must(out->unique > 0 && out->unique <= r->count, "an answer to nobody");
  struct asked *a = &r->asked[out->unique];
  must(a->wants_answer && !a->answered, "a second answer, or one that nobody waits for");
  a->answered = true;
  if (a->opcode != FUSE_READ || out->error != 0 || a->node <= NODE_SHADOWS || a->node > NODE_SHADOWS + SHADOWS)
    return;
  size_t got = bytes - sizeof *out;
  must(got == 0 || (a->offset_bytes < VOLUME_BYTES && got <= VOLUME_BYTES - a->offset_bytes), "more than there is");
  must(got == 0 || memcmp(answer + sizeof *out, images[a->node - NODE_SHADOWS - 1] + a->offset_bytes, got) == 0,
       "a shadow copy changed");
}

/* All answers, up to that of a last request that is sent for it. */
static void receive_all(struct run *r) {
  static unsigned char answer[COW_REQUEST_BYTES_MAX + 4096] __attribute__((aligned(16)));
  struct fuse_getattr_in last = {0};
  fuse_session_send(FUSE_GETATTR, FUSE_ROOT_ID, last_unique, &last, sizeof last, NULL, 0);
  for (;;) {
    size_t bytes = fuse_session_receive(answer, sizeof answer);
    must(bytes <= sizeof answer, "an answer longer than any may be");
    if (bytes >= sizeof(struct fuse_out_header) && ((struct fuse_out_header *)(void *)answer)->unique == last_unique)
      break;
    judge(r, answer, bytes);
  }
  for (unsigned i = 1; i <= r->count; i++)
    must(r->asked[i].answered == r->asked[i].wants_answer, "a request without an answer");
}

static void check_shadows(struct run *r) {
  static unsigned char buffer[VOLUME_BYTES] __attribute__((aligned(COW_BUFFER_ALIGNMENT)));
  for (unsigned i = 0; i < SHADOWS; i++) {
    const char id[] = {(char)('a' + i), '\0'};
    struct cow_shadow *s = NULL;
    must(cow_shadow_open(r->engine, id, &s, NULL) == 0 && cow_shadow_read(s, buffer, VOLUME_BYTES, 0) == 0,
         "a shadow copy cannot be read any more");
    must(memcmp(buffer, images[i], VOLUME_BYTES) == 0, "a shadow copy is another one now");
    cow_shadow_close(s);
  }
  must(cow_engine_check(r->engine) == NULL, "the index is not what it should be");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input in = {data, size};
  static struct run r;
  static struct front_seat seat;
  begin_run(&r);
  int fd = fuse_session_open();
  while (in.left > 0 && r.count < REQUESTS_MAX)
    if (take(&in) % 4 == 0)
      send_raw(&r, &in);
    else
      send_formed(&r, &in);
  /* All are there before anybody reads: they come together. */
  must(fuse_front_start(&seat, fd, r.engine, 1, true, false, &r.front, NULL) == 0, "the front does not start");
  receive_all(&r);
  fuse_front_stop(r.front);
  fuse_session_close();
  check_shadows(&r);
  cow_engine_close(r.engine);
  cow_storage_close(r.storage);
  cow_arena_done(&r.arena);
  (void)close(r.origin_fd);
  (void)close(r.storage_fd);
  return 0;
}
