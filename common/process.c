/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/process.h"

#include "common/cleanup.h"
#include "common/given.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void take_stream(int fd, int target) {
  if (fd < 0)
    fd = open("/dev/null", target == 0 ? O_RDONLY : O_WRONLY);
  if (fd < 0 || (fd == target ? fcntl(fd, F_SETFD, 0) : dup2(fd, target)) < 0)
    _exit(127);
}

/* In the child, between fork and exec: only what is async-signal-safe. Tells report_fd the errno if it comes to
 * nothing. */
__attribute__((noreturn)) static void become(const struct process_options *options, pid_t parent, int report_fd) {
  sigset_t none;
  /* What nobody waits for any more must not go on: a provider's prepare would make what recovery has just removed. */
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent)
    _exit(127);
  given_restore();
  for (int number = 1; number < NSIG; number++)
    (void)sigaction(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
  if (options->own_group)
    (void)setpgid(0, 0);
  take_stream(options->stdin_fd, 0);
  take_stream(options->stdout_fd, 1);
  take_stream(options->stderr_fd, 2);
  enum { REPORT_FD = 3 };
  if (report_fd != REPORT_FD && dup3(report_fd, REPORT_FD, O_CLOEXEC) < 0)
    _exit(127);
  (void)close_range(REPORT_FD + 1, ~0U, 0);
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
  (void)execve(options->path, options->arguments, options->environment ? options->environment : environ);
  int error = errno;
  (void)!write(REPORT_FD, &error, sizeof error);
  _exit(127);
}

int process_start(const struct process_options *options, struct process *ret, struct umbra_error *err) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0)
    return error_errno(err, "starting '%s'", options->path);
  CLEANUP_CLOSE int read_fd = ends[0], write_fd = ends[1];
  sigset_t all, before;
  sigfillset(&all);
  /* No handler of ours may run in the child. */
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t parent = getpid(), pid = fork();
  if (pid == 0)
    become(options, parent, write_fd);
  int fork_errno = errno;
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (pid < 0)
    return error_code(err, -fork_errno, "starting '%s'", options->path);
  (void)close(take_fd(&write_fd));
  /* The child is ours and not yet waited for, so its pid cannot have been reused. */
  *ret = (struct process){.pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
  int r = ret->pidfd < 0 ? -errno : 0, error = 0;
  ssize_t n;
  while ((n = read(read_fd, &error, sizeof error)) < 0 && errno == EINTR)
    ;
  if (r == 0 && n == sizeof error)
    r = -error;
  if (r < 0) {
    process_end(ret, false);
    return error_code(err, r, "starting '%s'", options->path);
  }
  return 0;
}

void process_end(struct process *p, bool group) {
  if (p->pid > 0) {
    (void)kill(group ? -p->pid : p->pid, SIGKILL);
    (void)kill(p->pid, SIGKILL);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
      ;
  }
  if (p->pidfd >= 0)
    (void)close(p->pidfd);
  *p = (struct process){.pidfd = -1};
}

int process_wait(struct process *p, int timeout_ms) {
  struct pollfd poll_fd = {.fd = p->pidfd, .events = POLLIN};
  int n = poll(&poll_fd, 1, timeout_ms);
  if (n == 0)
    return -ETIMEDOUT;
  int status = 0;
  while (waitpid(p->pid, &status, 0) < 0)
    if (errno != EINTR)
      return -errno;
  p->pid = 0;
  (void)close(p->pidfd);
  p->pidfd = -1;
  return status;
}

int process_start_ticks(pid_t pid, uint64_t *ret) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  CLEANUP_FREE char *text = NULL;
  int r = fd_read_file(AT_FDCWD, path, 4096, &text, NULL);
  if (r < 0)
    return r;
  /* Field 2 is the name in parentheses and may hold anything; the start time is the 20th field after it. */
  const char *at = strrchr(text, ')');
  for (int field = 2; at && field < 22; field++)
    at = strchr(at + 1, ' ');
  if (!at || sscanf(at, " %" SCNu64, ret) != 1)
    return -EBADMSG;
  return 0;
}

bool process_alive(pid_t pid, uint64_t start_ticks) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  uint64_t ticks;
  if (process_start_ticks(pid, &ticks) < 0 || ticks != start_ticks)
    return false;
  CLEANUP_FREE char *text = NULL;
  if (fd_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
    return false;
  const char *state = strrchr(text, ')');
  /* A zombie holds nothing any more. */
  return state && state[1] == ' ' && state[2] != 'Z' && state[2] != 'X';
}
