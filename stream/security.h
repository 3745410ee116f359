/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Security descriptors, self-relative as [MS-DTYP] 2.4.6 has them, of owner, group, mode and POSIX ACL; and out of
 * and into Samba's security.NTACL (its librpc/idl/xattr.idl).  What comes in is checked. Nothing here blocks.
 */
#ifndef STREAM_SECURITY_H
#define STREAM_SECURITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Samba's for users and groups that no domain knows: S-1-22-1-UID, S-1-22-2-GID. */
struct security_owner {
  uid_t user;
  gid_t group;
  mode_t mode; /* with the type of the file */
};

/*
 * What says of a file who may do what: *ret is the caller's. acl: the value of system.posix_acl_access; NULL: there
 * is none. Rights that a class of POSIX has not, but would have as everyone, are denied first, as POSIX takes the
 * first class that fits.
 */
int security_from_posix(const struct security_owner *owner, const uint8_t *acl, size_t acl_bytes, uint8_t **ret,
                        size_t *ret_bytes);

/* True if it is one: revision, offsets, SIDs and entries lie in it. */
bool security_is_sound(const uint8_t *descriptor, size_t bytes);

/*
 * The reverse, as far as it goes. Each is set if the descriptor says it: true in *ret_owned, *ret_grouped if they are
 * a Unix user and group, in *ret_mode the rights that owner, group and everyone have (without those that only a user
 * or group in between has).
 */
void security_to_posix(const uint8_t *descriptor, size_t bytes, struct security_owner *owner, bool *ret_owned,
                       bool *ret_grouped);

/* The descriptor within the value of security.NTACL, versions 1 to 4: the caller's. -EBADMSG. */
int security_of_ntacl(const uint8_t *value, size_t bytes, uint8_t **ret, size_t *ret_bytes);

/* The value of security.NTACL, version 1, that keeps the descriptor: the caller's. */
int security_to_ntacl(const uint8_t *descriptor, size_t bytes, uint8_t **ret, size_t *ret_bytes);

#endif
