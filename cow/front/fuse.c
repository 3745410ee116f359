/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/front/fuse.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/memory-lock.h"
#include "volume/session.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Newer than Debian 12's header. */
enum { NOTIFY_RESEND = 7, INIT_FLAG2_RESEND = 1 << (39 - 32) };

enum {
  NODE_ROOT = FUSE_ROOT_ID,
  NODE_VOLUME = 2,
  NODE_SHADOWS = 16, /* a shadow copy's node is this plus its number: never used twice */
  BACKGROUND_MAX = 512,
  NAME_BYTES_MAX = 255,
  FOREVER_S = 1 << 30,
  OUT_BYTES = 4096,
  BODY_BYTES = COW_REQUEST_BYTES_MAX + COW_BUFFER_ALIGNMENT,
  BODIES_BYTES = 2 * BODY_BYTES, /* of a thread's requests together */
};
_Static_assert((int)FUSE_FRONT_BATCH_MAX <= (int)COW_REQUESTS_MAX, "a batch is one run of the engine");

struct open_shadow {
  uint32_t number;
  unsigned count;   /* opens of the kernel's that this server has seen */
  unsigned reading; /* reads and writes under way */
  bool closing;     /* released: goes with the last of them */
  struct cow_shadow *shadow;
};

/* The answer is out_bytes of out and data_bytes of data; no out: none. */
struct fuse_request {
  unsigned char head[FUSE_FRONT_HEAD_BYTES];
  unsigned char *body;          /* BODY_BYTES, aligned */
  size_t length_bytes;          /* of both */
  unsigned char out[OUT_BYTES]; /* the answer's header and, unless data is set, all of it */
  size_t out_bytes;
  const unsigned char *data; /* follows out; in body */
  size_t data_bytes;
};

struct server_thread {
  struct fuse_front *front;
  pthread_t thread;
  struct io_uring ring; /* through which answers go together */
  bool ring_works;
  unsigned char *bodies;
  struct fuse_request requests[FUSE_FRONT_BATCH_MAX];
};

struct fuse_front {
  struct front_seat *seat;
  int fd;
  struct cow_engine *engine;
  bool volume; /* there is the file of the live volume */
  struct server_thread *threads;
  unsigned thread_count;
  atomic_bool stopping;
  int stop_event;       /* readable from then on; no signals: they would end what the engine waits for */
  pthread_mutex_t turn; /* who reads requests: one at a time, so that what comes together goes together */

  pthread_mutex_t lock; /* open shadow copies; taken before the engine's locks */
  struct open_shadow open[COW_SHADOWS_MAX];
};

/* The arguments behind the header, of at least bytes, or NULL. */
static const void *arguments(const struct fuse_request *r, size_t bytes) {
  return r->length_bytes >= sizeof(struct fuse_in_header) + bytes ? r->head + sizeof(struct fuse_in_header) : NULL;
}

static const struct fuse_in_header *header_of(const struct fuse_request *r) { return (const void *)r->head; }

static void answer(struct fuse_request *r, int error, const void *payload, size_t bytes) {
  struct fuse_out_header out = {
      .len = (uint32_t)(sizeof out + (error ? 0 : bytes)), .error = error, .unique = header_of(r)->unique};
  memcpy(r->out, &out, sizeof out);
  if (!error && bytes > 0)
    memcpy(r->out + sizeof out, payload, bytes);
  r->out_bytes = out.len;
  r->data = NULL;
  r->data_bytes = 0;
}

static void answer_data(struct fuse_request *r, const unsigned char *data, size_t bytes) {
  answer(r, 0, NULL, 0);
  struct fuse_out_header *out = (void *)r->out; /* r->out_bytes stays the header's alone */
  out->len += (uint32_t)bytes;
  r->data = data;
  r->data_bytes = bytes;
}

static void answer_init(struct fuse_front *f, struct fuse_request *r) {
  const struct fuse_init_in *in = arguments(r, offsetof(struct fuse_init_in, flags) + sizeof in->flags);
  if (!in || in->major != FUSE_KERNEL_VERSION) {
    answer(r, -EPROTO, NULL, 0);
    return;
  }
  bool has_more =
      (in->flags & FUSE_INIT_EXT) && arguments(r, offsetof(struct fuse_init_in, flags2) + sizeof in->flags2);
  bool resends = has_more && (in->flags2 & INIT_FLAG2_RESEND);
  atomic_store(&f->seat->resends, resends ? FRONT_RESENDS : FRONT_RESENDS_NOT);
  const uint32_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_ASYNC_DIO | FUSE_MAX_PAGES;
  struct fuse_init_out out = {
      .major = FUSE_KERNEL_VERSION,
      .minor = FUSE_KERNEL_MINOR_VERSION < in->minor ? FUSE_KERNEL_MINOR_VERSION : in->minor,
      .max_readahead = in->max_readahead,
      .flags = in->flags & wanted,
      .max_background = BACKGROUND_MAX,
      .congestion_threshold = BACKGROUND_MAX,
      .max_write = COW_REQUEST_BYTES_MAX,
      .max_pages = COW_REQUEST_BYTES_MAX / 4096,
      .time_gran = 1,
  };
  answer(r, 0, &out, sizeof out);
}

/* Is there such a live shadow copy? By number; or, number 0, by id, whose number is given. */
static bool find_shadow(struct fuse_front *f, const char *id, uint32_t number, struct cow_shadow_info *ret) {
  if (!id && number == 0)
    return false;
  struct cow_shadow_info *all = calloc(COW_SHADOWS_MAX, sizeof *all);
  bool found = false;
  size_t count = all ? cow_engine_list(f->engine, all, COW_SHADOWS_MAX) : 0;
  for (size_t i = 0; i < count && !found; i++)
    if (all[i].state == COW_SHADOW_LIVE && (number ? all[i].number == number : strcmp(all[i].id, id) == 0)) {
      *ret = all[i];
      found = true;
    }
  free(all);
  return found;
}

static bool fill_attributes(struct fuse_front *f, uint64_t node, struct fuse_attr *attr) {
  struct cow_shadow_info info = {0};
  *attr = (struct fuse_attr){.ino = node, .nlink = 1, .blksize = COW_BUFFER_ALIGNMENT};
  if (node == NODE_ROOT) {
    attr->mode = S_IFDIR | 0500;
    attr->nlink = 2;
    return true;
  }
  if (node != NODE_VOLUME && (node <= NODE_SHADOWS || !find_shadow(f, NULL, (uint32_t)(node - NODE_SHADOWS), &info)))
    return false;
  attr->mode = S_IFREG | (node == NODE_VOLUME || info.writable ? 0600 : 0400);
  attr->size = cow_engine_geometry(f->engine)->volume_bytes;
  attr->blocks = attr->size / 512;
  return true;
}

static void answer_lookup(struct fuse_front *f, struct fuse_request *r) {
  char name[NAME_BYTES_MAX + 1];
  size_t bytes = r->length_bytes - sizeof(struct fuse_in_header);
  if (header_of(r)->nodeid != NODE_ROOT || bytes == 0 || bytes > sizeof name) {
    answer(r, -ENOENT, NULL, 0);
    return;
  }
  size_t in_head = FUSE_FRONT_HEAD_BYTES - sizeof(struct fuse_in_header);
  memcpy(name, r->head + sizeof(struct fuse_in_header), bytes < in_head ? bytes : in_head);
  if (bytes > in_head)
    memcpy(name + in_head, r->body, bytes - in_head);
  name[bytes - 1] = '\0';
  struct fuse_entry_out out = {.attr_valid = FOREVER_S};
  struct cow_shadow_info info;
  if (f->volume && strcmp(name, FUSE_FRONT_VOLUME) == 0) {
    out.nodeid = NODE_VOLUME;
    out.entry_valid = FOREVER_S;
  } else if (strncmp(name, FUSE_FRONT_SHADOW, strlen(FUSE_FRONT_SHADOW)) == 0 &&
             find_shadow(f, name + strlen(FUSE_FRONT_SHADOW), 0, &info))
    out.nodeid = NODE_SHADOWS + info.number;
  if (out.nodeid == 0 || !fill_attributes(f, out.nodeid, &out.attr))
    answer(r, -ENOENT, NULL, 0);
  else
    answer(r, 0, &out, sizeof out);
}

static void answer_attributes(struct fuse_front *f, struct fuse_request *r) {
  struct fuse_attr_out out = {.attr_valid = header_of(r)->nodeid == NODE_VOLUME ? FOREVER_S : 0};
  if (fill_attributes(f, header_of(r)->nodeid, &out.attr))
    answer(r, 0, &out, sizeof out);
  else
    answer(r, -ENOENT, NULL, 0);
}

/*
 * The handle of a shadow copy's number, opened when needed: also by the first read after a server died, since the
 * kernel's open files outlive it. open: counts as one; otherwise it is a read or write, which done_reading() ends.
 */
static int shadow_of(struct fuse_front *f, uint64_t node, bool open, struct cow_shadow **ret) {
  uint32_t number = (uint32_t)(node - NODE_SHADOWS);
  struct open_shadow *mine = NULL, *empty = NULL;
  int r = 0;
  pthread_mutex_lock(&f->lock);
  for (size_t i = 0; i < COW_SHADOWS_MAX && !mine; i++)
    if (f->open[i].shadow && f->open[i].number == number)
      mine = &f->open[i];
    else if (!f->open[i].shadow && !empty)
      empty = &f->open[i];
  struct cow_shadow_info info;
  if (!mine && !empty)
    r = -ENFILE;
  else if (!mine && !find_shadow(f, NULL, number, &info))
    r = -EIO;
  else if (!mine) {
    mine = empty;
    *mine = (struct open_shadow){.number = number};
    r = cow_shadow_open(f->engine, info.id, &mine->shadow, NULL);
  }
  if (r >= 0) {
    mine->count += open;
    mine->reading += !open;
    mine->closing = mine->closing && !open;
    *ret = mine->shadow;
  }
  pthread_mutex_unlock(&f->lock);
  return r;
}

/* The entry of a number that is open, or NULL. Under the lock. */
static struct open_shadow *find_open(struct fuse_front *f, uint64_t node) {
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++)
    if (f->open[i].shadow && f->open[i].number == (uint32_t)(node - NODE_SHADOWS))
      return &f->open[i];
  return NULL;
}

static void close_if_unused(struct open_shadow *s) {
  if (!s->closing || s->count > 0 || s->reading > 0)
    return;
  cow_shadow_close(s->shadow);
  s->shadow = NULL;
}

static void done_reading(struct fuse_front *f, uint64_t node) {
  pthread_mutex_lock(&f->lock);
  struct open_shadow *s = find_open(f, node);
  s->reading--;
  close_if_unused(s);
  pthread_mutex_unlock(&f->lock);
}

static void release_shadow(struct fuse_front *f, uint64_t node) {
  pthread_mutex_lock(&f->lock);
  struct open_shadow *s = find_open(f, node);
  if (s) {
    s->count -= s->count > 0; /* 0: the open was the last server's */
    s->closing = s->count == 0;
    close_if_unused(s);
  }
  pthread_mutex_unlock(&f->lock);
}

static void answer_open(struct fuse_front *f, struct fuse_request *r) {
  const struct fuse_open_in *in = arguments(r, sizeof *in);
  uint64_t node = header_of(r)->nodeid;
  struct cow_shadow *shadow;
  int error = 0;
  if (!in)
    error = -EPROTO;
  else if (node > NODE_SHADOWS) {
    error = shadow_of(f, node, true, &shadow);
    if (error >= 0 && (in->flags & O_ACCMODE) != O_RDONLY && !cow_shadow_writable(shadow)) {
      release_shadow(f, node);
      error = -EROFS;
    }
  } else if (node != NODE_VOLUME)
    error = -ENOENT;
  struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};
  answer(r, error, &out, sizeof out);
}

/* Reads of any offset and length: rounded out to sectors, the answer begins inside. */
static void answer_read(struct fuse_front *f, struct fuse_request *r) {
  const struct fuse_read_in *in = arguments(r, sizeof *in);
  uint64_t node = header_of(r)->nodeid, size = cow_engine_geometry(f->engine)->volume_bytes;
  if (!in || in->size > COW_REQUEST_BYTES_MAX) {
    answer(r, -EINVAL, NULL, 0);
    return;
  }
  if (in->offset >= size) {
    answer_data(r, r->body, 0);
    return;
  }
  uint64_t length = in->size < size - in->offset ? in->size : size - in->offset;
  uint64_t before = in->offset % COW_SECTOR_BYTES, first = in->offset - before;
  uint64_t whole = (before + length + COW_SECTOR_BYTES - 1) / COW_SECTOR_BYTES * COW_SECTOR_BYTES;
  struct cow_shadow *shadow = NULL;
  int error = node > NODE_SHADOWS ? shadow_of(f, node, false, &shadow) : node == NODE_VOLUME ? 0 : -EBADF;
  for (uint64_t done = 0; done < whole && error >= 0;) {
    uint64_t left = whole - done, piece = left < COW_REQUEST_BYTES_MAX ? left : COW_REQUEST_BYTES_MAX;
    error = shadow ? cow_shadow_read(shadow, r->body + done, piece, first + done)
                   : cow_engine_read(f->engine, r->body + done, piece, first + done);
    done += piece;
  }
  if (shadow)
    done_reading(f, node);
  if (error < 0)
    answer(r, error, NULL, 0);
  else
    answer_data(r, r->body + before, length);
}

/* A read or write of the live volume that the engine takes as it is: those go together. */
static bool for_engine(struct fuse_front *f, const struct fuse_request *r, struct cow_request *ret) {
  const struct fuse_in_header *in = header_of(r);
  if (r->length_bytes < sizeof *in || in->len != r->length_bytes || in->nodeid != NODE_VOLUME)
    return false;
  if (in->opcode == FUSE_WRITE) {
    const struct fuse_write_in *write = arguments(r, sizeof *write);
    if (!write || write->size > COW_REQUEST_BYTES_MAX || r->length_bytes - FUSE_FRONT_HEAD_BYTES < write->size)
      return false;
    *ret = (struct cow_request){
        .write = true, .buffer = r->body, .length_bytes = write->size, .offset_bytes = write->offset};
    return true;
  }
  const struct fuse_read_in *read = in->opcode == FUSE_READ ? arguments(r, sizeof *read) : NULL;
  uint64_t size = cow_engine_geometry(f->engine)->volume_bytes;
  if (!read || read->size > COW_REQUEST_BYTES_MAX || read->offset > size || read->size > size - read->offset ||
      read->offset % COW_SECTOR_BYTES != 0 || read->size % COW_SECTOR_BYTES != 0)
    return false;
  *ret = (struct cow_request){.buffer = r->body, .length_bytes = read->size, .offset_bytes = read->offset};
  return true;
}

static void answer_from_engine(struct fuse_request *r, const struct cow_request *q) {
  struct fuse_write_out out = {.size = (uint32_t)q->length_bytes};
  if (q->result < 0)
    answer(r, q->result, NULL, 0);
  else if (q->write)
    answer(r, 0, &out, sizeof out);
  else
    answer_data(r, r->body, q->length_bytes);
}

/* To a shadow copy; or what the engine would not take. */
static void answer_write(struct fuse_front *f, struct fuse_request *r) {
  const struct fuse_write_in *in = arguments(r, sizeof *in);
  uint64_t node = header_of(r)->nodeid;
  struct cow_shadow *shadow;
  int error = node == NODE_VOLUME ? -EINVAL : -EBADF;
  if (node > NODE_SHADOWS && in && in->size <= COW_REQUEST_BYTES_MAX &&
      r->length_bytes >= FUSE_FRONT_HEAD_BYTES + (size_t)in->size) {
    error = shadow_of(f, node, false, &shadow);
    if (error >= 0) {
      error = cow_shadow_write(shadow, r->body, in->size, in->offset);
      done_reading(f, node);
    }
  }
  struct fuse_write_out out = {.size = error < 0 ? 0 : in->size};
  answer(r, error < 0 ? error : 0, &out, sizeof out);
}

static void answer_allocate(struct fuse_front *f, struct fuse_request *r) {
  const struct fuse_fallocate_in *in = arguments(r, sizeof *in);
  const uint32_t known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  int error = -EOPNOTSUPP;
  if (in && header_of(r)->nodeid == NODE_VOLUME && (in->mode & ~known) == 0 &&
      (in->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
    error = cow_engine_zero(f->engine, in->offset, in->length);
  answer(r, error, NULL, 0);
}

static void answer_statfs(struct fuse_front *f, struct fuse_request *r) {
  struct fuse_statfs_out out = {.st = {.bsize = COW_BUFFER_ALIGNMENT,
                                       .frsize = COW_BUFFER_ALIGNMENT,
                                       .blocks = cow_engine_geometry(f->engine)->volume_bytes / COW_BUFFER_ALIGNMENT,
                                       .namelen = NAME_BYTES_MAX}};
  answer(r, 0, &out, sizeof out);
}

static void answer_flush(struct fuse_front *f, struct fuse_request *r) {
  answer(r, header_of(r)->nodeid == NODE_VOLUME ? cow_engine_flush(f->engine) : 0, NULL, 0);
}
static void answer_open_directory(struct fuse_front *f, struct fuse_request *r) {
  (void)f;
  struct fuse_open_out out = {0};
  answer(r, header_of(r)->nodeid == NODE_ROOT ? 0 : -ENOTDIR, &out, sizeof out);
}
/* Names are known to whoever may know them: the directory lists nothing. */
static void answer_nothing(struct fuse_front *f, struct fuse_request *r) {
  (void)f;
  answer(r, 0, NULL, 0);
}
static void answer_release(struct fuse_front *f, struct fuse_request *r) {
  if (header_of(r)->nodeid > NODE_SHADOWS)
    release_shadow(f, header_of(r)->nodeid);
  answer(r, 0, NULL, 0);
}
static void answer_no_one(struct fuse_front *f, struct fuse_request *r) {
  (void)f;
  r->out_bytes = r->data_bytes = 0;
}

static const struct operation {
  uint32_t opcode;
  void (*answer)(struct fuse_front *f, struct fuse_request *r);
} operations[] = {
    {FUSE_WRITE, answer_write},         {FUSE_READ, answer_read},          {FUSE_FSYNC, answer_flush},
    {FUSE_FALLOCATE, answer_allocate},  {FUSE_INIT, answer_init},          {FUSE_LOOKUP, answer_lookup},
    {FUSE_GETATTR, answer_attributes},  {FUSE_OPEN, answer_open},          {FUSE_RELEASE, answer_release},
    {FUSE_FLUSH, answer_nothing},       {FUSE_STATFS, answer_statfs},      {FUSE_OPENDIR, answer_open_directory},
    {FUSE_READDIR, answer_nothing},     {FUSE_RELEASEDIR, answer_nothing}, {FUSE_FORGET, answer_no_one},
    {FUSE_BATCH_FORGET, answer_no_one}, {FUSE_INTERRUPT, answer_no_one},   {FUSE_DESTROY, answer_nothing},
};

static void answer_other(struct fuse_front *f, struct fuse_request *r) {
  const struct fuse_in_header *in = header_of(r);
  if (r->length_bytes < sizeof *in || in->len != r->length_bytes) {
    answer_no_one(f, r); /* nothing says whom to answer */
    return;
  }
  for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
    if (operations[i].opcode == in->opcode) {
      operations[i].answer(f, r);
      return;
    }
  answer(r, -ENOSYS, NULL, 0);
}

/* How much of its body a request needs: what came, or what is to be read into it. */
static size_t body_bytes(const struct fuse_request *r) {
  size_t bytes = r->length_bytes > FUSE_FRONT_HEAD_BYTES ? r->length_bytes - FUSE_FRONT_HEAD_BYTES : 0;
  const struct fuse_read_in *read = header_of(r)->opcode == FUSE_READ ? arguments(r, sizeof *read) : NULL;
  if (read && read->size <= COW_REQUEST_BYTES_MAX)
    bytes = read->size + 2 * COW_SECTOR_BYTES; /* rounded out */
  return (bytes + COW_BUFFER_ALIGNMENT - 1) / COW_BUFFER_ALIGNMENT * COW_BUFFER_ALIGNMENT;
}

/* What is there, without waiting. -ENODEV: unmounted. The kernel wants room for the longest, whatever comes. */
static int take_requests(struct server_thread *t) {
  size_t used_bytes = 0;
  int count = 0;
  while (count < FUSE_FRONT_BATCH_MAX && used_bytes + BODY_BYTES <= BODIES_BYTES) {
    struct fuse_request *r = &t->requests[count];
    r->body = t->bodies + used_bytes;
    struct iovec parts[] = {{r->head, sizeof r->head}, {r->body, BODY_BYTES}};
    ssize_t n = readv(t->front->fd, parts, 2);
    if (n < 0 && (errno == EINTR || errno == ENOENT)) /* ENOENT: taken back meanwhile */
      continue;
    if (n < 0 && errno == EAGAIN)
      break;
    if (n < 0 && count == 0 && (errno == ENODEV || errno == ECONNABORTED || errno == EPERM))
      return -errno; /* the session is over */
    if (n < 0) {
      (void)poll(NULL, 0, count == 0); /* short of something for a moment */
      break;
    }
    r->length_bytes = (size_t)n;
    used_bytes += body_bytes(r);
    count++;
    struct cow_request q;
    if (!for_engine(t->front, r, &q))
      break;
  }
  return count;
}

/* The next requests, or 0 when it is time to end. */
static size_t receive(struct server_thread *t) {
  struct fuse_front *f = t->front;
  int count = 0;
  pthread_mutex_lock(&f->turn);
  while (count == 0 && !atomic_load_explicit(&f->stopping, memory_order_relaxed)) {
    atomic_fetch_add(&f->seat->held, 1); /* before they can be ours */
    count = take_requests(t);
    if (count <= 0)
      atomic_fetch_sub(&f->seat->held, 1);
    struct pollfd wait[] = {{.fd = f->fd, .events = POLLIN}, {.fd = f->stop_event, .events = POLLIN}};
    if (count == 0)
      (void)poll(wait, 2, -1);
  }
  pthread_mutex_unlock(&f->turn);
  return count > 0 ? (size_t)count : 0;
}

static unsigned answer_parts(const struct fuse_request *r, struct iovec parts[2]) {
  parts[0] = (struct iovec){(void *)r->out, r->out_bytes};
  parts[1] = (struct iovec){(void *)r->data, r->data_bytes};
  return r->data_bytes > 0 ? 2 : 1;
}

static void send_answer(struct fuse_front *f, const struct fuse_request *r) {
  struct iovec parts[2];
  unsigned count = answer_parts(r, parts);
  /* ENOENT: nobody waits for it any more. What is short for a moment must not leave a request without an answer. */
  while (r->out_bytes > 0 && writev(f->fd, parts, (int)count) < 0 &&
         (errno == ENOMEM || errno == EINTR || errno == EAGAIN))
    (void)poll(NULL, 0, 1);
}

/* In one call: between answers that are written one by one, whoever waited for the first takes the processor. */
static void send_together(struct server_thread *t, struct fuse_request *const answered[], size_t count) {
  struct iovec parts[FUSE_FRONT_BATCH_MAX][2];
  bool alone[FUSE_FRONT_BATCH_MAX] = {false};
  for (size_t i = 0; i < count; i++) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&t->ring);
    io_uring_prep_writev(entry, t->front->fd, parts[i], answer_parts(answered[i], parts[i]), 0);
    io_uring_sqe_set_data64(entry, i);
  }
  for (size_t submitted = 0; submitted < count;) {
    int n = io_uring_submit_and_wait(&t->ring, (unsigned)count);
    submitted += n > 0 ? (size_t)n : 0;
    if (n < 0)
      (void)poll(NULL, 0, 1); /* short of something for a moment */
  }
  for (size_t done = 0; done < count;) {
    struct io_uring_cqe *completion;
    if (io_uring_wait_cqe(&t->ring, &completion) < 0)
      continue;
    /* EAGAIN: a kernel (before 6.10) that does not look whether a descriptor without FMODE_NOWAIT would block. */
    t->ring_works = t->ring_works && completion->res != -EAGAIN;
    alone[io_uring_cqe_get_data64(completion)] = completion->res < 0 && completion->res != -ENOENT;
    io_uring_cqe_seen(&t->ring, completion);
    done++;
  }
  for (size_t i = 0; i < count; i++)
    if (alone[i])
      send_answer(t->front, answered[i]);
}

static void send_answers(struct server_thread *t, struct fuse_request *const answered[], size_t count) {
  if (count > 1 && t->ring_works)
    send_together(t, answered, count);
  else
    for (size_t i = 0; i < count; i++)
      send_answer(t->front, answered[i]);
}

/* Reads and writes of the live volume together, then the others in turn. */
static void answer_requests(struct server_thread *t, size_t count) {
  struct fuse_front *f = t->front;
  struct cow_request together[FUSE_FRONT_BATCH_MAX];
  struct fuse_request *whose[FUSE_FRONT_BATCH_MAX], *others[FUSE_FRONT_BATCH_MAX];
  size_t n = 0, other_count = 0;
  for (size_t i = 0; i < count; i++)
    if (for_engine(f, &t->requests[i], &together[n]))
      whose[n++] = &t->requests[i];
    else
      others[other_count++] = &t->requests[i];
  if (n > 0)
    cow_engine_run(f->engine, together, n);
  for (size_t i = 0; i < n; i++)
    answer_from_engine(whose[i], &together[i]);
  send_answers(t, whose, n);
  for (size_t i = 0; i < other_count; i++) {
    answer_other(f, others[i]);
    send_answer(f, others[i]);
  }
}

static void *serve(void *context) {
  struct server_thread *t = context;
  memory_touch_stack();
  for (size_t count; (count = receive(t)) > 0;) {
    answer_requests(t, count);
    atomic_fetch_sub(&t->front->seat->held, 1);
  }
  return NULL;
}

int fuse_front_mount(const char *directory, const char *source, int *ret_fd, struct umbra_error *err) {
  int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0)
    return error_errno(err, "opening '/dev/fuse'");
  char options[128];
  (void)snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,max_read=%d", fd,
                 (int)COW_REQUEST_BYTES_MAX);
  if (mount(source, directory, VOLUME_SESSION_TYPE, MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0) {
    int r = error_errno(err, "mounting the session of an attached volume at '%s'", directory);
    (void)close(fd);
    return r;
  }
  *ret_fd = fd;
  return 0;
}

/* A kernel that cannot needs not, if the last server had nothing: what nobody has read waits in the kernel. */
static int ask_again(struct front_seat *seat, int fd, struct umbra_error *err) {
  struct fuse_out_header out = {.len = sizeof out, .error = NOTIFY_RESEND};
  bool can = atomic_load(&seat->resends) != FRONT_RESENDS_NOT;
  if (can && write(fd, &out, sizeof out) != (ssize_t)sizeof out) {
    if (errno != EINVAL)
      return error_errno(err, "asking the kernel for the requests that the last server did not answer");
    atomic_store(&seat->resends, FRONT_RESENDS_NOT);
  }
  if (front_has_lost(seat))
    return error_set(
        err, -ENODATA, UMBRA_REASON_INTERNAL,
        "the last server had requests that it did not answer, and this kernel (before Linux 6.9) does not "
        "send them again");
  atomic_store(&seat->held, 0);
  return 0;
}

static void close_thread(struct server_thread *t) {
  if (t->ring.ring_fd >= 0)
    io_uring_queue_exit(&t->ring);
  free(t->bodies);
}

static int start_threads(struct fuse_front *f, unsigned threads, struct umbra_error *err) {
  f->threads = calloc(threads, sizeof *f->threads);
  if (!f->threads)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "memory for %u threads", threads);
  for (unsigned i = 0; i < threads; i++) {
    struct server_thread *t = &f->threads[i];
    t->front = f;
    t->bodies = aligned_alloc(COW_BUFFER_ALIGNMENT, BODIES_BYTES);
    if (t->bodies)
      memset(t->bodies, 0, BODIES_BYTES); /* in memory from now on */
    /* It may be forbidden (kernel.io_uring_disabled): then they go one by one. */
    t->ring_works = io_uring_queue_init(FUSE_FRONT_BATCH_MAX, &t->ring, 0) == 0;
    if (!t->ring_works)
      t->ring.ring_fd = -1;
    int code = t->bodies ? -pthread_create(&t->thread, NULL, serve, t) : -ENOMEM;
    if (code < 0) {
      close_thread(t);
      return error_code(err, code, "starting a thread");
    }
    f->thread_count++;
  }
  return 0;
}

int fuse_front_start(struct front_seat *seat, int fd, struct cow_engine *engine, unsigned threads, bool volume,
                     bool again, struct fuse_front **ret, struct umbra_error *err) {
  if (threads == 0 || threads > FUSE_FRONT_THREADS_MAX)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "%u threads: 1 to %d are possible", threads,
                     (int)FUSE_FRONT_THREADS_MAX);
  struct fuse_front *f = calloc(1, sizeof *f);
  if (!f)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "starting to serve");
  f->seat = seat;
  f->fd = fd;
  f->engine = engine;
  f->volume = volume;
  pthread_mutex_init(&f->lock, NULL);
  pthread_mutex_init(&f->turn, NULL);
  f->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int r = f->stop_event < 0 ? -errno : fd_set_nonblocking(fd, true);
  if (r < 0)
    (void)error_code(err, r, "the session's descriptor");
  if (r >= 0 && again)
    r = ask_again(seat, fd, err); /* before anybody reads: what this server has is sent again, too */
  if (r >= 0)
    r = start_threads(f, threads, err);
  if (r < 0)
    fuse_front_stop(f);
  else
    *ret = f;
  return r;
}

void fuse_front_stop(struct fuse_front *f) {
  atomic_store(&f->stopping, true);
  if (f->stop_event >= 0)
    (void)eventfd_write(f->stop_event, 1);
  for (unsigned i = 0; i < f->thread_count; i++) {
    (void)pthread_join(f->threads[i].thread, NULL);
    close_thread(&f->threads[i]);
  }
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++)
    cow_shadow_close(f->open[i].shadow);
  free(f->threads);
  cleanup_close_fd(&f->stop_event);
  pthread_mutex_destroy(&f->turn);
  pthread_mutex_destroy(&f->lock);
  free(f);
}

static int usable(struct umbra_error *why) {
  return access("/dev/fuse", R_OK | W_OK) == 0 ? 0 : error_errno(why, "opening '/dev/fuse'");
}

static unsigned thread_count(const struct front_seat *seat) {
  (void)seat;
  return FUSE_FRONT_THREADS_DEFAULT;
}

static int start(const struct front_options *o, struct front_server **ret, struct umbra_error *err) {
  return fuse_front_start(o->seat, o->session_fd, o->engine, FUSE_FRONT_THREADS_DEFAULT, true, o->again,
                          (struct fuse_front **)ret, err);
}

static void stop(struct front_server *s) { fuse_front_stop((struct fuse_front *)s); }

const struct front front_fuse = {
    .name = "fuse",
    .summary = "FUSE and a loop device",
    .usable = usable,
    .threads = thread_count,
    .start = start,
    .stop = stop,
};
