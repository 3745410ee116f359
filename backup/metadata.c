/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes on their way from file to archive and back.  See metadata.h.
 *
 * Order when they are applied: owner first (a change of owner clears set-user-id bits and capabilities), then the
 * mode, then extended attributes (an access ACL sets the group's bits itself), capabilities last of them, then the
 * times, then file flags.
 */
#include "backup/metadata.h"

#include "backup/acl.h"
#include "backup/file-flags.h"
#include "common/cleanup.h"
#include "common/fd.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <archive.h>

#define CAPABILITY_NAME "security.capability"
enum {
  VALUE_BYTES_FIRST = 256,
  NAMES_BYTES_FIRST = 1024,
  PLACE_BYTES = FD_PROC_PATH_BYTES + TREE_NAME_BYTES_MAX + 2
};

void metadata_done(struct metadata *a) {
  for (size_t i = 0; i < a->count; i++) {
    free(a->list[i].name);
    free(a->list[i].value);
  }
  free(a->list);
  *a = (struct metadata){0};
}

/* Owns value from now on, even on failure. */
static int add(struct metadata *a, const char *name, void *value, size_t value_bytes) {
  if (a->count % 8 == 0) {
    struct attribute *larger = realloc(a->list, (a->count + 8) * sizeof *larger);
    if (!larger) {
      free(value);
      return -ENOMEM;
    }
    a->list = larger;
  }
  char *copy = strdup(name);
  if (!copy) {
    free(value);
    return -ENOMEM;
  }
  a->list[a->count++] = (struct attribute){.name = copy, .value = value, .value_bytes = value_bytes};
  return 0;
}

static int compare(const void *a, const void *b) {
  return strcmp(((const struct attribute *)a)->name, ((const struct attribute *)b)->name);
}

static void sort(struct metadata *a) {
  if (a->count > 1)
    qsort(a->list, a->count, sizeof *a->list, compare);
}

/* A path for calls that have no *at form. With fd: the file itself. */
struct place {
  int fd;
  char path[PLACE_BYTES];
};

static void place_init(struct place *p, int fd, int dir_fd, const char *name) {
  char directory[FD_PROC_PATH_BYTES];
  p->fd = fd;
  if (fd < 0)
    (void)snprintf(p->path, sizeof p->path, "%s/%s", fd_proc_path(dir_fd, directory), name);
}

static ssize_t list_names(const struct place *p, char *to, size_t bytes) {
  return p->fd >= 0 ? flistxattr(p->fd, to, bytes) : llistxattr(p->path, to, bytes);
}
static ssize_t get_value(const struct place *p, const char *name, void *to, size_t bytes) {
  return p->fd >= 0 ? fgetxattr(p->fd, name, to, bytes) : lgetxattr(p->path, name, to, bytes);
}

/* ACLs yes, other attributes of the system no: they are views of something else (NFSv4 ACLs of a server, …). */
static bool wanted(const char *name) {
  return strncmp(name, "system.", 7) != 0 || strcmp(name, ACL_ACCESS_NAME) == 0 ||
         strcmp(name, ACL_DEFAULT_NAME) == 0;
}

static int read_value(const struct place *p, const char *name, void **ret, size_t *ret_bytes) {
  size_t capacity_bytes = VALUE_BYTES_FIRST;
  CLEANUP_FREE void *value = malloc(capacity_bytes);
  for (;;) {
    if (!value)
      return -ENOMEM;
    ssize_t n = get_value(p, name, value, capacity_bytes);
    if (n >= 0) {
      *ret_bytes = (size_t)n;
      *ret = take_pointer(value);
      return 0;
    }
    if (errno != ERANGE || capacity_bytes > XATTR_SIZE_MAX)
      return -errno;
    free(value);
    capacity_bytes = capacity_bytes < XATTR_SIZE_MAX ? XATTR_SIZE_MAX : 2 * XATTR_SIZE_MAX;
    value = malloc(capacity_bytes);
  }
}

/*
 * The names of all attributes, each with its NUL, in small or in *large (malloc'd, NULL before). Returns their
 * length, or negative errno; a filesystem without any has none.
 */
static ssize_t read_names(const struct place *p, char *small, size_t small_bytes, char **large) {
  ssize_t n = list_names(p, small, small_bytes);
  if (n < 0 && errno == ERANGE) {
    *large = malloc(METADATA_LIST_BYTES_MAX);
    if (!*large)
      return -ENOMEM;
    n = list_names(p, *large, METADATA_LIST_BYTES_MAX);
  }
  return n >= 0 ? n : errno == EOPNOTSUPP ? 0 : -errno;
}

int metadata_read(int fd, int dir_fd, const char *name, struct metadata *ret, struct umbra_error *err) {
  char small[NAMES_BYTES_FIRST];
  CLEANUP_FREE char *large = NULL;
  struct place p;
  size_t total_bytes = 0;
  place_init(&p, fd, dir_fd, name);
  *ret = (struct metadata){0};
  ssize_t n = read_names(&p, small, sizeof small, &large);
  const char *names = large ? large : small;
  if (n < 0)
    return error_code(err, (int)n, "reading the names of extended attributes");
  for (const char *at = names; at < names + n; at += strlen(at) + 1) {
    void *value = NULL;
    size_t value_bytes = 0;
    if (!wanted(at))
      continue;
    int r = read_value(&p, at, &value, &value_bytes);
    if (r == -ENODATA)
      continue;
    if (r == 0 && strncmp(at, "system.", 7) == 0)
      acl_sort(value, value_bytes);
    if (r == 0)
      r = add(ret, at, value, value_bytes);
    if (r < 0) {
      metadata_done(ret);
      return error_code(err, r, "reading extended attribute '%s'", at);
    }
    total_bytes += strlen(at) + value_bytes;
  }
  if (total_bytes > METADATA_BYTES_MAX) {
    metadata_done(ret);
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "its extended attributes have %zu bytes, a backup can keep %d",
                     total_bytes, METADATA_BYTES_MAX);
  }
  sort(ret);
  return 0;
}

/* The mode whose group bits are the ACL's mask, as the kernel shows it; libarchive shows the owning group's entry. */
static uint32_t mode_with_mask(uint32_t mode, const struct metadata *a) {
  for (size_t i = 0; i < a->count; i++)
    if (strcmp(a->list[i].name, ACL_ACCESS_NAME) == 0) {
      int mask = acl_mask(a->list[i].value, a->list[i].value_bytes);
      return mask >= 0 ? (mode & ~(uint32_t)070) | (uint32_t)mask << 3 : mode;
    }
  return mode;
}

int metadata_digest(const struct index_record *record, const struct metadata *a, struct digest *ret) {
  CLEANUP_HASH XXH3_state_t *hash = digest_begin();
  int64_t numbers[] = {record->kind,
                       mode_with_mask(record->mode, a),
                       record->uid,
                       record->gid,
                       record->modified.tv_sec,
                       record->modified.tv_nsec,
                       record->device_major,
                       record->device_minor};
  if (!hash)
    return -ENOMEM;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    numbers[i] = (int64_t)htole64((uint64_t)numbers[i]);
  (void)XXH3_128bits_update(hash, numbers, sizeof numbers);
  (void)XXH3_128bits_update(hash, record->target, strlen(record->target) + 1);
  for (size_t i = 0; i < a->count; i++) {
    uint64_t value_bytes = htole64(a->list[i].value_bytes);
    (void)XXH3_128bits_update(hash, a->list[i].name, strlen(a->list[i].name) + 1);
    (void)XXH3_128bits_update(hash, &value_bytes, sizeof value_bytes);
    (void)XXH3_128bits_update(hash, a->list[i].value, a->list[i].value_bytes);
  }
  uint32_t flags = htole32(a->flags);
  if (flags != 0)
    (void)XXH3_128bits_update(hash, &flags, sizeof flags);
  *ret = digest_finish(hash);
  return 0;
}

static int hexadecimal(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In a pax keyword '=' ends the name: libarchive writes it, and '%', as %XX (GNU tar does too), and reads it as it
 * is. */
static void decode_name(char *name) {
  char *to = name;
  for (; *name; name++) {
    int high = *name == '%' ? hexadecimal(name[1]) : -1, low = high >= 0 ? hexadecimal(name[2]) : -1;
    *to++ = low >= 0 ? (char)(high << 4 | low) : *name;
    if (low >= 0)
      name += 2;
  }
  *to = '\0';
}

int metadata_to_entry(const struct metadata *a, struct archive_entry *entry, struct umbra_error *err) {
  for (size_t i = 0; i < a->count; i++) {
    const struct attribute *x = &a->list[i];
    bool access = strcmp(x->name, ACL_ACCESS_NAME) == 0, fallback = strcmp(x->name, ACL_DEFAULT_NAME) == 0;
    if ((access || fallback) && acl_portable(x->value, x->value_bytes)) {
      int r = acl_to_entry(x->value, x->value_bytes,
                           access ? ARCHIVE_ENTRY_ACL_TYPE_ACCESS : ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, entry);
      if (r < 0)
        return error_code(err, r, "its ACL '%s'", x->name);
      continue;
    }
    archive_entry_xattr_add_entry(entry, x->name, x->value, x->value_bytes);
  }
  if (a->flags != 0)
    archive_entry_set_fflags(entry, a->flags, 0);
  return 0;
}

static int acl_add(struct archive_entry *entry, int type, const char *name, struct metadata *ret) {
  void *value = NULL;
  size_t value_bytes = 0;
  int r = acl_from_entry(entry, type, &value, &value_bytes);
  return r == 1 ? add(ret, name, value, value_bytes) : r;
}

static int xattr_add(const char *name, const void *value, size_t value_bytes, struct metadata *ret) {
  CLEANUP_FREE char *decoded = strdup(name);
  void *copy = malloc(value_bytes > 0 ? value_bytes : 1);
  if (!decoded || !copy) {
    free(copy);
    return -ENOMEM;
  }
  if (value_bytes > 0)
    memcpy(copy, value, value_bytes);
  decode_name(decoded);
  return add(ret, decoded, copy, value_bytes);
}

int metadata_from_entry(struct archive_entry *entry, struct metadata *ret, struct umbra_error *err) {
  const char *name = NULL;
  const void *value = NULL;
  size_t value_bytes = 0;
  *ret = (struct metadata){0};
  int r = acl_add(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, ACL_ACCESS_NAME, ret);
  if (r == 0)
    r = acl_add(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, ACL_DEFAULT_NAME, ret);
  (void)archive_entry_xattr_reset(entry);
  while (r == 0 && archive_entry_xattr_next(entry, &name, &value, &value_bytes) == ARCHIVE_OK) {
    if (!name || ret->count >= METADATA_MAX || !wanted(name))
      r = -EBADMSG;
    else
      r = xattr_add(name, value, value_bytes, ret);
  }
  if (r < 0) {
    metadata_done(ret);
    return error_code(err, r, "its extended attributes in the archive");
  }
  unsigned long set = 0, cleared = 0;
  archive_entry_fflags(entry, &set, &cleared);
  ret->flags = (uint32_t)set & FILE_FLAGS_KEPT;
  sort(ret);
  return 0;
}

static int set_value(const struct place *p, const struct attribute *x) {
  int r = p->fd >= 0 ? fsetxattr(p->fd, x->name, x->value, x->value_bytes, 0)
                     : lsetxattr(p->path, x->name, x->value, x->value_bytes, 0);
  return r < 0 ? -errno : 0;
}

/* What a user who is not root, or a filesystem without the feature, cannot have. */
static bool may_skip(int r, bool privileged) {
  return r == -EOPNOTSUPP || (!privileged && (r == -EPERM || r == -EACCES));
}

static int set_attributes(const struct place *p, const struct metadata *a, bool capabilities, bool privileged,
                          unsigned *skipped, struct umbra_error *err) {
  for (size_t i = 0; i < a->count; i++) {
    if ((strcmp(a->list[i].name, CAPABILITY_NAME) == 0) != capabilities)
      continue;
    int r = set_value(p, &a->list[i]);
    if (r < 0 && may_skip(r, privileged))
      ++*skipped;
    else if (r < 0)
      return error_code(err, r, "setting extended attribute '%s'", a->list[i].name);
  }
  return 0;
}

/* What a file is given by the place where it is made, and a directory that was there has of its own. Not labels
 * (security.selinux, …): the system's. */
static bool may_remove(const char *name) {
  return strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0 || strcmp(name, ACL_ACCESS_NAME) == 0 ||
         strcmp(name, ACL_DEFAULT_NAME) == 0 || strcmp(name, CAPABILITY_NAME) == 0;
}

static bool has_attribute(const struct metadata *a, const char *name) {
  for (size_t i = 0; i < a->count; i++)
    if (strcmp(a->list[i].name, name) == 0)
      return true;
  return false;
}

/* Attributes that are there and do not belong there: a default ACL of the directory has been inherited, or the like.
 */
static int remove_others(const struct place *p, const struct metadata *a, bool privileged, unsigned *skipped,
                         struct umbra_error *err) {
  char small[NAMES_BYTES_FIRST];
  CLEANUP_FREE char *large = NULL;
  ssize_t n = read_names(p, small, sizeof small, &large);
  const char *names = large ? large : small;
  if (n < 0)
    return error_code(err, (int)n, "reading the names of extended attributes");
  for (const char *at = names; at < names + n; at += strlen(at) + 1) {
    if (!may_remove(at) || has_attribute(a, at))
      continue;
    int r = p->fd >= 0 ? fremovexattr(p->fd, at) : lremovexattr(p->path, at);
    r = r < 0 && errno != ENODATA ? -errno : 0;
    if (r < 0 && !may_skip(r, privileged))
      return error_code(err, r, "removing extended attribute '%s'", at);
    *skipped += r < 0;
  }
  return 0;
}

static int set_owner(const struct basics *basics, int fd, int dir_fd, const char *name) {
  int r = fd >= 0 ? fchown(fd, basics->uid, basics->gid)
                  : fchownat(dir_fd, name, basics->uid, basics->gid, AT_SYMLINK_NOFOLLOW);
  return r < 0 ? -errno : 0;
}

/* Of anything but symbolic links, which have none: through a descriptor, so that a link put in its place is not
 * followed. */
static int set_mode(const struct basics *basics, int fd, int dir_fd, const char *name) {
  char path[FD_PROC_PATH_BYTES];
  if (basics->kind == INDEX_SYMLINK)
    return 0;
  if (fd >= 0)
    return fchmod(fd, basics->mode) < 0 ? -errno : 0;
  CLEANUP_CLOSE int place = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (place < 0)
    return -errno;
  return chmod(fd_proc_path(place, path), basics->mode) < 0 ? -errno : 0;
}

int metadata_pack(const struct metadata *a, char **to, size_t *to_bytes) {
  char *with_flags = realloc(*to, *to_bytes + sizeof a->flags);
  if (!with_flags)
    return -ENOMEM;
  *to = with_flags;
  memcpy(with_flags + *to_bytes, &a->flags, sizeof a->flags);
  *to_bytes += sizeof a->flags;
  for (size_t i = 0; i < a->count; i++) {
    const struct attribute *x = &a->list[i];
    size_t name_bytes = strlen(x->name) + 1;
    uint32_t value_bytes = (uint32_t)x->value_bytes;
    char *larger = realloc(*to, *to_bytes + name_bytes + sizeof value_bytes + x->value_bytes);
    if (!larger)
      return -ENOMEM;
    *to = larger;
    memcpy(larger + *to_bytes, x->name, name_bytes);
    memcpy(larger + *to_bytes + name_bytes, &value_bytes, sizeof value_bytes);
    memcpy(larger + *to_bytes + name_bytes + sizeof value_bytes, x->value, x->value_bytes);
    *to_bytes += name_bytes + sizeof value_bytes + x->value_bytes;
  }
  return 0;
}

int metadata_unpack(const char *from, size_t length_bytes, struct metadata *ret) {
  int r = 0;
  *ret = (struct metadata){0};
  memcpy(&ret->flags, from, sizeof ret->flags);
  from += sizeof ret->flags;
  length_bytes -= sizeof ret->flags;
  while (r == 0 && length_bytes > 0) {
    size_t name_bytes = strlen(from) + 1;
    uint32_t value_bytes;
    memcpy(&value_bytes, from + name_bytes, sizeof value_bytes);
    void *value = malloc(value_bytes + 1U);
    if (!value) {
      r = -ENOMEM;
      break;
    }
    memcpy(value, from + name_bytes + sizeof value_bytes, value_bytes);
    r = add(ret, from, value, value_bytes);
    from += name_bytes + sizeof value_bytes + value_bytes;
    length_bytes -= name_bytes + sizeof value_bytes + value_bytes;
  }
  if (r < 0)
    metadata_done(ret);
  return r;
}

int metadata_apply(const struct basics *basics, const struct metadata *a, int fd, int dir_fd, const char *name,
                   bool privileged, unsigned *skipped, struct umbra_error *err) {
  const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, basics->modified};
  struct place p;
  place_init(&p, fd, dir_fd, name);
  int r = set_owner(basics, fd, dir_fd, name);
  if (r < 0 && !may_skip(r, privileged))
    return error_code(err, r, "setting its owner");
  *skipped += r < 0;
  struct basics own = *basics;
  if (r < 0)
    own.mode &= ~(uint32_t)(S_ISUID | S_ISGID); /* would act as somebody else than it was made to */
  r = set_mode(&own, fd, dir_fd, name);
  if (r < 0)
    return error_code(err, r, "setting its mode");
  r = remove_others(&p, a, privileged, skipped, err); /* after the mode, which an ACL that goes leaves as it is */
  if (r == 0)
    r = set_attributes(&p, a, false, privileged, skipped, err);
  if (r == 0)
    r = set_attributes(&p, a, true, privileged, skipped, err);
  if (r < 0)
    return r;
  r = fd >= 0 ? futimens(fd, times) : utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW);
  if (r < 0)
    return error_errno(err, "setting its time");
  if (fd >= 0)
    *skipped += file_flags_set(fd, FILE_FLAGS_FREE, a->flags);
  return 0;
}
