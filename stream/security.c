/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream/security.h"

#include "stream/format.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
  DESCRIPTOR_BYTES = 20,
  ACL_BYTES = 8,
  ACE_BYTES = 8, /* without its SID */
  SID_BYTES = 8, /* without its sub-authorities */
  SID_PARTS_MAX = 15,
  CONTROL_DACL = 0x0004,
  CONTROL_SELF_RELATIVE = 0x8000,
  ACE_ALLOWS = 0,
  ACE_DENIES = 1,
  ACE_INHERIT_ONLY = 8,
  RIGHT_READ_CONTROL = 0x20000,
  RIGHT_WRITE_DAC = 0x40000,
  RIGHT_DELETE_CHILD = 0x40,
  RIGHTS_READ = 0x120089, /* FILE_GENERIC_READ, _WRITE, _EXECUTE */
  RIGHTS_WRITE = 0x120116,
  RIGHTS_EXECUTE = 0x1200A0,
  /* What tells one from the others: read, write and execute data. */
  BIT_READ = 0x1,
  BIT_WRITE = 0x2,
  BIT_EXECUTE = 0x20,
  GENERIC_ALL = 0x10000000,
  GENERIC_EXECUTE = 0x20000000,
  GENERIC_WRITE = 0x40000000,
};
#define GENERIC_READ 0x80000000U

/* ---- who ---- */

struct sid {
  uint8_t bytes[SID_BYTES + 4 * 2];
  size_t length;
};

static struct sid unix_sid(uint32_t kind, uint32_t id) {
  struct sid s = {.bytes = {1, 2, 0, 0, 0, 0, 0, 22}, .length = SID_BYTES + 8};
  stream_put32(s.bytes + SID_BYTES, kind);
  stream_put32(s.bytes + SID_BYTES + 4, id);
  return s;
}
static struct sid user_sid(uid_t user) { return unix_sid(1, user); }
static struct sid group_sid(gid_t group) { return unix_sid(2, group); }
static struct sid everyone_sid(void) {
  return (struct sid){.bytes = {1, 1, 0, 0, 0, 0, 0, 1}, .length = SID_BYTES + 4};
}

/* The length of the SID that is there; 0: there is none. */
static size_t sid_length(const uint8_t *at, size_t room) {
  if (room < SID_BYTES || at[0] != 1 || at[1] > SID_PARTS_MAX || room < SID_BYTES + 4U * at[1])
    return 0;
  return SID_BYTES + 4U * at[1];
}

static bool is_sid(const uint8_t *at, size_t length, const struct sid *s) {
  return length == s->length && memcmp(at, s->bytes, length) == 0;
}

/* ---- a list of entries ---- */

enum { ENTRIES_MAX = 1000 }; /* a POSIX ACL in 64 KiB has more; a descriptor would not fit its stream then */

struct entries {
  uint8_t *bytes;
  size_t length, room;
  uint16_t count;
  bool failed;
};

static void add_entry(struct entries *list, uint8_t type, uint32_t mask, const struct sid *who) {
  size_t length = ACE_BYTES + who->length;
  if (mask == 0 || list->failed)
    return;
  if (list->count == ENTRIES_MAX || list->length + length > list->room) {
    size_t room = list->room * 2 + 512;
    uint8_t *larger = list->count == ENTRIES_MAX ? NULL : realloc(list->bytes, room);
    if (!larger) {
      list->failed = true;
      return;
    }
    list->bytes = larger;
    list->room = room;
  }
  uint8_t *at = list->bytes + list->length;
  at[0] = type;
  at[1] = 0;
  stream_put16(at + 2, (uint16_t)length);
  stream_put32(at + 4, mask);
  memcpy(at + ACE_BYTES, who->bytes, who->length);
  list->length += length;
  list->count++;
}

static uint32_t rights_of(unsigned rwx, bool directory) {
  return (rwx & 4 ? RIGHTS_READ : 0U) | (rwx & 2 ? RIGHTS_WRITE | (directory ? RIGHT_DELETE_CHILD : 0U) : 0U) |
         (rwx & 1 ? RIGHTS_EXECUTE : 0U);
}

/* Only what tells them from others is denied: the shared bits (READ_CONTROL, SYNCHRONIZE) are everybody's. */
static uint32_t denied(unsigned rwx) {
  return (rwx & 4 ? BIT_READ : 0U) | (rwx & 2 ? BIT_WRITE : 0U) | (rwx & 1 ? BIT_EXECUTE : 0U);
}

/* ---- from POSIX ---- */

/* linux/posix_acl_xattr.h: a version, then entries of tag, permissions and id, little-endian. */
enum {
  POSIX_VERSION = 2,
  POSIX_HEADER_BYTES = 4,
  POSIX_ENTRY_BYTES = 8,
  POSIX_USER = 0x02,
  POSIX_GROUP_OBJ = 0x04,
  POSIX_GROUP = 0x08,
  POSIX_MASK = 0x10,
};

struct posix_acl {
  const uint8_t *entries;
  size_t count;
  unsigned group, mask; /* rwx of the owning group, and what named ones have at most */
};

static int read_acl(const uint8_t *acl, size_t bytes, mode_t mode, struct posix_acl *ret) {
  *ret = (struct posix_acl){.group = mode >> 3 & 7, .mask = 7};
  if (!acl)
    return 0;
  if (bytes < POSIX_HEADER_BYTES || stream_get32(acl) != POSIX_VERSION ||
      (bytes - POSIX_HEADER_BYTES) % POSIX_ENTRY_BYTES)
    return -EBADMSG;
  ret->entries = acl + POSIX_HEADER_BYTES;
  ret->count = (bytes - POSIX_HEADER_BYTES) / POSIX_ENTRY_BYTES;
  for (size_t i = 0; i < ret->count; i++) {
    const uint8_t *e = ret->entries + i * POSIX_ENTRY_BYTES;
    if (stream_get16(e) == POSIX_GROUP_OBJ)
      ret->group = stream_get16(e + 2) & 7;
    else if (stream_get16(e) == POSIX_MASK)
      ret->mask = stream_get16(e + 2) & 7;
  }
  ret->group &= ret->mask;
  return 0;
}

/* Named users: POSIX asks no other class for them. denied_rwx: what later entries may give to everybody. */
static void add_named_users(struct entries *list, const struct posix_acl *acl, bool directory, unsigned denied_rwx) {
  for (size_t i = 0; i < acl->count; i++) {
    const uint8_t *e = acl->entries + i * POSIX_ENTRY_BYTES;
    struct sid who = user_sid(stream_get32(e + 4));
    unsigned rwx = stream_get16(e + 2) & acl->mask & 7;
    if (stream_get16(e) != POSIX_USER)
      continue;
    add_entry(list, ACE_DENIES, denied(denied_rwx & ~rwx), &who);
    add_entry(list, ACE_ALLOWS, rights_of(rwx, directory), &who);
  }
}

static void add_named_groups(struct entries *list, const struct posix_acl *acl, bool directory, uint8_t type,
                             unsigned denied_rwx) {
  for (size_t i = 0; i < acl->count; i++) {
    const uint8_t *e = acl->entries + i * POSIX_ENTRY_BYTES;
    struct sid who = group_sid(stream_get32(e + 4));
    unsigned rwx = stream_get16(e + 2) & acl->mask & 7;
    if (stream_get16(e) == POSIX_GROUP)
      add_entry(list, type, type == ACE_ALLOWS ? rights_of(rwx, directory) : denied(denied_rwx & ~rwx), &who);
  }
}

/* All that any class after the owner's may do. */
static unsigned all_named(const struct posix_acl *acl) {
  unsigned all = acl->group;
  for (size_t i = 0; i < acl->count; i++) {
    unsigned tag = stream_get16(acl->entries + i * POSIX_ENTRY_BYTES);
    if (tag == POSIX_USER || tag == POSIX_GROUP)
      all |= stream_get16(acl->entries + i * POSIX_ENTRY_BYTES + 2) & acl->mask & 7;
  }
  return all;
}

static void add_entries(struct entries *list, const struct security_owner *o, const struct posix_acl *acl) {
  bool directory = S_ISDIR(o->mode);
  unsigned owner = o->mode >> 6 & 7, other = o->mode & 7, rest = all_named(acl) | other;
  struct sid user = user_sid(o->user), group = group_sid(o->group), everyone = everyone_sid();
  add_entry(list, ACE_DENIES, denied(rest & ~owner), &user);
  add_entry(list, ACE_ALLOWS, rights_of(owner, directory) | RIGHT_READ_CONTROL | RIGHT_WRITE_DAC, &user);
  add_named_users(list, acl, directory, rest);
  /* Somebody in several groups may do what one of them may: only what everyone may is denied, after all of them. */
  add_entry(list, ACE_ALLOWS, rights_of(acl->group, directory), &group);
  add_named_groups(list, acl, directory, ACE_ALLOWS, 0);
  add_entry(list, ACE_DENIES, denied(other & ~acl->group), &group);
  add_named_groups(list, acl, directory, ACE_DENIES, other);
  add_entry(list, ACE_ALLOWS, rights_of(other, directory), &everyone);
}

int security_from_posix(const struct security_owner *owner, const uint8_t *acl, size_t acl_bytes, uint8_t **ret,
                        size_t *ret_bytes) {
  struct posix_acl read;
  struct entries list = {0};
  struct sid user = user_sid(owner->user), group = group_sid(owner->group);
  int r = read_acl(acl, acl_bytes, owner->mode, &read);
  if (r < 0)
    return r;
  add_entries(&list, owner, &read);
  size_t acl_at = DESCRIPTOR_BYTES + user.length + group.length, bytes = acl_at + ACL_BYTES + list.length;
  uint8_t *d = list.failed || ACL_BYTES + list.length > UINT16_MAX ? NULL : calloc(1, bytes);
  if (!d) {
    free(list.bytes);
    return list.failed ? -E2BIG : -ENOMEM;
  }
  d[0] = 1;
  stream_put16(d + 2, CONTROL_SELF_RELATIVE | CONTROL_DACL);
  stream_put32(d + 4, DESCRIPTOR_BYTES);
  stream_put32(d + 8, (uint32_t)(DESCRIPTOR_BYTES + user.length));
  stream_put32(d + 16, (uint32_t)acl_at);
  memcpy(d + DESCRIPTOR_BYTES, user.bytes, user.length);
  memcpy(d + DESCRIPTOR_BYTES + user.length, group.bytes, group.length);
  d[acl_at] = 2;
  stream_put16(d + acl_at + 2, (uint16_t)(ACL_BYTES + list.length));
  stream_put16(d + acl_at + 4, list.count);
  memcpy(d + acl_at + ACL_BYTES, list.bytes, list.length);
  free(list.bytes);
  *ret = d;
  *ret_bytes = bytes;
  return 0;
}

/* ---- what others made ---- */

/* The SID at an offset of the descriptor; NULL with *ret_length 0: none, or not sound. */
static const uint8_t *sid_at(const uint8_t *d, size_t bytes, uint32_t offset, size_t *ret_length) {
  *ret_length = offset < bytes ? sid_length(d + offset, bytes - offset) : 0;
  return *ret_length > 0 ? d + offset : NULL;
}

static bool acl_is_sound(const uint8_t *d, size_t bytes, uint32_t offset) {
  if (offset >= bytes || bytes - offset < ACL_BYTES)
    return false;
  size_t left = stream_get16(d + offset + 2);
  if (left < ACL_BYTES || left > bytes - offset)
    return false;
  const uint8_t *at = d + offset + ACL_BYTES;
  left -= ACL_BYTES;
  for (unsigned i = stream_get16(d + offset + 4); i > 0; i--) {
    size_t length = left < 4 ? 0 : stream_get16(at + 2);
    if (length < 4 || length > left)
      return false;
    at += length;
    left -= length;
  }
  return true;
}

bool security_is_sound(const uint8_t *d, size_t bytes) {
  size_t length;
  if (bytes < DESCRIPTOR_BYTES || d[0] != 1 || !(stream_get16(d + 2) & CONTROL_SELF_RELATIVE))
    return false;
  for (unsigned at = 4; at <= 8; at += 4)
    if (stream_get32(d + at) != 0 && !sid_at(d, bytes, stream_get32(d + at), &length))
      return false;
  for (unsigned at = 12; at <= 16; at += 4)
    if (stream_get32(d + at) != 0 && !acl_is_sound(d, bytes, stream_get32(d + at)))
      return false;
  return true;
}

/* ID of S-1-22-KIND-ID; false: it is no such one. */
static bool unix_id(const uint8_t *sid, size_t length, uint32_t kind, uint32_t *ret) {
  struct sid like = unix_sid(kind, 0);
  if (!sid || length != like.length || memcmp(sid, like.bytes, length - 4) != 0)
    return false;
  *ret = stream_get32(sid + length - 4);
  return true;
}

static unsigned rwx_of(uint32_t mask) {
  return (mask & (BIT_READ | GENERIC_ALL | GENERIC_READ) ? 4U : 0U) |
         (mask & (BIT_WRITE | GENERIC_ALL | GENERIC_WRITE) ? 2U : 0U) |
         (mask & (BIT_EXECUTE | GENERIC_ALL | GENERIC_EXECUTE) ? 1U : 0U);
}

/* What the list gives a class: entries count in their order, for those that they name and for everyone. */
static unsigned rights_in(const uint8_t *d, uint32_t acl, const uint8_t *who, size_t who_length) {
  struct sid everyone = everyone_sid();
  const uint8_t *at = d + acl + ACL_BYTES;
  unsigned allowed = 0, decided = 0;
  for (unsigned i = stream_get16(d + acl + 4); i > 0; at += stream_get16(at + 2), i--) {
    size_t length = stream_get16(at + 2);
    if (length < ACE_BYTES || at[0] > ACE_DENIES || at[1] & ACE_INHERIT_ONLY)
      continue;
    size_t its = sid_length(at + ACE_BYTES, length - ACE_BYTES);
    if (its == 0 ||
        !(is_sid(at + ACE_BYTES, its, &everyone) || (its == who_length && memcmp(at + ACE_BYTES, who, its) == 0)))
      continue;
    unsigned rwx = rwx_of(stream_get32(at + 4)) & ~decided;
    if (at[0] == ACE_ALLOWS)
      allowed |= rwx;
    decided |= rwx;
  }
  return allowed;
}

void security_to_posix(const uint8_t *d, size_t bytes, struct security_owner *owner, bool *ret_owned,
                       bool *ret_grouped) {
  size_t user_length, group_length;
  struct sid everyone = everyone_sid();
  const uint8_t *user = sid_at(d, bytes, stream_get32(d + 4), &user_length);
  const uint8_t *group = sid_at(d, bytes, stream_get32(d + 8), &group_length);
  uint32_t acl = stream_get32(d + 16);
  *ret_owned = unix_id(user, user_length, 1, &owner->user);
  *ret_grouped = unix_id(group, group_length, 2, &owner->group);
  /* Without a list everybody may do everything. */
  if (!(stream_get16(d + 2) & CONTROL_DACL) || acl == 0)
    owner->mode |= 0777;
  else
    owner->mode |= (user ? rights_in(d, acl, user, user_length) : 0U) << 6 |
                   (group ? rights_in(d, acl, group, group_length) : 0U) << 3 |
                   rights_in(d, acl, everyone.bytes, everyone.length);
}

/* ---- Samba's attribute ---- */

enum {
  NTACL_POINTER = 0x00020000,
  NTACL_HEAD_BYTES = 8, /* version, union's tag, pointer */
  NTACL_HASH_BYTES = 64,
};

static size_t aligned4(size_t at) { return (at + 3) / 4 * 4; }

/* Where the descriptor begins; 0: not to be found. */
static size_t ntacl_offset(const uint8_t *value, size_t bytes) {
  unsigned version = stream_get16(value);
  size_t at = NTACL_HEAD_BYTES + 4; /* the structure's own pointer */
  switch (version) {
  case 1:
    return NTACL_HEAD_BYTES;
  case 2:
    return at + 16;
  case 3:
    return aligned4(at + 2 + NTACL_HASH_BYTES);
  case 4: {
    at += 2 + NTACL_HASH_BYTES;
    const uint8_t *end = at < bytes ? memchr(value + at, 0, bytes - at) : NULL;
    /* A description, when it was, and another hash. */
    return end ? aligned4(aligned4((size_t)(end + 1 - value)) + 8 + NTACL_HASH_BYTES) : 0;
  }
  default:
    return 0;
  }
}

/* Within the attribute a descriptor's offsets count from the attribute's beginning, as NDR has it. */
static bool relocate(uint8_t *d, int64_t by) {
  for (unsigned at = 4; at <= 16; at += 4) {
    int64_t offset = stream_get32(d + at);
    if (offset == 0)
      continue;
    if (offset + by <= 0 || offset + by > UINT16_MAX * 2)
      return false;
    stream_put32(d + at, (uint32_t)(offset + by));
  }
  return true;
}

int security_of_ntacl(const uint8_t *value, size_t bytes, uint8_t **ret, size_t *ret_bytes) {
  if (bytes < NTACL_HEAD_BYTES || stream_get16(value) != stream_get16(value + 2) || stream_get32(value + 4) == 0)
    return -EBADMSG;
  size_t at = ntacl_offset(value, bytes);
  if (at == 0 || at >= bytes || bytes - at < DESCRIPTOR_BYTES)
    return -EBADMSG;
  uint8_t *d = malloc(bytes - at);
  if (!d)
    return -ENOMEM;
  memcpy(d, value + at, bytes - at);
  if (!relocate(d, -(int64_t)at) || !security_is_sound(d, bytes - at)) {
    free(d);
    return -EBADMSG;
  }
  *ret = d;
  *ret_bytes = bytes - at;
  return 0;
}

int security_to_ntacl(const uint8_t *descriptor, size_t bytes, uint8_t **ret, size_t *ret_bytes) {
  uint8_t *value = malloc(NTACL_HEAD_BYTES + bytes);
  if (!value)
    return -ENOMEM;
  stream_put16(value, 1);
  stream_put16(value + 2, 1);
  stream_put32(value + 4, NTACL_POINTER);
  memcpy(value + NTACL_HEAD_BYTES, descriptor, bytes);
  if (!relocate(value + NTACL_HEAD_BYTES, NTACL_HEAD_BYTES)) {
    free(value);
    return -EBADMSG;
  }
  *ret = value;
  *ret_bytes = NTACL_HEAD_BYTES + bytes;
  return 0;
}
