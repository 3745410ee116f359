/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a file has beside its name and content: owner, mode, times, device numbers, link target, file flags, extended
 * attributes, ACLs and capabilities among them.  Read from a file, written to an archive entry and back, applied to a
 * file, and summed up in one checksum that is the same on all these ways.
 *
 * POSIX ACLs travel as SCHILY.acl.*, which GNU tar and bsdtar understand, all other attributes as SCHILY.xattr.*.  In
 * memory both are extended attributes, in the kernel's bytes.
 */
#ifndef BACKUP_METADATA_H
#define BACKUP_METADATA_H

#include "backup/digest.h"
#include "backup/index.h"
#include "common/error.h"

#include <archive_entry.h>

/* Of all attributes of one file together: what a pax header may have (1 MiB in libarchive's reader), less the rest.
 */
enum { METADATA_BYTES_MAX = 900 * 1024, METADATA_LIST_BYTES_MAX = 64 * 1024, METADATA_MAX = 4096 };

struct attribute {
  char *name;
  void *value;
  size_t value_bytes;
};

struct metadata {
  struct attribute *list; /* sorted by name */
  size_t count;
  uint32_t flags; /* file-flags.h; files and directories have some */
};

void metadata_done(struct metadata *a);

/*
 * Reads the attributes of dir_fd/name, or of fd when it is not negative. Never follows a symbolic link. A filesystem
 * without any has none.
 */
int metadata_read(int fd, int dir_fd, const char *name, struct metadata *ret, struct umbra_error *err);

/* record: kind, mode, uid, gid, modified, device numbers and target are used. */
int metadata_digest(const struct index_record *record, const struct metadata *a, struct digest *ret); /* 0, -ENOMEM */

/* Puts them into an archive entry, ACLs as ACLs. */
int metadata_to_entry(const struct metadata *a, struct archive_entry *entry, struct umbra_error *err);
int metadata_from_entry(struct archive_entry *entry, struct metadata *ret, struct umbra_error *err);

/*
 * A list of attributes as bytes, for temporary files: metadata_unpack(pack(a)) is a. Pack appends to *to (malloc'd,
 * grown).
 */
int metadata_pack(const struct metadata *a, char **to, size_t *to_bytes);
int metadata_unpack(const char *from, size_t length_bytes, struct metadata *ret);

/*
 * Gives a file its attributes: owner, mode, extended attributes (ACLs, capabilities last; others that it has go, but
 * for those of the system), times, file flags but those that lock it.  fd not negative: of this file; else of
 * dir_fd/name, not followed, which gets no flags. privileged: as root; otherwise owners and attributes that are not
 * allowed are passed over and *skipped counts them. So it counts flags that the filesystem does not have.
 */
struct basics {
  enum index_kind kind;
  uint32_t mode, uid, gid;
  struct timespec modified;
};
static inline struct basics basics_of(const struct index_record *r) {
  return (struct basics){r->kind, r->mode, r->uid, r->gid, r->modified};
}
int metadata_apply(const struct basics *basics, const struct metadata *a, int fd, int dir_fd, const char *name,
                   bool privileged, unsigned *skipped, struct umbra_error *err);

#endif
