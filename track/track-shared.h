/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tracking program in the kernel and its user share: the layout of its configuration and of its state.
 * Included by track.bpf.c, which has no C library, so only the kernel's fixed-width names are used here.
 */
#ifndef TRACK_TRACK_SHARED_H
#define TRACK_TRACK_SHARED_H

#define TRACK_LAYOUT                                                                                                 \
  1 /* grows with every change of the structs below; pinned tracking of another layout is not used */

/* Constant from load on (the verifier knows the values). */
struct track_config {
  __u32 layout;
  __u32 disk_major, disk_first_minor; /* the whole disk that the device is, or is a partition of */
  __u32 bio_based;                    /* its completions are seen bio by bio, by those that were queued before */
  __u64 start_sector, end_sector;     /* the device on the disk, in sectors of 512 bytes; end exclusive */
  __u32 granule_shift_sectors;        /* a granule is 512 << this */
  __u32 without_discards;             /* TRACK_WITHOUT_DISCARDS */
  __u32 direct;                       /* this kernel lets programs load from typed pointers */
  __u32 reserved;
  __u64 generation;                   /* random; names this tracking and no other */
};

/*
 * Written by the program, read by the user through mmap.  The first line of pointers is read at every bio; they
 * change only when they are learnt.
 */
struct track_state {
  __u64 bdev;          /* struct block_device of the last bio that was ours */
  __u64 queue;         /* struct request_queue of the last request that was ours */
  __u32 seen_queue;    /* a bio of the disk went by at block_bio_queue */
  __u32 seen_complete; /* …and one at the completion tracepoint */
  __u32 lost;          /* enum track_lost, bits; never cleared */
  __u32 reserved;
  __u64 orphans; /* bio-based: writes completed whose queueing was not seen */
  /* The user's own, kept here so that they outlive its process with the rest: how things stood when marks began to
   * count. */
  __u64 orphans_base, misses_base;
};

enum track_lost {
  TRACK_LOST_READ = 1,      /* a kernel structure could not be read */
  TRACK_LOST_LAYOUT = 2,    /* a kernel structure is not laid out as expected */
  TRACK_LOST_FULL = 4,      /* the table of bios in flight was full */
  TRACK_LOST_KIND = 8,      /* an operation whose range is not known (zones) */
  TRACK_LOST_SEGMENTS = 16, /* a discard of more ranges than TRACK_DISCARD_RANGES_MAX */
};

enum {
  TRACK_DISCARD_RANGES_MAX = 512,   /* NVMe allows 256 in one request */
  TRACK_BIOS_IN_FLIGHT_MAX = 32768, /* of a bio-based device */
};

/* A bio in flight on a bio-based device, by the address of its struct bio. */
struct track_bio {
  __u64 sector;
  __u32 bytes;
  __u32 write;
};

#endif
