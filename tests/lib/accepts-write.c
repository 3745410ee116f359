/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * accepts-write DIRECTORY SECONDS: makes a file there, writes to it and removes it, and prints how many milliseconds
 * that took. Status 1 if it does not come to an end in time.  Who waits for a frozen filesystem cannot be killed, so
 * a child does it; the child ends by itself when the filesystem is thawed.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static int write_there(const char *directory) {
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOATIME);
  int file = openat(fd, ".accepts-write", O_WRONLY | O_CREAT, 0600);
  if (fd < 0 || file < 0 || write(file, "x", 1) != 1 || unlinkat(fd, ".accepts-write", 0) < 0) {
    perror(directory);
    return 2;
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: accepts-write DIRECTORY SECONDS\n");
    return 2;
  }
  double began = now_ms();
  pid_t pid = fork();
  if (pid < 0)
    return 2;
  if (pid == 0)
    _exit(write_there(argv[1]));
  struct pollfd child = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
  if (child.fd < 0)
    return 2;
  if (poll(&child, 1, (int)(strtod(argv[2], NULL) * 1000)) == 0)
    return 1;
  int status;
  waitpid(pid, &status, 0);
  printf("%.3f\n", now_ms() - began);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
