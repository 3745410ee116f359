/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening files around other processes' write leases. */
#include "providers/files/lease.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "providers/files/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A look is repeated once this many times its own cost has gone by: at most a fifth of the time is spent looking. */
enum { LOOK_EVERY_COSTS = 4 };

int lease_watch_init(struct lease_watch *w) {
  *w = (struct lease_watch){.fd = open("/proc/locks", O_RDONLY | O_CLOEXEC)};
  w->text = malloc(LEASE_TEXT_BYTES + 1);
  w->leases = calloc(LEASES_MAX, sizeof *w->leases);
  if (!w->text || !w->leases) {
    lease_watch_done(w);
    return -ENOMEM;
  }
  return 0;
}

void lease_watch_done(struct lease_watch *w) {
  if (w->fd >= 0)
    (void)close(w->fd);
  free(w->text);
  free(w->leases);
  *w = (struct lease_watch){.fd = -1};
}

/* "12: LEASE  ACTIVE    WRITE 4711 08:01:131074 0 EOF"; also DELEG, and BREAKING or BREAKER for the second word. */
static void note_line(struct lease_watch *w, const char *line) {
  char kind[16], state[16], mode[16];
  int pid;
  unsigned major_number, minor_number;
  unsigned long long inode;
  if (!strstr(line, "LEASE") && !strstr(line, "DELEG"))
    return;
  if (sscanf(line, "%*d: %15s %15s %15s %d %x:%x:%llu", kind, state, mode, &pid, &major_number, &minor_number,
             &inode) != 7)
    return;
  if (strcmp(mode, "READ") == 0 || w->count == LEASES_MAX)
    return;
  w->leases[w->count++] =
      (struct lease){.inode = inode, .device = makedev(major_number, minor_number), .holder = pid};
}

static void look(struct lease_watch *w) {
  int64_t began_ns = clock_monotonic_ns();
  if (w->fd < 0 || (w->looked_ns && began_ns - w->looked_ns < w->cost_ns * LOOK_EVERY_COSTS))
    return;
  w->count = 0;
  size_t kept = 0;
  off_t offset = 0;
  ssize_t n;
  while ((n = pread(w->fd, w->text + kept, LEASE_TEXT_BYTES - kept, offset)) > 0) {
    offset += n;
    kept += (size_t)n;
    char *line = w->text, *end;
    while ((end = memchr(line, '\n', kept - (size_t)(line - w->text)))) {
      *end = 0;
      note_line(w, line);
      line = end + 1;
    }
    kept -= (size_t)(line - w->text);
    if (kept == LEASE_TEXT_BYTES)
      kept = 0;
    memmove(w->text, line, kept);
  }
  w->looked_ns = clock_monotonic_ns();
  w->cost_ns = w->looked_ns - began_ns;
}

static const struct lease *find(const struct lease_watch *w, dev_t device, uint64_t inode) {
  for (size_t i = 0; i < w->count; i++)
    if (w->leases[i].inode == inode && w->leases[i].device == device)
      return &w->leases[i];
  return NULL;
}

struct search {
  pid_t pid;
  uint64_t device, inode; /* as statx gives them */
  int number;             /* found: a descriptor number of pid */
  int descriptors_fd;
  int taken_fd;     /* the result */
  bool for_writing; /* those open for writing only do */
};

/* Is the descriptor one that can be used? From /proc/PID/fdinfo/N: "flags:\t0100002" in octal. */
static bool is_usable(const struct search *s, const char *number) {
  char path[64], text[512];
  (void)snprintf(path, sizeof path, "/proc/%d/fdinfo/%.16s", (int)s->pid, number);
  CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return false;
  ssize_t n = read(fd, text, sizeof text - 1);
  if (n <= 0)
    return false;
  text[n] = 0;
  const char *flags = strstr(text, "flags:");
  unsigned value;
  return flags && sscanf(flags, "flags: %o", &value) == 1 && !(value & O_PATH) &&
         (s->for_writing || (value & O_ACCMODE) != O_WRONLY);
}

static int check_descriptor(void *context, const char *name, uint8_t type) {
  struct search *s = context;
  (void)type;
  struct statx sx;
  /* Follows the link in /proc to the open file itself: nothing is opened. */
  if (statx(s->descriptors_fd, name, 0, STATX_BASIC_STATS, &sx) < 0 || sx.stx_ino != s->inode ||
      tree_device(&sx) != s->device || !is_usable(s, name))
    return 0;
  s->number = atoi(name);
  return -EEXIST; /* found: stop */
}

/* Takes a duplicate of a descriptor that the process has of the file. */
static int take_from(pid_t pid, struct search *s) {
  char path[64], buffer[32768];
  (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
  CLEANUP_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  CLEANUP_CLOSE int descriptors_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (pidfd < 0 || descriptors_fd < 0)
    return -EWOULDBLOCK;
  s->pid = pid;
  s->number = -1;
  s->descriptors_fd = descriptors_fd;
  (void)tree_list(descriptors_fd, buffer, sizeof buffer, check_descriptor, s);
  if (s->number < 0)
    return -EWOULDBLOCK;
  CLEANUP_CLOSE int fd = (int)syscall(SYS_pidfd_getfd, pidfd, s->number, 0);
  struct statx sx;
  if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &sx) < 0 || sx.stx_ino != s->inode ||
      tree_device(&sx) != s->device || (!s->for_writing && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY))
    return -EWOULDBLOCK;
  return take_fd(&fd);
}

static int try_process(void *context, const char *name, uint8_t type) {
  (void)type;
  int pid = atoi(name);
  if (pid <= 0 || pid == getpid())
    return 0;
  struct search *s = context;
  s->taken_fd = take_from(pid, s);
  return s->taken_fd >= 0 ? -EEXIST : 0; /* found: stop */
}

/* The holder's descriptor, or that of whoever it was handed to. */
static int take_descriptor(pid_t holder, const struct statx *file, bool for_writing) {
  struct search s = {.device = tree_device(file), .inode = file->stx_ino, .for_writing = for_writing};
  int fd = holder > 0 ? take_from(holder, &s) : -EWOULDBLOCK;
  if (fd >= 0)
    return fd;
  CLEANUP_CLOSE int processes_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  char buffer[32768];
  if (processes_fd < 0)
    return -EWOULDBLOCK;
  s.taken_fd = -EWOULDBLOCK;
  (void)tree_list(processes_fd, buffer, sizeof buffer, try_process, &s);
  return s.taken_fd >= 0 ? s.taken_fd : -EWOULDBLOCK;
}

int lease_open(struct lease_watch *w, int directory_fd, const char *name, dev_t device, uint64_t inode,
               enum lease_access *ret) {
  *ret = LEASE_NONE;
  look(w);
  const struct lease *lease = find(w, device, inode);
  if (lease) {
    struct statx sx;
    int r = tree_stat(directory_fd, name, &sx);
    if (r < 0)
      return r;
    if (sx.stx_ino == inode) {
      int fd = take_descriptor(lease->holder, &sx, false);
      *ret = LEASE_SHARED;
      if (fd < 0) {
        fd = take_descriptor(lease->holder, &sx, true);
        *ret = LEASE_FOR_WRITING;
      }
      return fd;
    }
  }
  int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  int fd = openat(directory_fd, name, flags | O_NOATIME);
  if (fd < 0 && errno == EPERM)
    fd = openat(directory_fd, name, flags);
  return fd < 0 ? -errno : fd;
}
