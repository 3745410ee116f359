/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a file to its streams.  Which there are is found at the first call; each one's header is made when its turn
 * comes, of what the file is then.  DESIGN.md has the order.
 */
#include "stream/attributes.h"
#include "stream/context.h"
#include "stream/format.h"
#include "stream/names.h"
#include "stream/reparse.h"
#include "stream/security.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* The order of the streams; of attributes that have one each the next. */
enum phase {
  PHASE_SECURITY,
  PHASE_EA,
  PHASE_REPARSE,
  PHASE_DATA,
  PHASE_SPARSE,
  PHASE_ATTRIBUTES,
  PHASE_LINK,
  PHASE_END
};

struct stream_reader {
  struct stat st;
  bool security, reparse_told;
  enum phase phase;
  char *names; /* of the attributes that are left for streams of their own: NUL after NUL */
  size_t names_bytes, next_name;
  uint64_t sparse_from; /* where the next block of data is looked for */
  /* The present stream: header and name, then data from memory, then from the file. */
  uint8_t head[STREAM_HEADER_BYTES + STREAM_NAME_BYTES_MAX];
  size_t head_bytes, head_done;
  uint8_t *memory;
  uint64_t memory_bytes, file_bytes, file_from;
  uint64_t done; /* of memory_bytes + file_bytes */
};

void stream_reader_free(struct stream_reader *r) {
  if (!r)
    return;
  free(r->names);
  free(r->memory);
  free(r);
}

/* Begins a stream. memory becomes the reader's. */
static void begin(struct stream_reader *r, uint32_t id, uint32_t attributes, const uint8_t *name, size_t name_bytes,
                  uint8_t *memory, uint64_t memory_bytes) {
  free(r->memory);
  r->memory = memory;
  r->memory_bytes = memory_bytes;
  r->file_bytes = r->file_from = r->done = r->head_done = 0;
  const struct stream_header h = {
      .id = id, .attributes = attributes, .size_bytes = memory_bytes, .name_bytes = (uint32_t)name_bytes};
  stream_header_put(&h, r->head);
  if (name_bytes > 0)
    memcpy(r->head + STREAM_HEADER_BYTES, name, name_bytes);
  r->head_bytes = STREAM_HEADER_BYTES + name_bytes;
}

/* Behind what begin() has in memory: bytes of the file. */
static void add_file_bytes(struct stream_reader *r, uint64_t from, uint64_t bytes) {
  r->file_from = from;
  r->file_bytes = bytes;
  stream_put64(r->head + 8, r->memory_bytes + bytes);
}

/* ---- the streams, in their order: 1: one has begun, 0: there is none, or negative ---- */

static int begin_security(struct stream_reader *r, int fd) {
  const struct security_owner owner = {.user = r->st.st_uid, .group = r->st.st_gid, .mode = r->st.st_mode};
  CLEANUP_FREE uint8_t *ntacl = NULL, *acl = NULL;
  size_t ntacl_bytes = 0, acl_bytes = 0, bytes;
  uint8_t *descriptor;
  if (!r->security)
    return 0;
  if (attributes_get(fd, "security.NTACL", &ntacl, &ntacl_bytes) < 0 ||
      security_of_ntacl(ntacl, ntacl_bytes, &descriptor, &bytes) < 0) {
    (void)attributes_get(fd, "system.posix_acl_access", &acl, &acl_bytes);
    int k = security_from_posix(&owner, acl, acl_bytes, &descriptor, &bytes);
    if (k < 0)
      return k;
  }
  begin(r, STREAM_SECURITY_DATA, STREAM_CONTAINS_SECURITY, NULL, 0, descriptor, bytes);
  return 1;
}

static bool add_number(struct ea_list *list, const char *name, uint32_t value) {
  uint8_t bytes[4];
  stream_put32(bytes, value);
  return ea_list_add(list, name, bytes, sizeof bytes);
}

static bool add_device(struct ea_list *list, dev_t device) {
  uint8_t bytes[8];
  stream_put32(bytes, major(device));
  stream_put32(bytes + 4, minor(device));
  return ea_list_add(list, "$LXDEV", bytes, sizeof bytes);
}

/* user.NAME that another stream does not stand for. */
static const char *ea_name(const char *attribute) {
  return strncmp(attribute, "user.", 5) == 0 && attribute[5] && attribute[5] != '$' &&
                 !names_is_samba_stream(attribute) && strncmp(attribute, NAMES_KEPT, strlen(NAMES_KEPT)) != 0 &&
                 strcmp(attribute, REPARSE_ATTRIBUTE) != 0
             ? attribute + 5
             : NULL;
}

/* What fits goes into the list; what does not is left for a stream of its own. */
static int begin_ea(struct stream_reader *r, int fd) {
  struct ea_list list = {0};
  bool sound = true;
  if (r->security)
    sound = add_number(&list, "$LXUID", r->st.st_uid) && add_number(&list, "$LXGID", r->st.st_gid) &&
            add_number(&list, "$LXMOD", r->st.st_mode);
  if (sound && (S_ISCHR(r->st.st_mode) || S_ISBLK(r->st.st_mode)))
    sound = add_device(&list, r->st.st_rdev);
  size_t left = 0;
  for (size_t at = 0, length; sound && at < r->names_bytes; at += length) {
    length = strlen(r->names + at) + 1;
    const char *name = ea_name(r->names + at);
    CLEANUP_FREE uint8_t *value = NULL;
    size_t bytes;
    if (name && attributes_get(fd, r->names + at, &value, &bytes) == 0 && ea_list_add(&list, name, value, bytes))
      continue;
    memmove(r->names + left, r->names + at, length);
    left += length;
  }
  r->names_bytes = left;
  if (!sound || list.length == 0) {
    free(list.bytes);
    return sound ? 0 : -ENOMEM;
  }
  begin(r, STREAM_EA_DATA, 0, NULL, 0, list.bytes, list.length);
  return 1;
}

static int begin_reparse(struct stream_reader *r, int fd) {
  CLEANUP_FREE char *target = NULL;
  uint8_t *data;
  size_t bytes;
  if (S_ISREG(r->st.st_mode) || S_ISDIR(r->st.st_mode)) {
    mode_t type = 0;
    if (attributes_get(fd, REPARSE_ATTRIBUTE, &data, &bytes) < 0)
      return 0;
    /* Its owner may have written anything there: a file of data never comes back as something else. */
    if (reparse_read(data, bytes, &type, &target) < 0 || type != 0) {
      free(data);
      return 0;
    }
    r->reparse_told = true;
    begin(r, STREAM_REPARSE_DATA, 0, NULL, 0, data, bytes);
    return 1;
  }
  if (S_ISLNK(r->st.st_mode)) {
    target = calloc(1, PATH_MAX);
    if (!target || readlinkat(fd, "", target, PATH_MAX - 1) < 0)
      return target ? -errno : -ENOMEM;
  }
  int k = reparse_make(r->st.st_mode & S_IFMT, target, &data, &bytes);
  if (k < 0)
    return k;
  begin(r, STREAM_REPARSE_DATA, 0, NULL, 0, data, bytes);
  return 1;
}

static int begin_data(struct stream_reader *r, int fd) {
  r->sparse_from = UINT64_MAX;
  if (!S_ISREG(r->st.st_mode))
    return 0;
  uint64_t size = (uint64_t)r->st.st_size;
  off_t hole = size > 0 ? lseek(fd, 0, SEEK_HOLE) : 0;
  if (size > 0 && hole < 0)
    return -errno;
  if ((uint64_t)hole < size) {
    begin(r, STREAM_DATA, STREAM_SPARSE, NULL, 0, NULL, 0);
    r->sparse_from = 0;
    return 1;
  }
  begin(r, STREAM_DATA, 0, NULL, 0, NULL, 0);
  add_file_bytes(r, 0, size);
  return 1;
}

/* The next block of data, and after the last an empty one at the end of the file. */
static int begin_sparse(struct stream_reader *r, int fd) {
  uint64_t size = (uint64_t)r->st.st_size;
  if (r->sparse_from == UINT64_MAX)
    return 0;
  off_t from = r->sparse_from < size ? lseek(fd, (off_t)r->sparse_from, SEEK_DATA) : -1;
  if (from < 0 && r->sparse_from < size && errno != ENXIO)
    return -errno;
  uint64_t at = from < 0 || (uint64_t)from >= size ? size : (uint64_t)from, end = size;
  if (at < size) {
    off_t hole = lseek(fd, from, SEEK_HOLE);
    if (hole < 0)
      return -errno;
    end = (uint64_t)hole < size ? (uint64_t)hole : size;
  }
  uint8_t *offset = malloc(STREAM_OFFSET_BYTES);
  if (!offset)
    return -ENOMEM;
  stream_put64(offset, at);
  begin(r, STREAM_SPARSE_BLOCK, STREAM_SPARSE, NULL, 0, offset, STREAM_OFFSET_BYTES);
  add_file_bytes(r, at, end - at);
  r->sparse_from = at < size ? end : UINT64_MAX;
  return 1;
}

/* user.umbra.stream.ID.ATTRIBUTES: a stream that was kept when it was written. Anybody may have made it himself. */
static bool kept_stream(const char *attribute, uint32_t *ret_id, uint32_t *ret_attributes) {
  char again[64];
  unsigned id, attributes;
  if (sscanf(attribute, NAMES_KEPT "%u.%u", &id, &attributes) != 2 || !stream_id_is_kept(id))
    return false;
  (void)snprintf(again, sizeof again, NAMES_KEPT "%u.%u", id, attributes);
  *ret_id = id;
  *ret_attributes = attributes;
  return strcmp(again, attribute) == 0;
}

static int begin_attribute(struct stream_reader *r, int fd) {
  while (r->next_name < r->names_bytes) {
    const char *attribute = r->names + r->next_name;
    CLEANUP_FREE uint8_t *name = NULL;
    uint8_t *value;
    size_t name_bytes = 0, bytes;
    uint32_t id = STREAM_ALTERNATE_DATA, attributes = 0;
    r->next_name += strlen(attribute) + 1;
    if ((!r->security && names_is_security(attribute)) ||
        (r->reparse_told && strcmp(attribute, REPARSE_ATTRIBUTE) == 0))
      continue;
    bool kept = kept_stream(attribute, &id, &attributes);
    if (!kept)
      id = STREAM_ALTERNATE_DATA, attributes = 0;
    int k = kept ? 0 : names_stream_of_attribute(attribute, &name, &name_bytes);
    if (k < 0)
      return k;
    k = attributes_get(fd, attribute, &value, &bytes);
    if (k == -ENODATA)
      continue; /* taken away since */
    if (k < 0)
      return k;
    if (names_is_samba_stream(attribute) && bytes > 0 && value[bytes - 1] == 0)
      bytes--;
    begin(r, id, attributes, name, name_bytes, value, bytes);
    return 1;
  }
  return 0;
}

static int (*const beginnings[])(struct stream_reader *r, int fd) = {
    [PHASE_SECURITY] = begin_security, [PHASE_EA] = begin_ea,         [PHASE_REPARSE] = begin_reparse,
    [PHASE_DATA] = begin_data,         [PHASE_SPARSE] = begin_sparse, [PHASE_ATTRIBUTES] = begin_attribute,
};

static int begin_link(struct stream_reader *r, const char *link) {
  uint8_t *path;
  size_t bytes;
  int k = names_to_utf16(link, &path, &bytes);
  if (k < 0)
    return k;
  begin(r, STREAM_LINK, 0, NULL, 0, path, bytes);
  r->phase = PHASE_END;
  return 1;
}

/* 1: the next stream has begun; 0: that was the last one. */
static int next(struct umbra_stream *s, int fd) {
  struct stream_reader *r = s->reader;
  if (r->phase == PHASE_LINK)
    return begin_link(r, s->options.link);
  while (r->phase < PHASE_LINK) {
    int k = beginnings[r->phase](r, fd);
    /* Blocks and attributes come until there is none left. */
    if (k <= 0 || (r->phase != PHASE_SPARSE && r->phase != PHASE_ATTRIBUTES))
      r->phase++;
    if (k != 0)
      return k;
  }
  r->phase = PHASE_END;
  return 0;
}

/* ---- the calls ---- */

static int start(struct umbra_stream *s, int fd, bool security) {
  struct stream_reader *r = calloc(1, sizeof *r);
  if (!r)
    return error_code(&s->error, -ENOMEM, "reading a file's streams");
  s->reader = r;
  r->security = security;
  if (fstat(fd, &r->st) < 0)
    return error_errno(&s->error, "looking at the file");
  if (s->options.link) {
    r->phase = PHASE_LINK;
    return 0;
  }
  int k = attributes_list(fd, &r->names, &r->names_bytes);
  return k < 0 ? error_code(&s->error, k, "listing the file's attributes") : 0;
}

/* Some of the present stream's bytes: how many, at least one, or negative. */
static ssize_t take(struct umbra_stream *s, int fd, uint8_t *to, size_t room) {
  struct stream_reader *r = s->reader;
  size_t n;
  if (r->head_done < r->head_bytes) {
    n = r->head_bytes - r->head_done < room ? r->head_bytes - r->head_done : room;
    memcpy(to, r->head + r->head_done, n);
    r->head_done += n;
    return (ssize_t)n;
  }
  if (r->done < r->memory_bytes) {
    n = r->memory_bytes - r->done < room ? (size_t)(r->memory_bytes - r->done) : room;
    memcpy(to, r->memory + r->done, n);
    r->done += n;
    return (ssize_t)n;
  }
  uint64_t in_file = r->done - r->memory_bytes;
  n = r->file_bytes - in_file < room ? (size_t)(r->file_bytes - in_file) : room;
  ssize_t got = pread(fd, to, n, (off_t)(r->file_from + in_file));
  if (got < 0)
    return error_errno(&s->error, "reading the file at byte %llu", (unsigned long long)(r->file_from + in_file));
  if (got == 0)
    return error_set(&s->error, -ESTALE, UMBRA_REASON_BAD_STATE, "the file became shorter while it was read");
  r->done += (uint64_t)got;
  return got;
}

uint64_t stream_reader_file_part(const struct stream_reader *r, uint64_t *ret_offset_bytes) {
  if (r->head_done < r->head_bytes || r->done < r->memory_bytes)
    return 0;
  *ret_offset_bytes = r->file_from + (r->done - r->memory_bytes);
  return r->file_bytes - (r->done - r->memory_bytes);
}

void stream_reader_passed(struct stream_reader *r, uint64_t bytes) { r->done += bytes; }

static bool at_end_of_stream(const struct stream_reader *r) {
  return r->head_done == r->head_bytes && r->done == r->memory_bytes + r->file_bytes;
}

int umbra_backup_read(int fd, void *buffer, size_t room_bytes, size_t *ret_bytes, int abort, int security,
                      struct umbra_stream **context) {
  *ret_bytes = 0;
  if (abort) {
    context_free(context);
    return 0;
  }
  int k = context_take(context);
  if (k < 0)
    return k;
  struct umbra_stream *s = *context;
  error_clear(&s->error);
  if (s->writer)
    return error_set(&s->error, -EINVAL, UMBRA_REASON_BAD_STATE, "reading with what is being written with");
  if (!s->reader && (k = start(s, fd, security != 0)) < 0) {
    stream_reader_free(take_pointer(s->reader));
    return k;
  }
  while (*ret_bytes < room_bytes) {
    if (at_end_of_stream(s->reader)) {
      k = next(s, fd);
      if (k < 0)
        return s->error.code < 0 ? k : error_code(&s->error, k, "reading the file's streams");
      if (k == 0)
        return 0;
      continue;
    }
    ssize_t got = take(s, fd, (uint8_t *)buffer + *ret_bytes, room_bytes - *ret_bytes);
    if (got < 0 && *ret_bytes == 0)
      return (int)got;
    if (got < 0) {
      /* What was taken before is the caller's; the failure comes again with the next call. */
      error_clear(&s->error);
      return 0;
    }
    *ret_bytes += (size_t)got;
  }
  return 0;
}

int umbra_backup_seek(int fd, uint64_t wanted_bytes, uint64_t *ret_bytes, struct umbra_stream **context) {
  struct umbra_stream *s = *context;
  (void)fd; /* the shape of the answered call: where we are is the context's */
  *ret_bytes = 0;
  if (!s || s->writer)
    return -EINVAL;
  struct stream_reader *r = s->reader;
  error_clear(&s->error);
  uint64_t left = r && r->head_done == r->head_bytes ? r->memory_bytes + r->file_bytes - r->done : 0;
  *ret_bytes = wanted_bytes < left ? wanted_bytes : left;
  if (r)
    r->done += *ret_bytes;
  return wanted_bytes > left ? error_set(&s->error, -ENXIO, UMBRA_REASON_INVALID, "the stream has %llu bytes left",
                                         (unsigned long long)left)
                             : 0;
}
