/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX ACLs between the kernel's bytes (system.posix_acl_*) and archive entries. */
#ifndef BACKUP_ACL_H
#define BACKUP_ACL_H

#include <archive_entry.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_ACCESS_NAME "system.posix_acl_access"
#define ACL_DEFAULT_NAME "system.posix_acl_default"

enum { ACL_ENTRIES_MAX = 8192 };

/* False if libarchive cannot carry it: its ids are ints. */
bool acl_portable(const void *value, size_t value_bytes);

/* type: ARCHIVE_ENTRY_ACL_TYPE_ACCESS or _DEFAULT. 0, -EINVAL for bytes that are no ACL, -ENOMEM. */
int acl_to_entry(const void *value, size_t value_bytes, int type, struct archive_entry *entry);

/* A new buffer in *ret, the caller's. 1: there is one; 0: none (a plain mode is none); -EBADMSG, -ENOMEM. */
int acl_from_entry(struct archive_entry *entry, int type, void **ret, size_t *ret_bytes);

/* Sorts the entries as acl_from_entry() does. Bytes that are no ACL stay as they are. */
void acl_sort(void *value, size_t value_bytes);

/* The mask's permissions (0-7), which a file's mode shows as those of its group; -1 without a mask. */
int acl_mask(const void *value, size_t value_bytes);

#endif
