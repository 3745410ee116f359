/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From streams to a file.  Data goes to the file as it comes; what may be lost when the file is written to or given
 * to another owner (owner, mode, access control lists, capabilities) is kept in mind until the end.  Each stream is
 * one row of the table below. DESIGN.md.
 */
#include "stream/attributes.h"
#include "stream/context.h"
#include "stream/format.h"
#include "stream/names.h"
#include "stream/placing.h"
#include "stream/reparse.h"
#include "stream/security.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { LATE_BYTES_MAX = 32 << 20 /* of all attributes of a file; Linux lists 64 KiB of names */ };

enum part { PART_HEADER, PART_NAME, PART_BODY };

/* What is set after everything else, in the order in which it came. */
struct late_attribute {
  struct late_attribute *next;
  char *name;
  uint8_t *value;
  size_t bytes;
};

struct stream_writer {
  bool security, failed, finished, linked;
  uint32_t seen; /* a bit for each id below 32 that has begun */
  int target_fd; /* what the streams made of the file: a descriptor of O_PATH; negative: it is the caller's */
  enum part part;
  size_t part_done; /* of header and name */
  uint8_t head[STREAM_HEADER_BYTES];
  struct stream_header header;
  const struct stream_kind *kind; /* of the present stream */
  uint8_t name[STREAM_NAME_BYTES_MAX];
  uint8_t *memory; /* the body, of streams that are held in memory */
  uint64_t body_done, offset_bytes;
  uint8_t offset[STREAM_OFFSET_BYTES];
  bool cut_off; /* of a sparse file the last block, which is empty, has not come */
  struct late_attribute *late, **late_end;
  size_t late_bytes;
  uint8_t *descriptor;
  size_t descriptor_bytes;
  bool has_user, has_group, has_mode, has_device;
  struct security_owner owner;
  dev_t device;
  int first_failure;
  char first_words[256];
};

/* How a stream is taken: whole, from memory, at its end; or its bytes as they come. */
struct stream_kind {
  enum stream_id id;
  uint64_t bytes_max; /* of its body */
  int (*whole)(struct umbra_stream *s, int fd);
  int (*bytes)(struct umbra_stream *s, int fd, const uint8_t *bytes, size_t count);
};

void stream_writer_free(struct stream_writer *w) {
  if (!w)
    return;
  for (struct late_attribute *a = w->late, *next; a; a = next) {
    next = a->next;
    free(a->name);
    free(a->value);
    free(a);
  }
  if (w->target_fd >= 0)
    (void)close(w->target_fd);
  free(w->memory);
  free(w->descriptor);
  free(w);
}

static int target(const struct stream_writer *w, int fd) { return w->target_fd >= 0 ? w->target_fd : fd; }

/* What cannot be set does not keep the rest: the first one is told at the end. */
static void note_failure(struct stream_writer *w, int code, const char *what) {
  if (w->first_failure < 0)
    return;
  w->first_failure = code;
  (void)snprintf(w->first_words, sizeof w->first_words, "%.200s: %s", what, strerror(-code));
}

/* ---- attributes ---- */

static int keep_late(struct stream_writer *w, const char *name, const void *value, size_t bytes) {
  struct late_attribute *a = calloc(1, sizeof *a);
  if (a) {
    a->name = strdup(name);
    a->value = malloc(bytes + 1);
    a->bytes = bytes;
  }
  if (!a || !a->name || !a->value) {
    if (a) {
      free(a->name);
      free(a->value);
    }
    free(a);
    return -ENOMEM;
  }
  memcpy(a->value, value, bytes);
  *w->late_end = a;
  w->late_end = &a->next;
  return 0;
}

static int set_attribute(struct stream_writer *w, const char *name, const void *value, size_t bytes) {
  if (bytes > ATTRIBUTES_VALUE_BYTES_MAX) {
    note_failure(w, -E2BIG, name);
    return 0;
  }
  w->late_bytes += strlen(name) + bytes + sizeof(struct late_attribute);
  return w->late_bytes > LATE_BYTES_MAX ? -E2BIG : keep_late(w, name, value, bytes);
}

static int take_ea(void *userdata, const char *name, const uint8_t *value, size_t bytes) {
  struct stream_writer *w = userdata;
  char attribute[5 + 255 + 1];
  uint32_t number = bytes >= 4 ? stream_get32(value) : 0;
  if (strcmp(name, "$LXUID") == 0 && bytes == 4) {
    w->owner.user = number;
    w->has_user = true;
  } else if (strcmp(name, "$LXGID") == 0 && bytes == 4) {
    w->owner.group = number;
    w->has_group = true;
  } else if (strcmp(name, "$LXMOD") == 0 && bytes == 4) {
    w->owner.mode = number;
    w->has_mode = true;
  } else if (strcmp(name, "$LXDEV") == 0 && bytes == 8) {
    w->device = makedev(number, stream_get32(value + 4));
    w->has_device = true;
  } else {
    (void)snprintf(attribute, sizeof attribute, "user.%s", name);
    return set_attribute(w, attribute, value, bytes);
  }
  return 0;
}

static int end_ea(struct umbra_stream *s, int fd) {
  (void)fd;
  if (s->writer->header.size_bytes == 0)
    return 0;
  int r = ea_list_each(s->writer->memory, (size_t)s->writer->header.size_bytes, take_ea, s->writer);
  return r < 0 ? error_code(&s->error, r, "the list of extended attributes is not sound") : 0;
}

static int end_alternate(struct umbra_stream *s, int fd) {
  struct stream_writer *w = s->writer;
  CLEANUP_FREE char *attribute = NULL;
  bool samba;
  (void)fd;
  int r = names_attribute_of_stream(w->name, w->header.name_bytes, &attribute, &samba);
  if (r < 0)
    return error_code(&s->error, r, "the name of an alternate stream is none");
  if (!w->security && names_is_security(attribute))
    return 0;
  /* Samba's has a NUL behind, for which the body's buffer has room. */
  r = set_attribute(w, attribute, w->memory, (size_t)w->header.size_bytes + samba);
  return r < 0 ? error_code(&s->error, r, "taking '%s'", attribute) : 0;
}

/* What has no counterpart: in an attribute of its own. */
static int end_kept(struct umbra_stream *s, int fd) {
  char attribute[64];
  (void)fd;
  (void)snprintf(attribute, sizeof attribute, NAMES_KEPT "%u.%u", s->writer->header.id, s->writer->header.attributes);
  int r = set_attribute(s->writer, attribute, s->writer->memory, (size_t)s->writer->header.size_bytes);
  return r < 0 ? error_code(&s->error, r, "keeping stream %u", s->writer->header.id) : 0;
}

/* ---- security ---- */

static int end_security(struct umbra_stream *s, int fd) {
  struct stream_writer *w = s->writer;
  (void)fd;
  if (!security_is_sound(w->memory, (size_t)w->header.size_bytes))
    return error_set(&s->error, -EBADMSG, UMBRA_REASON_DAMAGED, "the security descriptor is not sound");
  if (!w->security)
    return 0;
  free(w->descriptor);
  w->descriptor = take_pointer(w->memory);
  w->descriptor_bytes = (size_t)w->header.size_bytes;
  return 0;
}

static const struct late_attribute *find_late(const struct stream_writer *w, const char *name) {
  for (const struct late_attribute *a = w->late; a; a = a->next)
    if (strcmp(a->name, name) == 0)
      return a;
  return NULL;
}

/* True: owner and mode say what the descriptor says, as of what was read on Linux. */
static bool is_derived(const struct stream_writer *w) {
  const struct late_attribute *acl = find_late(w, "system.posix_acl_access");
  uint8_t *made = NULL;
  size_t bytes = 0;
  bool same = w->has_user && w->has_group && w->has_mode &&
              security_from_posix(&w->owner, acl ? acl->value : NULL, acl ? acl->bytes : 0, &made, &bytes) == 0 &&
              bytes == w->descriptor_bytes && memcmp(made, w->descriptor, bytes) == 0;
  free(made);
  return same;
}

/* A descriptor that says more than Linux has is kept where Samba looks for it. */
static int take_descriptor(struct stream_writer *w, int fd) {
  bool owned = false, grouped = false;
  struct stat st;
  CLEANUP_FREE uint8_t *value = NULL;
  size_t bytes;
  if (!w->descriptor || is_derived(w))
    return 0;
  struct security_owner said = {0};
  security_to_posix(w->descriptor, w->descriptor_bytes, &said, &owned, &grouped);
  if (!w->has_user && owned)
    w->owner.user = said.user;
  if (!w->has_group && grouped)
    w->owner.group = said.group;
  if (!w->has_mode && fstat(target(w, fd), &st) == 0) {
    w->owner.mode = (st.st_mode & S_IFMT) | said.mode;
    w->has_mode = true;
  }
  w->has_user = w->has_user || owned;
  w->has_group = w->has_group || grouped;
  if (find_late(w, "security.NTACL"))
    return 0;
  int r = security_to_ntacl(w->descriptor, w->descriptor_bytes, &value, &bytes);
  return r < 0 ? r : set_attribute(w, "security.NTACL", value, bytes);
}

/* ---- the file itself ---- */

static int write_data(struct umbra_stream *s, int fd, const uint8_t *bytes, size_t count) {
  int r = fd_pwrite_all(fd, bytes, count, s->writer->body_done);
  return r < 0 ? error_code(&s->error, r, "writing the file") : 0;
}

static int end_data(struct umbra_stream *s, int fd) {
  struct stat st;
  s->writer->cut_off = s->writer->header.attributes & STREAM_SPARSE;
  if (fstat(fd, &st) < 0 || (S_ISREG(st.st_mode) && ftruncate(fd, (off_t)s->writer->header.size_bytes) < 0))
    return error_errno(&s->error, "giving the file its length");
  return 0;
}

/* The file is made long enough first: what is written behind its end XFS takes for the beginning of more, and
 * reserves. */
static int begin_sparse_block(struct umbra_stream *s, int fd) {
  struct stream_writer *w = s->writer;
  struct stat st;
  uint64_t length_bytes = w->header.size_bytes - STREAM_OFFSET_BYTES;
  w->offset_bytes = stream_get64(w->offset);
  if (w->offset_bytes > INT64_MAX || length_bytes > INT64_MAX - w->offset_bytes)
    return error_set(&s->error, -EBADMSG, UMBRA_REASON_DAMAGED, "a sparse block that ends beyond all files");
  if (fstat(fd, &st) < 0 || ((uint64_t)st.st_size < w->offset_bytes + length_bytes &&
                             ftruncate(fd, (off_t)(w->offset_bytes + length_bytes)) < 0))
    return error_errno(&s->error, "giving the file its length");
  return 0;
}

static int write_sparse(struct umbra_stream *s, int fd, const uint8_t *bytes, size_t count) {
  struct stream_writer *w = s->writer;
  bool begins = w->body_done < STREAM_OFFSET_BYTES;
  for (; count > 0 && w->body_done < STREAM_OFFSET_BYTES; count--)
    w->offset[w->body_done++] = *bytes++;
  if (w->body_done < STREAM_OFFSET_BYTES)
    return 0;
  int r = begins ? begin_sparse_block(s, fd) : 0;
  uint64_t at = w->offset_bytes + w->body_done - STREAM_OFFSET_BYTES;
  if (r == 0 && count > 0) {
    r = fd_pwrite_all(fd, bytes, count, at);
    if (r < 0)
      (void)error_code(&s->error, r, "writing the file at byte %" PRIu64, at);
  }
  return r;
}

/* An empty one is where the file ends. */
static int end_sparse(struct umbra_stream *s, int fd) {
  if (s->writer->header.size_bytes < STREAM_OFFSET_BYTES)
    return error_set(&s->error, -EBADMSG, UMBRA_REASON_DAMAGED, "a sparse block without an offset");
  s->writer->cut_off = s->writer->header.size_bytes != STREAM_OFFSET_BYTES;
  if (s->writer->header.size_bytes == STREAM_OFFSET_BYTES && ftruncate(fd, (off_t)s->writer->offset_bytes) < 0)
    return error_errno(&s->error, "giving the file its length");
  return 0;
}

/* The file's place is taken by what it is. */
static int end_link(struct umbra_stream *s, int fd) {
  CLEANUP_FREE char *path = NULL;
  (void)fd;
  int r = names_from_utf16(s->writer->memory, (size_t)s->writer->header.size_bytes, &path);
  if (r < 0)
    return error_code(&s->error, r, "the name of a link is none");
  r = placing_link(&s->options, path, &s->error);
  if (r < 0)
    return r;
  if (s->writer->target_fd >= 0)
    (void)close(s->writer->target_fd);
  s->writer->target_fd = r;
  s->writer->linked = true;
  return 0;
}

static int end_reparse(struct umbra_stream *s, int fd) {
  struct stream_writer *w = s->writer;
  CLEANUP_FREE char *symlink_target = NULL;
  mode_t type = 0;
  (void)fd;
  int r = reparse_read(w->memory, (size_t)w->header.size_bytes, &type, &symlink_target);
  if (r < 0)
    return error_code(&s->error, r,
                      r == -EXDEV ? "a symbolic link that has no meaning here" : "the reparse point is not sound");
  if (type == 0)
    return set_attribute(w, REPARSE_ATTRIBUTE, w->memory, (size_t)w->header.size_bytes);
  if ((S_ISCHR(type) || S_ISBLK(type)) && !w->has_device)
    return error_set(&s->error, -EBADMSG, UMBRA_REASON_DAMAGED, "a device without its number");
  if ((w->seen & (1U << STREAM_DATA | 1U << STREAM_SPARSE_BLOCK)) != 0)
    return error_set(&s->error, -EBADMSG, UMBRA_REASON_DAMAGED, "data of a file that is something else");
  r = placing_special(&s->options, type, w->device, symlink_target, &s->error);
  if (r < 0)
    return r;
  if (w->target_fd >= 0)
    (void)close(w->target_fd);
  w->target_fd = r;
  return 0;
}

/* ---- streams ---- */

static const struct stream_kind kinds[] = {
    {.id = STREAM_DATA, .bytes_max = INT64_MAX, .bytes = write_data, .whole = end_data},
    {.id = STREAM_EA_DATA, .bytes_max = ATTRIBUTES_EA_BYTES_MAX, .whole = end_ea},
    {.id = STREAM_SECURITY_DATA, .bytes_max = STREAM_MEMORY_BYTES_MAX, .whole = end_security},
    {.id = STREAM_ALTERNATE_DATA, .bytes_max = STREAM_MEMORY_BYTES_MAX, .whole = end_alternate},
    {.id = STREAM_LINK, .bytes_max = 2 * PATH_MAX, .whole = end_link},
    {.id = STREAM_OBJECT_ID, .bytes_max = STREAM_OBJECT_ID_BYTES_MAX, .whole = end_kept},
    {.id = STREAM_REPARSE_DATA, .bytes_max = REPARSE_BYTES_MAX, .whole = end_reparse},
    {.id = STREAM_SPARSE_BLOCK, .bytes_max = INT64_MAX, .bytes = write_sparse, .whole = end_sparse},
};

static int pass_over(struct umbra_stream *s, int fd, const uint8_t *bytes, size_t count) {
  (void)s, (void)fd, (void)bytes, (void)count;
  return 0;
}

static int end_nothing(struct umbra_stream *s, int fd) {
  (void)s, (void)fd;
  return 0;
}

static const struct stream_kind skipped = {.bytes_max = INT64_MAX, .bytes = pass_over, .whole = end_nothing};
static const struct stream_kind kept = {.bytes_max = STREAM_MEMORY_BYTES_MAX, .whole = end_kept};

static const struct stream_kind *find_kind(const struct umbra_stream *s, uint32_t id) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if ((uint32_t)kinds[i].id == id)
      return &kinds[i];
  return s->options.unknown == UMBRA_STREAM_UNKNOWN_SKIPPED ? &skipped
         : s->options.unknown == UMBRA_STREAM_UNKNOWN_KEPT  ? &kept
                                                            : NULL;
}

/*
 * What says whose and what the file is comes once.  A LINK stands alone: what would come with it would be done to a
 * file that is there already; and what has taken the file's place has no data.
 */
static int check_order(struct umbra_stream *s) {
  struct stream_writer *w = s->writer;
  static const uint32_t once =
      1U << STREAM_EA_DATA | 1U << STREAM_SECURITY_DATA | 1U << STREAM_REPARSE_DATA | 1U << STREAM_DATA;
  static const uint32_t data = 1U << STREAM_DATA | 1U << STREAM_SPARSE_BLOCK;
  uint32_t bit = w->header.id < 32 ? 1U << w->header.id : 0;
  if (w->linked || (w->header.id == STREAM_LINK && w->seen != 0) || (bit & once & w->seen) != 0 ||
      (w->target_fd >= 0 && (bit & data) != 0))
    return error_set(&s->error, -EBADMSG, UMBRA_REASON_DAMAGED, "stream %u where none can be", w->header.id);
  w->seen |= bit | 1;
  return 0;
}

static int begin_stream(struct umbra_stream *s) {
  struct stream_writer *w = s->writer;
  w->header = stream_header_get(w->head);
  int r = check_order(s);
  if (r < 0)
    return r;
  w->kind = find_kind(s, w->header.id);
  if (!w->kind)
    return error_set(&s->error, -EOPNOTSUPP, UMBRA_REASON_INVALID, "stream %u has no counterpart here", w->header.id);
  if (w->header.name_bytes > STREAM_NAME_BYTES_MAX || w->header.name_bytes % 2)
    return error_set(&s->error, -EBADMSG, UMBRA_REASON_DAMAGED, "a stream with a name of %u bytes",
                     w->header.name_bytes);
  if (w->header.size_bytes > w->kind->bytes_max)
    return error_set(&s->error, w->header.size_bytes > INT64_MAX ? -EBADMSG : -E2BIG, UMBRA_REASON_LIMIT,
                     "stream %u is %" PRIu64 " bytes long, at most %" PRIu64 " can be", w->header.id,
                     w->header.size_bytes, w->kind->bytes_max);
  w->body_done = 0;
  w->offset_bytes = 0;
  free(w->memory);
  w->memory = w->kind->bytes ? NULL : calloc(1, (size_t)w->header.size_bytes + 1);
  return w->kind->bytes || w->memory ? 0 : error_code(&s->error, -ENOMEM, "taking a stream");
}

/* Bytes of the present stream's body. */
static int take_body(struct umbra_stream *s, int fd, const uint8_t *bytes, size_t count) {
  struct stream_writer *w = s->writer;
  uint64_t before = w->body_done;
  if (!w->kind->bytes)
    memcpy(w->memory + before, bytes, count);
  int r = w->kind->bytes ? w->kind->bytes(s, fd, bytes, count) : 0;
  w->body_done = before + count;
  return r;
}

/* One step: some bytes of the present part. *ret_used of them are taken. */
static int step(struct umbra_stream *s, int fd, const uint8_t *bytes, size_t count, size_t *ret_used) {
  struct stream_writer *w = s->writer;
  uint64_t whole = w->part == PART_HEADER ? STREAM_HEADER_BYTES
                   : w->part == PART_NAME ? w->header.name_bytes
                                          : w->header.size_bytes;
  uint64_t done = w->part == PART_BODY ? w->body_done : w->part_done;
  size_t n = whole - done < count ? (size_t)(whole - done) : count;
  int r = 0;
  *ret_used = n;
  if (w->part == PART_BODY)
    r = n > 0 ? take_body(s, fd, bytes, n) : 0;
  else
    memcpy((w->part == PART_HEADER ? w->head : w->name) + w->part_done, bytes, n);
  if (w->part != PART_BODY)
    w->part_done += n;
  if (r < 0 || done + n < whole)
    return r;
  w->part_done = 0;
  switch (w->part) {
  case PART_HEADER:
    w->part = PART_NAME;
    return begin_stream(s);
  case PART_NAME:
    w->part = PART_BODY;
    return 0;
  case PART_BODY:
    w->part = PART_HEADER;
    return w->kind->whole(s, fd);
  }
  return 0;
}

/* A part of which all bytes are there ends without more: an empty name or body, one that was moved past us. */
static bool part_is_due(const struct stream_writer *w) {
  return (w->part == PART_NAME && w->header.name_bytes == 0) ||
         (w->part == PART_BODY && w->body_done == w->header.size_bytes);
}

uint64_t stream_writer_file_part(const struct stream_writer *w, uint64_t *ret_offset_bytes) {
  if (w->failed || w->part != PART_BODY || (w->kind->bytes != write_data && w->kind->bytes != write_sparse))
    return 0;
  uint64_t before = w->kind->bytes == write_sparse ? STREAM_OFFSET_BYTES : 0;
  if (w->body_done < before)
    return 0;
  *ret_offset_bytes = w->offset_bytes + w->body_done - before;
  return w->header.size_bytes - w->body_done;
}

void stream_writer_passed(struct stream_writer *w, uint64_t bytes) { w->body_done += bytes; }

/* ---- the end ---- */

/* False: it is not the owner's whose the rights were: nobody runs its program as somebody else, or with privilege. */
static bool set_owner(struct stream_writer *w, int fd) {
  struct stat st;
  bool sure = w->has_user && w->has_group;
  if ((w->has_user || w->has_group) && fchownat(fd, "", w->has_user ? w->owner.user : (uid_t)-1,
                                                w->has_group ? w->owner.group : (gid_t)-1, AT_EMPTY_PATH) < 0) {
    note_failure(w, -errno, "owner and group");
    sure = false;
  }
  if (w->has_mode && fstat(fd, &st) == 0 && !S_ISLNK(st.st_mode)) {
    char path[FD_PROC_PATH_BYTES];
    if (chmod(fd_proc_path(fd, path), w->owner.mode & (sure ? 07777 : 01777)) < 0)
      note_failure(w, -errno, "the mode");
  }
  return sure;
}

/* Owner first: it takes away set-user-ID and capabilities. Access control lists last: they change with the mode. */
static int finish(struct umbra_stream *s, int fd) {
  struct stream_writer *w = s->writer;
  if (w->part != PART_HEADER || w->part_done > 0)
    return error_set(&s->error, -EBADMSG, UMBRA_REASON_DAMAGED, "the bytes end in the midst of a stream");
  if (w->cut_off)
    return error_set(&s->error, -EBADMSG, UMBRA_REASON_DAMAGED, "the bytes end in the midst of a sparse file");
  if (w->linked)
    return 0;
  int r = take_descriptor(w, fd);
  if (r < 0)
    return error_code(&s->error, r, "taking the security descriptor");
  int at = target(w, fd);
  bool sure = w->security && set_owner(w, at);
  for (const struct late_attribute *a = w->late; a; a = a->next) {
    if (!sure && strcmp(a->name, "security.capability") == 0)
      continue;
    r = attributes_set(at, a->name, a->value, a->bytes);
    if (r < 0)
      note_failure(w, r, a->name);
  }
  return w->first_failure < 0 ? error_set(&s->error, w->first_failure, error_reason_from_errno(w->first_failure),
                                          "cannot be set: %s", w->first_words)
                              : 0;
}

static int start(struct umbra_stream *s, bool security) {
  struct stream_writer *w = calloc(1, sizeof *w);
  if (!w)
    return error_code(&s->error, -ENOMEM, "writing a file's streams");
  w->security = security;
  w->target_fd = -1;
  w->late_end = &w->late;
  s->writer = w;
  return 0;
}

int umbra_backup_write(int fd, const void *buffer, size_t bytes, size_t *ret_bytes, int abort, int security,
                       struct umbra_stream **context) {
  *ret_bytes = 0;
  int r = context_take(context);
  if (r < 0)
    return r;
  struct umbra_stream *s = *context;
  error_clear(&s->error);
  if (s->reader)
    r = error_set(&s->error, -EINVAL, UMBRA_REASON_BAD_STATE, "writing with what is being read with");
  else if (!s->writer)
    r = start(s, security != 0);
  else if (s->writer->failed)
    r = error_set(&s->error, -EBADMSG, UMBRA_REASON_BAD_STATE, "going on after a failure");
  while (r == 0 && (*ret_bytes < bytes || part_is_due(s->writer))) {
    size_t used;
    r = step(s, fd, (const uint8_t *)buffer + *ret_bytes, bytes - *ret_bytes, &used);
    *ret_bytes += used;
  }
  if (r < 0 && s->writer)
    s->writer->failed = true;
  if (abort) {
    if (r == 0 && !s->writer->finished)
      r = finish(s, fd);
    context_free(context);
  }
  return r;
}

int umbra_stream_finish(int fd, struct umbra_stream **context) {
  size_t none;
  int r = umbra_backup_write(fd, NULL, 0, &none, 0, 0, context);
  if (r < 0 || (*context)->writer->finished)
    return r;
  (*context)->writer->finished = true;
  return finish(*context, fd);
}
