/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which bytes of a filesystem a set of paths needs, so that a clone made for `umbra backup /etc` copies what lies
 * below /etc and the way to it, not the whole volume.
 *
 * A clone walks twice.  First on the live device, whose structures change and tear while they are read: that walk
 * is only a plan of what to copy, for whatever it misses is either written later (and then tracked) or found by the
 * second.  The second walk is on the image after the hold and must be exact: every granule it marks must be in the
 * image.
 */
#ifndef PROVIDERS_CLONE_SCOPE_H
#define PROVIDERS_CLONE_SCOPE_H

#include "common/bitmap.h"
#include "common/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The filesystem's bytes as they are now. All of it is the caller's. */
struct scope_source {
  /*
   * Reads length_bytes at offset_bytes, any alignment, never past size_bytes. 0 or negative errno. A read that fails
   * may be tried again in smaller pieces that cover only what is needed, so it is fine to refuse a range of which one
   * granule cannot be had (-ESTALE).
   */
  int (*read)(void *context, uint64_t offset_bytes, void *buffer, size_t length_bytes);
  void *context;
  uint64_t size_bytes;    /* of the device or image */
  atomic_bool *cancelled; /* polled between structures; may be NULL */
};

enum scope_mode {
  /*
   * The filesystem is in use: checksums are not looked at, and what is damaged, torn or gone is left out without a
   * word. Fails only where nothing could be planned: see scope_walk().
   */
  SCOPE_LIVE,
  /* The filesystem stands still: checksums must hold, anything unreadable is an error. A missing path is fine. */
  SCOPE_EXACT,
};

/* True for "ext2", "ext3", "ext4", "xfs". A filesystem of that kind may still be refused by scope_walk(). */
bool scope_supports(const char *filesystem);

/*
 * Sets the bit of every granule (1 << granule_shift bytes, bit 0 at offset 0) that a read-only mount (ext4:
 * ro,noload; XFS: ro,norecovery,nouuid) of an image with just these granules, and zeros elsewhere, needs to look up,
 * list and read everything at and below the paths: data, attributes, all metadata on the way.  Bits are only ever
 * set.  wanted has a bit for every granule of source->size_bytes.
 *
 * Paths are relative to the root of the filesystem (with or without a leading slash; "", "/" and "." are the root
 * itself, that is everything), NULL-terminated.  Symbolic links are not followed: one on the way makes the path
 * missing, one at its end is wanted itself.  Siblings on the way can be listed in the image but not opened.
 *
 * Blocks while reading. Memory: a fixed cache, 16 bytes for up to 64 directories or files with several links, 8 for
 * each directory that waits for its turn. Errors (the bits set so far stay): what source->read returned   the message
 * says of what -ECANCELED                   *source->cancelled -EOPNOTSUPP                  a feature that this walk
 * does not know; copy the whole volume instead -EUCLEAN                     no such filesystem here (both modes), or
 * a structure does not hold (SCOPE_EXACT) -EOVERFLOW                   a limit of this file -ENOMEM
 */
int scope_walk(const struct scope_source *source, const char *filesystem, char *const *paths_in_filesystem,
               enum scope_mode mode, unsigned granule_shift, struct bitmap *wanted, struct umbra_error *err);

/* Limits, each with reason UMBRA_REASON_LIMIT. */
enum {
  SCOPE_DIRECTORIES_WAITING_MAX = 16 * 1024 * 1024, /* directories found and not yet read */
  SCOPE_VISITED_CHUNKS_MAX = 16 * 1024 * 1024, /* runs of 64 inode numbers with a directory or linked file in them */
};

#endif
