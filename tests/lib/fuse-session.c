/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/fuse-session.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NOTIFY_RESEND = 7, EARLY_READ_MS = 300, REQUEST_ROOM_BYTES = (1 << 20) + 4096 };

struct packet {
  struct packet *next;
  size_t bytes;
  unsigned char data[];
};
struct queue {
  struct packet *first, *last;
  size_t count;
};

static struct {
  int fd; /* of a pipe with a byte for each request; -1: none is open. Not writable: answers come by writev() alone */
  int count_fd;
  pthread_mutex_t lock;
  pthread_cond_t change;
  struct queue requests, answers;
  unsigned read_tries, in_a_row, most_in_a_row;
  struct fuse_session_resend resend;
} session = {.fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

static void put(struct queue *q, struct packet *p) {
  p->next = NULL;
  *(q->last ? &q->last->next : &q->first) = p;
  q->last = p;
  q->count++;
}

static struct packet *take(struct queue *q) {
  struct packet *p = q->first;
  if (!p)
    return NULL;
  q->first = p->next;
  q->last = q->first ? q->last : NULL;
  q->count--;
  return p;
}

static struct packet *packet_of(const struct iovec *parts, int count) {
  size_t bytes = 0;
  for (int i = 0; i < count; i++)
    bytes += parts[i].iov_len;
  struct packet *p = malloc(sizeof *p + bytes);
  if (!p)
    abort();
  p->bytes = 0;
  for (int i = 0; i < count; p->bytes += parts[i++].iov_len)
    if (parts[i].iov_len > 0)
      memcpy(p->data + p->bytes, parts[i].iov_base, parts[i].iov_len);
  return p;
}

int fuse_session_open(void) {
  session.requests = session.answers = (struct queue){0};
  session.read_tries = session.in_a_row = session.most_in_a_row = 0;
  session.resend = (struct fuse_session_resend){0};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0)
    abort();
  session.fd = ends[0];
  session.count_fd = ends[1];
  return session.fd;
}

void fuse_session_close(void) {
  for (struct packet *p; (p = take(&session.requests));)
    free(p);
  for (struct packet *p; (p = take(&session.answers));)
    free(p);
  (void)close(session.fd);
  (void)close(session.count_fd);
  session.fd = -1;
}

void fuse_session_send_bytes(const void *packet, size_t bytes) {
  struct iovec one = {(void *)(uintptr_t)packet, bytes};
  struct packet *p = packet_of(&one, 1);
  pthread_mutex_lock(&session.lock);
  put(&session.requests, p);
  if (write(session.count_fd, "", 1) != 1)
    abort();
  pthread_mutex_unlock(&session.lock);
}

void fuse_session_send(uint32_t opcode, uint64_t node, uint64_t unique, const void *arguments, size_t argument_bytes,
                       const void *data, size_t data_bytes) {
  struct fuse_in_header header = {.len = (uint32_t)(sizeof header + argument_bytes + data_bytes),
                                  .opcode = opcode,
                                  .unique = unique,
                                  .nodeid = node};
  struct iovec parts[] = {{&header, sizeof header},
                          {(void *)(uintptr_t)arguments, argument_bytes},
                          {(void *)(uintptr_t)data, data_bytes}};
  struct packet *p = packet_of(parts, 3);
  fuse_session_send_bytes(p->data, p->bytes);
  free(p);
}

size_t fuse_session_receive(void *buffer, size_t bytes) {
  pthread_mutex_lock(&session.lock);
  while (session.answers.count == 0)
    pthread_cond_wait(&session.change, &session.lock);
  struct packet *p = take(&session.answers);
  pthread_mutex_unlock(&session.lock);
  size_t length = p->bytes;
  memcpy(buffer, p->data, length < bytes ? length : bytes);
  free(p);
  return length;
}

size_t fuse_session_answers(void) {
  pthread_mutex_lock(&session.lock);
  size_t count = session.answers.count;
  pthread_mutex_unlock(&session.lock);
  return count;
}

struct fuse_session_resend fuse_session_resent(void) {
  pthread_mutex_lock(&session.lock);
  struct fuse_session_resend resend = session.resend;
  pthread_mutex_unlock(&session.lock);
  return resend;
}

unsigned fuse_session_batch_most(void) {
  pthread_mutex_lock(&session.lock);
  unsigned most = session.most_in_a_row;
  pthread_mutex_unlock(&session.lock);
  return most;
}

/* As the kernel does it: one request whole, and room for the longest, or -EINVAL and the request stays. */
static ssize_t read_request(const struct iovec *parts, int count) {
  size_t room = 0, done = 0;
  for (int i = 0; i < count; i++)
    room += parts[i].iov_len;
  pthread_mutex_lock(&session.lock);
  session.read_tries++;
  struct packet *p = room < REQUEST_ROOM_BYTES ? NULL : take(&session.requests);
  session.in_a_row += p != NULL;
  if (session.in_a_row > session.most_in_a_row)
    session.most_in_a_row = session.in_a_row;
  pthread_cond_broadcast(&session.change);
  pthread_mutex_unlock(&session.lock);
  if (!p) {
    errno = room < REQUEST_ROOM_BYTES ? EINVAL : EAGAIN;
    return -1;
  }
  char one;
  if (read(session.fd, &one, 1) != 1)
    abort();
  for (int i = 0; i < count && done < p->bytes; i++) {
    size_t n = p->bytes - done < parts[i].iov_len ? p->bytes - done : parts[i].iov_len;
    memcpy(parts[i].iov_base, p->data + done, n);
    done += n;
  }
  free(p);
  return (ssize_t)done;
}

static ssize_t take_answer(const struct iovec *parts, int count) {
  struct packet *p = packet_of(parts, count);
  ssize_t bytes = (ssize_t)p->bytes; /* the receiver frees it */
  pthread_mutex_lock(&session.lock);
  put(&session.answers, p);
  session.in_a_row = 0;
  pthread_cond_broadcast(&session.change);
  pthread_mutex_unlock(&session.lock);
  return bytes;
}

/* Readers that were started before this have a while to show themselves. */
static void take_resend(void) {
  struct timespec until;
  (void)clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += EARLY_READ_MS * 1000000L;
  until.tv_sec += until.tv_nsec / 1000000000L;
  until.tv_nsec %= 1000000000L;
  pthread_mutex_lock(&session.lock);
  session.resend.count++;
  while (session.read_tries == 0 && pthread_cond_timedwait(&session.change, &session.lock, &until) == 0)
    ;
  session.resend.after_read = session.read_tries > 0;
  pthread_mutex_unlock(&session.lock);
}

ssize_t readv(int fd, const struct iovec *parts, int count) {
  return session.fd >= 0 && fd == session.fd ? read_request(parts, count) : syscall(SYS_readv, fd, parts, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  return session.fd >= 0 && fd == session.fd ? take_answer(parts, count) : syscall(SYS_writev, fd, parts, count);
}

ssize_t write(int fd, const void *buffer, size_t bytes) {
  const struct fuse_out_header *out = buffer;
  if (session.fd < 0 || fd != session.fd || bytes != sizeof *out || out->unique != 0 || out->error != NOTIFY_RESEND)
    return syscall(SYS_write, fd, buffer, bytes);
  take_resend();
  return (ssize_t)bytes;
}
