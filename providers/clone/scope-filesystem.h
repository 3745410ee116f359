/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between the walk (scope.c), which knows paths, directories that wait and what was seen, and the filesystems
 * (scope-ext4*.c, scope-xfs*.c), which know what an inode needs and how a directory is read.
 *
 * Damage.  A filesystem's function that meets a structure that does not hold returns scope_damaged().  The walk drops
 * that inode and goes on in SCOPE_LIVE, and ends in SCOPE_EXACT; a function that can go on by itself (the next block
 * of a directory) puts the result through scope_tolerate().  Nothing read is ever used as an address, a length or a
 * count before it was checked against the geometry.
 */
#ifndef PROVIDERS_CLONE_SCOPE_FILESYSTEM_H
#define PROVIDERS_CLONE_SCOPE_FILESYSTEM_H

#include "providers/clone/scope.h"

struct scope; /* one walk */

enum scope_kind { SCOPE_KIND_UNKNOWN, SCOPE_KIND_DIRECTORY, SCOPE_KIND_OTHER };

struct scope_filesystem {
  const char *const *names; /* NULL-terminated, as in /proc/filesystems */

  /* Reads the geometry and marks what a mount reads. *ret_state is freed by close(), also when open failed half-way.
   */
  int (*open)(struct scope *s, void **ret_state, uint64_t *ret_root);

  /*
   * Marks what stat, getxattr and read of an inode need.  Reads the inode, asks scope_enter(), and if that says true
   * marks the rest; of a directory tells scope_entry() every entry.  Is called again from within scope_entry(), but
   * never for a directory then: buffers belong to one call.
   */
  int (*visit)(struct scope *s, void *state, uint64_t inode);

  void (*close)(void *state);
};

extern const struct scope_filesystem scope_ext4, scope_xfs;

/* Copies from the source. Outside of it is damage. Errors of the source have their message. */
int scope_read(struct scope *s, uint64_t offset_bytes, void *buffer, size_t length_bytes);

/* Marks a range. What lies outside of the source is left out. */
void scope_want(struct scope *s, uint64_t offset_bytes, uint64_t length_bytes);

/*
 * After the inode is read: shall the rest be marked, entries told? 1 yes; 0 no (seen before, or not needed);
 * negative. opaque_names: names on disk are not what users type (encrypted, case-folded).
 */
int scope_enter(struct scope *s, uint64_t inode, bool directory, uint64_t links, bool opaque_names);

/* One entry of the directory that was entered. Neither "." nor ".." need be left out. */
int scope_entry(struct scope *s, const char *name, size_t name_length, uint64_t inode, enum scope_kind kind);

/* -EUCLEAN, with the message in SCOPE_EXACT. */
int scope_damaged(struct scope *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Damage becomes 0 in SCOPE_LIVE; everything else stays as it is. */
int scope_tolerate(const struct scope *s, int result);

/* Errors of opening, with the message in both modes. */
int scope_refuse(struct scope *s, int code, enum umbra_reason reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

enum scope_mode scope_get_mode(const struct scope *s);
uint64_t scope_size_bytes(const struct scope *s);
int scope_read_error(const struct scope *s); /* the last failure of the source or cancellation, 0 if none */

#endif
