/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of tracking that runs in the kernel: sets a bit for every granule of one block device that is written,
 * discarded or zeroed.  DESIGN.md says what a set bit means and why none is lost.
 *
 * Every bio of the machine passes here, so the way out for the others' is short: one read of the head of the struct
 * and, for writes of another device, two more to see whose they are.  Pointers that were learnt are only ever used to
 * say "ours"; "not ours" is always decided by the disk's numbers, since a pointer may be stale.
 *
 * Raw tracepoints only: they exist on every kernel from 5.17 on, also on those built without kprobes and trampolines.
 * The few structures used are declared here and relocated by CO-RE, so that no kernel's header is needed to build.
 *
 * Sectors are 512 bytes and, at these tracepoints, count from the start of the whole disk: partitions were remapped
 * before.
 */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

/* From the kernel's interface, uapi/linux/bpf.h, which drags in headers that a bare target lacks. */
enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2 };
enum { BPF_ANY = 0, BPF_F_MMAPABLE = 1 << 10 };
struct bpf_raw_tracepoint_args {
  __u64 args[0];
};

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "track/track-shared.h"

#define KERNEL_STRUCT __attribute__((preserve_access_index))

struct gendisk {
  int major;
  int first_minor;
} KERNEL_STRUCT;

struct request_queue {
  struct gendisk *disk;
} KERNEL_STRUCT;

struct block_device {
  struct gendisk *bd_disk;
} KERNEL_STRUCT;

struct bvec_iter {
  __u64 bi_sector;
  __u32 bi_size;
} KERNEL_STRUCT;

struct bio {
  struct bio *bi_next;
  struct block_device *bi_bdev;
  __u32 bi_opf;
  __u16 bi_flags;
  struct bvec_iter bi_iter;
} KERNEL_STRUCT;

struct request {
  struct request_queue *q;
  __u32 cmd_flags;
  __u32 __data_len;
  __u64 __sector;
  struct bio *bio;
} KERNEL_STRUCT;

/* The operations, include/linux/blk_types.h: those that change data are odd, the low 8 bits of the flags. */
enum {
  OP_MASK = 0xff,
  OP_WRITE = 1,
  OP_DISCARD = 3,
  OP_SECURE_ERASE = 5,
  OP_WRITE_ZEROES = 9,
  OP_DRIVER_FIRST = 34, /* commands of the driver's own: have no sectors */
};
enum { BIO_FLAG_CLONED = 1 << 1 };

const volatile struct track_config config = {};
volatile struct track_state state = {};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1); /* one word of 64 granules an entry; sized at load */
  __type(key, __u32);
  __type(value, __u64);
} marks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1); /* TRACK_BIOS_IN_FLIGHT_MAX where it is needed */
  __type(key, __u64);
  __type(value, struct track_bio);
} bios SEC(".maps");

static __always_inline void lose(__u32 why) { __sync_fetch_and_or(&state.lost, why); }

/*
 * What is wanted of a bio or a request, read in one of two ways.  Kernels from 6.2 on let a program load from a pointer that it
 * says the type of (config.direct), which costs next to nothing.  Before, each read is a call; so the head of the struct is
 * read at once: all fields wanted lie in it on every such kernel known, and if one did not, TRACK_LOST_LAYOUT would say so.
 * The verifier knows config and drops the other way.
 */
extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

enum { HEAD_BYTES = 64 };
struct head {
  __u64 words[HEAD_BYTES / 8];
};

#define HEAD_FIELD(head, structure, field, type)                                                                      \
  ({                                                                                                                  \
    __u32 offset_bytes = bpf_core_field_offset(((structure *)0)->field);                                              \
    type value_read = 0;                                                                                              \
    if (offset_bytes + sizeof(type) <= HEAD_BYTES)                                                                    \
      value_read = *(type *)((char *)(head) + offset_bytes);                                                          \
    else                                                                                                              \
      lose(TRACK_LOST_LAYOUT);                                                                                        \
    value_read;                                                                                                       \
  })

struct bio_facts {
  __u64 bdev, sector, next;
  __u32 op, bytes;
  __u16 flags;
};

static __always_inline struct bio_facts read_bio(const void *pointer) {
  struct bio_facts facts = {0};
  if (config.direct) {
    const struct bio *bio = bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(struct bio));
    facts.bdev = (__u64)bio->bi_bdev;
    facts.op = bio->bi_opf & OP_MASK;
    facts.sector = bio->bi_iter.bi_sector;
    facts.bytes = bio->bi_iter.bi_size;
    facts.next = (__u64)bio->bi_next;
    facts.flags = bio->bi_flags;
    return facts;
  }
  struct head head;
  if (bpf_probe_read_kernel(&head, sizeof head, pointer)) {
    lose(TRACK_LOST_READ);
    return facts;
  }
  facts.bdev = HEAD_FIELD(&head, struct bio, bi_bdev, __u64);
  facts.op = HEAD_FIELD(&head, struct bio, bi_opf, __u32) & OP_MASK;
  facts.sector = HEAD_FIELD(&head, struct bio, bi_iter.bi_sector, __u64);
  facts.bytes = HEAD_FIELD(&head, struct bio, bi_iter.bi_size, __u32);
  facts.next = HEAD_FIELD(&head, struct bio, bi_next, __u64);
  facts.flags = HEAD_FIELD(&head, struct bio, bi_flags, __u16);
  return facts;
}

struct request_facts {
  __u64 queue, sector, bio;
  __u32 op;
};

static __always_inline struct request_facts read_request(const void *pointer) {
  struct request_facts facts = {0};
  if (config.direct) {
    const struct request *request = bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(struct request));
    facts.queue = (__u64)request->q;
    facts.op = request->cmd_flags & OP_MASK;
    facts.sector = request->__sector;
    facts.bio = (__u64)request->bio;
    return facts;
  }
  struct head head;
  if (bpf_probe_read_kernel(&head, sizeof head, pointer)) {
    lose(TRACK_LOST_READ);
    return facts;
  }
  facts.queue = HEAD_FIELD(&head, struct request, q, __u64);
  facts.op = HEAD_FIELD(&head, struct request, cmd_flags, __u32) & OP_MASK;
  facts.sector = HEAD_FIELD(&head, struct request, __sector, __u64);
  facts.bio = HEAD_FIELD(&head, struct request, bio, __u64);
  return facts;
}

static __always_inline void set_bits(__u32 word, __u64 mask) {
  __u64 *bits = bpf_map_lookup_elem(&marks, &word);
  /* A look first: at completion the bit is mostly still set from queueing, and a read does not take the line away. */
  if (bits && (*(volatile __u64 *)bits & mask) != mask)
    __sync_fetch_and_or(bits, mask);
}

struct fill {
  __u64 first, last; /* granules, both included */
};

static long fill_word(__u32 index, void *context) {
  struct fill *fill = context;
  __u64 word = fill->first / 64 + index;
  __u64 mask = ~0ULL;
  if (index == 0)
    mask &= ~0ULL << (fill->first % 64);
  if (word == fill->last / 64)
    mask &= ~0ULL >> (63 - fill->last % 64);
  set_bits(word, mask);
  return 0;
}

static __always_inline void mark(__u64 sector, __u64 bytes) {
  __u64 end = sector + ((bytes + 511) >> 9), start = config.start_sector;
  __u32 shift = config.granule_shift_sectors;
  if (end <= start || sector >= config.end_sector || bytes == 0)
    return;
  if (sector < start)
    sector = start;
  if (end > config.end_sector)
    end = config.end_sector;
  struct fill fill = {.first = (sector - start) >> shift, .last = (end - 1 - start) >> shift};
  __u32 first_word = fill.first / 64, last_word = fill.last / 64;
  if (first_word == last_word)
    set_bits(first_word, (~0ULL << (fill.first % 64)) & (~0ULL >> (63 - fill.last % 64)));
  else
    bpf_loop(last_word - first_word + 1, fill_word, &fill, 0);
}

static __always_inline int disk_is_ours(struct gendisk *disk) {
  int major = 0, first_minor = 0;
  if (config.direct) {
    const struct gendisk *typed = bpf_rdonly_cast(disk, bpf_core_type_id_kernel(struct gendisk));
    major = typed->major;
    first_minor = typed->first_minor;
  } else if (bpf_core_read(&major, sizeof major, &disk->major) ||
             bpf_core_read(&first_minor, sizeof first_minor, &disk->first_minor)) {
    lose(TRACK_LOST_READ);
    return 0;
  }
  return (__u32)first_minor == config.disk_first_minor && (__u32)major == config.disk_major;
}

static __always_inline int bdev_is_ours(__u64 pointer) {
  struct block_device *bdev = (struct block_device *)pointer;
  struct gendisk *disk = 0;
  if (config.direct)
    disk = ((struct block_device *)bpf_rdonly_cast(bdev, bpf_core_type_id_kernel(struct block_device)))->bd_disk;
  else if (bpf_core_read(&disk, sizeof disk, &bdev->bd_disk))
    lose(TRACK_LOST_READ);
  return disk && disk_is_ours(disk);
}

static __always_inline int queue_is_ours(__u64 pointer) {
  struct request_queue *queue = (struct request_queue *)pointer;
  struct gendisk *disk = 0;
  if (config.direct)
    disk = ((struct request_queue *)bpf_rdonly_cast(queue, bpf_core_type_id_kernel(struct request_queue)))->disk;
  else if (bpf_core_read(&disk, sizeof disk, &queue->disk))
    lose(TRACK_LOST_READ);
  return disk && disk_is_ours(disk); /* none: a controller's own queue */
}

static __always_inline int is_write(__u32 op) { return (op & 1) && !(op == OP_DISCARD && config.without_discards); }

static __always_inline int kind_is_known(__u32 op) {
  return op == OP_WRITE || op == OP_DISCARD || op == OP_WRITE_ZEROES || op == OP_SECURE_ERASE;
}

/* Before the medium changes. */
SEC("raw_tp/block_bio_queue")
int track_queue(struct bpf_raw_tracepoint_args *context) {
  __u64 key = context->args[0];
  struct bio_facts bio = read_bio((void *)key);
  int write = is_write(bio.op);
  if (!write && state.seen_queue)
    return 0;
  if (bio.bdev != state.bdev) {
    if (!bdev_is_ours(bio.bdev))
      return 0;
    state.bdev = bio.bdev;
    state.seen_queue = 1;
  }
  if (config.bio_based) {
    /* An empty one is a flush: it has to be known at its end, too, or it would pass for a write from before. */
    struct track_bio entry = {.sector = bio.sector, .bytes = bio.bytes, .write = write && bio.bytes};
    if (bpf_map_update_elem(&bios, &key, &entry, BPF_ANY))
      lose(TRACK_LOST_FULL);
  }
  if (!write)
    return 0;
  if (!kind_is_known(bio.op))
    lose(TRACK_LOST_KIND);
  mark(bio.sector, bio.bytes);
  return 0;
}

static long mark_next_bio(__u32 index, void *context) {
  __u64 *next = context;
  if (!*next)
    return 1;
  struct bio_facts bio = read_bio((void *)*next);
  mark(bio.sector, bio.bytes);
  *next = bio.next;
  return 0;
}

/* After the medium has changed, before whoever waits for it is told; devices with requests. */
SEC("raw_tp/block_rq_complete")
int track_request(struct bpf_raw_tracepoint_args *context) {
  struct request_facts request = read_request((void *)context->args[0]);
  int write = is_write(request.op);
  if ((!write && state.seen_complete) || request.op >= OP_DRIVER_FIRST)
    return 0;
  if (request.queue != state.queue) {
    if (!queue_is_ours(request.queue))
      return 0;
    state.queue = request.queue;
    state.seen_complete = 1;
  }
  if (!write)
    return 0;
  if (!kind_is_known(request.op))
    lose(TRACK_LOST_KIND);
  if (request.op == OP_DISCARD || request.op == OP_SECURE_ERASE) {
    /* Ranges that do not touch may be merged into one request: the bios tell each. */
    __u64 next = request.bio;
    bpf_loop(TRACK_DISCARD_RANGES_MAX, mark_next_bio, &next, 0);
    if (next)
      lose(TRACK_LOST_SEGMENTS);
    return 0;
  }
  mark(request.sector, (__u32)context->args[2]);
  return 0;
}

/*
 * The same for devices without requests.  The bio's own range is used up by now and its device may be another (remapped), so
 * it is known by its address from when it was queued.
 */
SEC("raw_tp/block_bio_complete")
int track_bio(struct bpf_raw_tracepoint_args *context) {
  __u64 key = context->args[1];
  struct track_bio *entry = bpf_map_lookup_elem(&bios, &key);
  if (entry) {
    if (!state.seen_complete)
      state.seen_complete = 1;
    if (entry->write)
      mark(entry->sector, entry->bytes);
    bpf_map_delete_elem(&bios, &key);
    return 0;
  }
  struct bio_facts bio = read_bio((void *)key);
  if (!is_write(bio.op) || (bio.flags & BIO_FLAG_CLONED))
    return 0; /* a part split off: the whole, which was queued, completes after it */
  if (bdev_is_ours(bio.bdev))
    __sync_fetch_and_add(&state.orphans, 1);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
