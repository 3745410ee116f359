/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Child processes, by pidfd: a pid that was reused is never signalled or waited for. */
#ifndef COMMON_PROCESS_H
#define COMMON_PROCESS_H

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
  pid_t pid; /* 0: none */
  int pidfd; /* readable when it has ended; -1: none */
};

struct process_options {
  const char *path;                   /* absolute path of the program */
  char *const *arguments;             /* argv */
  char *const *environment;           /* NULL: this process's own */
  int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null */
  bool own_group;                     /* its own process group, so that all of it can be killed */
};

/*
 * Starts a program. Signals are at their defaults and unblocked in it, and no other descriptor is inherited.  It is killed
 * when the thread that started it ends, so that nothing goes on for somebody who is gone. Blocks until it is executed.
 */
int process_start(const struct process_options *options, struct process *ret, struct umbra_error *err);

/*
 * Ends what is left: kills the process (its whole group with group) with SIGKILL, waits for it and closes the pidfd.
 * Fine for an empty or already reaped process.
 */
void process_end(struct process *p, bool group);

/* Waits until it has ended, at most timeout_ms (-1: for ever). Returns the wait status >= 0, or -ETIMEDOUT. Reaps it.
 */
int process_wait(struct process *p, int timeout_ms);

/* For liveness of strangers: start time of a process in clock ticks since boot; with the pid it names one process. */
int process_start_ticks(pid_t pid, uint64_t *ret);

/* True if the process (pid, start time) still runs. */
bool process_alive(pid_t pid, uint64_t start_ticks);

#endif
