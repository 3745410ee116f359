/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/serve/seat.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define SEAT_MAGIC UINT64_C(0x3774616573627275) /* "urbseat7" */

static int map(int fd, struct seat **ret, struct umbra_error *err) {
  void *at = mmap(NULL, sizeof(struct seat), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED)
    return error_errno(err, "mapping the volume's seat");
  *ret = at;
  return 0;
}

int seat_create(struct seat **ret, int *ret_fd, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = memfd_create("umbra-seat", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, sizeof(struct seat)) < 0)
    return error_errno(err, "getting memory for an attached volume");
  int r = map(fd, ret, err);
  if (r < 0)
    return r;
  (*ret)->magic = SEAT_MAGIC;
  *ret_fd = take_fd(&fd);
  return 0;
}

int seat_adopt(struct seat **ret, struct umbra_error *err) {
  struct stat st;
  for (int fd = SEAT_CONFIG; fd < SEAT_FDS_END; fd++)
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
      return error_errno(err, "descriptor %d of an attached volume", fd);
  if (fstat(SEAT_CONFIG, &st) < 0 || st.st_size != (off_t)sizeof(struct seat))
    return error_set(err, -EUCLEAN, UMBRA_REASON_INTERNAL, "the seat is not one of this version");
  int r = map(SEAT_CONFIG, ret, err);
  if (r < 0)
    return r;
  struct seat *s = *ret;
  if (s->magic != SEAT_MAGIC || !memchr(s->name, 0, sizeof s->name) ||
      !memchr(s->directory, 0, sizeof s->directory) || !memchr(s->program, 0, sizeof s->program) ||
      !memchr(s->device, 0, sizeof s->device) || !memchr(s->front_device, 0, sizeof s->front_device) ||
      !memchr(s->front, 0, sizeof s->front))
    return error_set(err, -EUCLEAN, UMBRA_REASON_INTERNAL, "the seat is damaged");
  return 0;
}

/* In the child: async-signal-safe calls only. Numbers may overlap: first all out of the way, then each to its place.
 */
static _Noreturn void become(const char *program, const char *role, int fds[SEAT_FDS_END]) {
  for (int i = SEAT_CONFIG; i < SEAT_FDS_END; i++)
    fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, SEAT_FDS_END + 64);
  for (int i = SEAT_CONFIG; i < SEAT_FDS_END; i++)
    if (fds[i] < 0 || dup2(fds[i], i) < 0)
      _exit(127);
  int null = open("/dev/null", O_RDWR);
  for (int i = 0; i < 3; i++)
    if (null < 0 || dup2(null, i) < 0)
      _exit(127);
  /* What the caller has open beyond is none of its business. */
  (void)close_range(SEAT_FDS_END, ~0U, 0);
  if (chdir("/") < 0)
    _exit(127);
  /* With an @ in front: the end of a boot kills everything that has none (systemd, ROOT_STORAGE_DAEMONS), and what is
   * still mounted then has its last writes to come. */
  char *const arguments[] = {(char *)"@umbra-cow", (char *)role, NULL};
  char *const environment[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
  execve(program, arguments, environment);
  _exit(127);
}

pid_t seat_run(const struct seat *seat, const int fds[SEAT_FDS_END], const char *role, enum seat_tie tie,
               struct umbra_error *err) {
  int mine[SEAT_FDS_END];
  memcpy(mine, fds, sizeof mine);
  const bool detached = tie == SEAT_DETACHED;
  const pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0)
    return error_errno(err, "starting '%s %s'", seat->program, role);
  if (pid == 0) {
    if (detached && (setsid() < 0 || fork() != 0))
      _exit(0);
    /* Asked after it is said: whoever was dead before gives no signal any more. */
    if (tie == SEAT_BOUND && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
      _exit(127);
    become(seat->program, role, mine);
  }
  if (!detached)
    return pid;
  (void)waitpid(pid, NULL, 0);
  return 0;
}

pid_t seat_run_again(const struct seat *seat, const char *role, enum seat_tie tie, struct umbra_error *err) {
  int fds[SEAT_FDS_END];
  for (int i = 0; i < SEAT_FDS_END; i++)
    fds[i] = i;
  return seat_run(seat, fds, role, tie, err);
}

/*
 * In cgroup v1 who allocates in a full group, and has not told the kernel what it is (PR_SET_IO_FLUSHER, which may be
 * refused), waits for pages of the group that are being written back, which may be our volume's: all threads then
 * wait for each other, for good. The root group has no limit. v2 does not wait so (mm/vmscan.c,
 * writeback_throttling_sane()), and has no such file.
 */
static bool leave_memory_group(void) {
  CLEANUP_CLOSE int fd = open("/sys/fs/cgroup/memory/cgroup.procs", O_WRONLY | O_CLOEXEC);
  return fd >= 0 ? fd_write_all(fd, "0", 1) == 0 : errno == ENOENT;
}

static bool refuse_oom_kill(void) {
  CLEANUP_CLOSE int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  return fd >= 0 && fd_write_all(fd, "-1000", 5) == 0;
}

/* Only what SECURITY.md has in its table. From the bounding set, too: the other program gets no more than this one.
 */
static bool drop_capabilities(const struct seat *seat) {
  const struct front *front = front_named(seat->front);
  const bool admin = seat->may_map || (front && front->needs_admin);
  const capng_type_t all = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE | CAPNG_BOUNDING_SET;
  if (capng_get_caps_process() < 0)
    return false;
  for (unsigned c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++) /* as many as this kernel has */
    if (c != CAP_SYS_RESOURCE && c != CAP_IPC_LOCK && c != CAP_DAC_OVERRIDE &&
        !(admin && c == CAP_SYS_ADMIN) && capng_update(CAPNG_DROP, all, c) < 0)
      return false;
  /* Both or none: a program that we run would get back what only we had dropped, and the kernel then forgets that it
   * is to die with us (SEAT_BOUND; commit_creds(), kernel/cred.c). Bounds first, as long as we have CAP_SETPCAP. */
  return capng_apply(CAPNG_SELECT_BOUNDS) == 0 && capng_apply(CAPNG_SELECT_CAPS) == 0;
}

void seat_harden(struct seat *seat) {
  /* Memory that the kernel gets for us must not wait for writes that go through us. */
  const bool done[SEAT_PRIVILEGED] = {
      [SEAT_WAITS_FOR_WRITEBACK] = prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0,
      [SEAT_IN_MEMORY_GROUP] = leave_memory_group(),
      /* Pages stay once they are there; regions are reserved larger than what is ever used of them. */
      [SEAT_NOT_LOCKED] = mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0,
      [SEAT_MAY_BE_KILLED] = refuse_oom_kill(),
  };
  for (unsigned i = 0; i < SEAT_PRIVILEGED; i++)
    if (!done[i])
      atomic_fetch_or(&seat->weaknesses, 1U << i);
  /* Last: the others need some. */
  if (!drop_capabilities(seat))
    atomic_fetch_or(&seat->weaknesses, 1U << SEAT_PRIVILEGED);
}

const char *seat_weakness_text(enum seat_weakness w) {
  static const char *const texts[SEAT_WEAKNESSES] = {
      [SEAT_WAITS_FOR_WRITEBACK] = "may wait for memory that waits for it, and be slow (no CAP_SYS_RESOURCE)",
      [SEAT_IN_MEMORY_GROUP] = "cannot leave its memory cgroup: when that is full, the volume may hang",
      [SEAT_NOT_LOCKED] = "may be swapped out (no CAP_IPC_LOCK)",
      [SEAT_MAY_BE_KILLED] = "may be killed for want of memory (no CAP_SYS_RESOURCE)",
      [SEAT_PRIVILEGED] = "keeps capabilities that it does not need",
  };
  return texts[w];
}
