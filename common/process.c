/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/process.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int add_stream(posix_spawn_file_actions_t *actions, int fd, int target) {
  if (fd < 0)
    return posix_spawn_file_actions_addopen(actions, target, "/dev/null", target == 0 ? O_RDONLY : O_WRONLY, 0);
  return posix_spawn_file_actions_adddup2(actions, fd, target);
}

int process_start(const struct process_options *options, struct process *ret, struct umbra_error *err) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  if (posix_spawn_file_actions_init(&actions) != 0)
    return error_code(err, -ENOMEM, "starting '%s'", options->path);
  if (posix_spawnattr_init(&attributes) != 0) {
    posix_spawn_file_actions_destroy(&actions);
    return error_code(err, -ENOMEM, "starting '%s'", options->path);
  }
  pid_t pid = 0;
  short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
  if (options->own_group)
    flags |= POSIX_SPAWN_SETPGROUP;
  int r = add_stream(&actions, options->stdin_fd, 0);
  r = r ? r : add_stream(&actions, options->stdout_fd, 1);
  r = r ? r : add_stream(&actions, options->stderr_fd, 2);
  r = r ? r : posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  r = r ? r : posix_spawnattr_setflags(&attributes, flags);
  r = r ? r : posix_spawnattr_setsigdefault(&attributes, &all);
  r = r ? r : posix_spawnattr_setsigmask(&attributes, &none);
  r = r ? r : posix_spawnattr_setpgroup(&attributes, 0);
  r = r ? r
        : posix_spawn(&pid, options->path, &actions, &attributes, options->arguments,
                      options->environment ? options->environment : environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (r != 0)
    return error_code(err, -r, "starting '%s'", options->path);
  /* The child is ours and not yet waited for, so its pid cannot have been reused. */
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  *ret = (struct process){.pid = pid, .pidfd = pidfd};
  if (pidfd < 0) {
    r = error_errno(err, "watching '%s'", options->path);
    process_end(ret, options->own_group);
    return r;
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
