/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/serve/supervisor.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "cow/serve/seat.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

enum {
  STARTS_AT_ONCE_MAX = 8, /* servers that die young are started anew at once… */
  PAUSE_MS = 1000,        /* …and then after this: what waits for the volume goes on waiting, nothing fails */
  YOUNG_MS = 2000,
};

struct supervisor {
  struct seat *seat;
  int server; /* pidfd, -1: none runs */
  int64_t started_ns;
  unsigned young_deaths;
  bool ending;
  int asker; /* who waits for "ok", -1: nobody */
};

static void start_server(struct supervisor *s) {
  s->started_ns = clock_monotonic_ns();
  pid_t pid = seat_run_again(s->seat, "serve", SEAT_CHILD, NULL);
  if (pid <= 0)
    return;
  s->server = (int)syscall(SYS_pidfd_open, pid, 0);
  if (s->server >= 0)
    return;
  /* One that cannot be watched must not run beside the next. */
  (void)kill(pid, SIGKILL);
  (void)waitpid(pid, NULL, 0);
}

/* Another supervisor's server goes on: it is watched, not started. */
static void find_server(struct supervisor *s) {
  int pid = atomic_load(&s->seat->server_pid);
  if (pid <= 0)
    return;
  s->server = (int)syscall(SYS_pidfd_open, pid, 0);
  s->started_ns = clock_monotonic_ns();
}

/* pidfd: readable when the last of its threads has ended, hence its last I/O. */
static void server_ended(struct supervisor *s) {
  (void)waitid(P_PIDFD, (id_t)s->server, NULL, WEXITED | WNOHANG);
  (void)close(s->server);
  s->server = -1;
  bool young = clock_monotonic_ns() - s->started_ns < YOUNG_MS * NS_PER_MS;
  s->young_deaths = young ? s->young_deaths + 1 : 0;
  if (s->young_deaths > STARTS_AT_ONCE_MAX)
    (void)poll(NULL, 0, PAUSE_MS);
}

/*
 * What waits for a request that nobody can answer would wait for ever, and no detach would help it. With our
 * descriptor the session goes, and its I/O fails, as if the disk had been pulled: what was acknowledged is on the
 * origin.
 */
static bool gives_up(const struct supervisor *s) {
  if (s->server >= 0 || !front_has_lost(&s->seat->front_seat))
    return false;
  syslog(LOG_DAEMON | LOG_CRIT,
         "umbra: attached volume '%s': its server died with I/O under way, which this kernel (before Linux 6.9) does "
         "not "
         "hand to another one: the volume's I/O fails from now on; unmount it and attach it again",
         s->seat->name);
  return true;
}

static void hear(struct supervisor *s) {
  char word[16] = "";
  CLEANUP_CLOSE int fd = accept4(SEAT_SUPERVISE, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0 || recv(fd, word, sizeof word - 1, 0) <= 0)
    return;
  bool end = strcmp(word, "end") == 0;
  if ((!end && strcmp(word, "upgrade") != 0) || s->asker >= 0) {
    (void)send(fd, "no", 2, MSG_NOSIGNAL);
    return;
  }
  s->ending = end;
  s->asker = take_fd(&fd);
  if (s->server >= 0)
    (void)syscall(SYS_pidfd_send_signal, s->server, SIGTERM, NULL, 0);
}

static void tell_asker(struct supervisor *s) {
  if (s->asker < 0)
    return;
  (void)send(s->asker, "ok", 2, MSG_NOSIGNAL);
  (void)close(s->asker);
  s->asker = -1;
}

int supervisor_main(struct umbra_error *err) {
  struct supervisor s = {.server = -1, .asker = -1};
  /* A shutdown that stops everything must not take a mounted volume's device away; `end` and SIGKILL do. */
  (void)signal(SIGTERM, SIG_IGN);
  (void)signal(SIGINT, SIG_IGN);
  (void)signal(SIGHUP, SIG_IGN);
  int r = seat_adopt(&s.seat, err);
  if (r < 0)
    return r;
  seat_harden(s.seat);
  /* Only one: who starts others sets it to 0 once the last one is dead. */
  int nobody = 0;
  if (!atomic_compare_exchange_strong(&s.seat->supervisor_pid, &nobody, (int)getpid()))
    return 0;
  find_server(&s);
  for (;;) {
    if (s.server < 0 && (s.ending || gives_up(&s)))
      break;
    if (s.server < 0) {
      start_server(&s);
      tell_asker(&s);
    }
    struct pollfd polls[] = {{.fd = s.server, .events = POLLIN}, {.fd = SEAT_SUPERVISE, .events = POLLIN}};
    if (poll(polls, 2, s.server < 0 ? PAUSE_MS : -1) < 0 && errno != EINTR)
      return error_errno(err, "waiting");
    if (polls[0].revents)
      server_ended(&s);
    if (polls[1].revents)
      hear(&s);
  }
  /* Whoever hears "ok" may open the origin for himself. */
  (void)close_range(SEAT_CONFIG, SEAT_FDS_END - 1, 0);
  tell_asker(&s);
  return 0;
}
