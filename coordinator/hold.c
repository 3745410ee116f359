/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The coordinator's side of the hold.  It trusts the guardian to freeze and thaw, and the shared page to tell what is
 * frozen should the guardian be killed: then, and only when the guardian's last thread is gone, it thaws by itself.
 */
#include "coordinator/hold.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The guardian answers a release as soon as FITHAW returns; past this it is taken for hung and killed. */
enum { GUARDIAN_ANSWER_MS = 2000 };

static void close_fd(int *fd) {
  if (*fd >= 0)
    (void)close(*fd);
  *fd = -1;
}

/* In the child: keeps only what the guardian needs, so that it holds no lock and no file of the coordinator's. */
static void child_main(struct hold *h, int socket) {
  close_fd(&h->socket);
  h->config.socket = socket;
  guardian_main(&h->config);
}

static int receive(struct hold *h, uint32_t command, int64_t by_ns, struct guardian_reply *ret,
                   struct umbra_error *err) {
  for (;;) {
    struct pollfd polls[] = {{.fd = h->socket, .events = POLLIN},
                             {.fd = h->pidfd, .events = POLLIN},
                             {.fd = command == GUARDIAN_COMMAND_SYNC ? h->cancel_event : -1, .events = POLLIN}};
    int64_t left_ms = by_ns == 0 ? -1 : (by_ns - clock_monotonic_ns()) / NS_PER_MS + 1;
    if (by_ns != 0 && left_ms < 0)
      left_ms = 0;
    int n = poll(polls, 3, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
    if (n < 0 && errno != EINTR)
      return error_errno(err, "waiting for the guardian");
    if (n == 0)
      return error_set(err, -ETIMEDOUT, UMBRA_REASON_HOLD_TIMEOUT,
                       "the guardian process (pid %d) did not answer in time", (int)h->pid);
    if (n > 0 && polls[2].revents)
      return error_set(err, -ECANCELED, UMBRA_REASON_CANCELLED, "cancelled");
    if (n > 0 && polls[0].revents) {
      ssize_t got = recv(h->socket, ret, sizeof *ret, MSG_DONTWAIT);
      /* A deadline's notice can precede the answer that is waited for; it counts as that answer. */
      if (got == (ssize_t)sizeof *ret &&
          (ret->command == command || (ret->command == GUARDIAN_COMMAND_HOLD && ret->result == -ETIMEDOUT)))
        return 0;
      if (got == 0)
        polls[1].revents = POLLIN;
    }
    if (n > 0 && polls[1].revents) {
      h->dead = true;
      return error_set(err, -EPIPE, UMBRA_REASON_INTERNAL, "the guardian process (pid %d) died", (int)h->pid);
    }
  }
}

static int ask(struct hold *h, enum guardian_command command, int64_t argument_ns, struct umbra_error *err) {
  if (h->dead || h->pid == 0)
    return error_set(err, -EPIPE, UMBRA_REASON_INTERNAL, "the guardian process died");
  struct guardian_request request = {.command = command, .argument_ns = argument_ns};
  if (send(h->socket, &request, sizeof request, MSG_NOSIGNAL) != (ssize_t)sizeof request) {
    h->dead = true;
    return error_errno(err, "asking the guardian (pid %d)", (int)h->pid);
  }
  return 0;
}

int hold_start(struct hold *h, const struct hold_volume *volumes, size_t count, int cancel_event,
               void (*abort_writers)(void *), void (*clean_up)(void *), void *context, struct umbra_error *err) {
  if (count > GUARDIAN_VOLUMES_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "a set can have at most %d volumes", GUARDIAN_VOLUMES_MAX);
  *h = (struct hold){
      .open = true, .cancel_event = cancel_event, .pidfd = -1, .socket = -1, .self_pidfd = -1, .expedited_fd = -1};
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
    return error_errno(err, "making the guardian's socket");
  h->socket = pair[0];
  h->self_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
  h->expedited_fd = open("/sys/kernel/rcu_expedited", O_WRONLY | O_CLOEXEC);
  h->shared = mmap(NULL, sizeof *h->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int r = 0;
  if (h->shared == MAP_FAILED) {
    h->shared = NULL;
    r = error_errno(err, "sharing memory with the guardian");
  } else if (h->self_pidfd < 0)
    r = error_errno(err, "opening a pidfd of this process");
  if (r < 0)
    goto close_sockets;
  memset(h->shared, 0, sizeof *h->shared);
  h->config = (struct guardian_config){
      .volume_count = count,
      .coordinator_pidfd = h->self_pidfd,
      .shared = h->shared,
      .abort_writers = abort_writers,
      .clean_up = clean_up,
      .context = context,
  };
  for (size_t i = 0; i < count; i++) {
    h->config.volumes[i] = (struct guardian_volume){.fd = volumes[i].fd, .level = volumes[i].level};
    h->names[i] = volumes[i].name;
  }
  h->pid = fork();
  if (h->pid == 0)
    child_main(h, pair[1]);
  if (h->pid < 0) {
    h->pid = 0;
    r = error_errno(err, "starting the guardian");
    goto close_sockets;
  }
  (void)close(pair[1]);
  h->pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
  struct guardian_reply ready;
  r = h->pidfd < 0 ? error_errno(err, "watching the guardian")
                   : receive(h, 0, clock_monotonic_ns() + GUARDIAN_ANSWER_MS * NS_PER_MS * 5, &ready, err);
  if (r < 0) {
    error_prefix(err, r, "starting the guardian");
    hold_stop(h);
  }
  return r;

close_sockets:
  (void)close(pair[1]);
  hold_stop(h);
  return r;
}

int hold_arm(struct hold *h, int64_t by_ns, struct umbra_error *err) {
  return ask(h, GUARDIAN_COMMAND_ARM, by_ns, err);
}

int hold_sync(struct hold *h, int64_t by_ns, struct umbra_error *err) {
  struct guardian_reply answer;
  int r = ask(h, GUARDIAN_COMMAND_SYNC, 0, err);
  if (r >= 0)
    r = receive(h, GUARDIAN_COMMAND_SYNC, by_ns, &answer, err);
  h->sync_abandoned = r == -ECANCELED;
  if (r >= 0 && answer.result < 0)
    r = error_set(err, answer.result, UMBRA_REASON_FREEZE, "writing back before the hold took too long");
  return r;
}

static int freeze_failure(const struct hold *h, const struct guardian_reply *answer, struct umbra_error *err) {
  const char *name =
      answer->volume >= 0 && (size_t)answer->volume < h->config.volume_count ? h->names[answer->volume] : NULL;
  if (!name)
    return error_set(err, answer->result, UMBRA_REASON_HOLD_TIMEOUT,
                     "the volumes could not be frozen within the hold's limit; they have been released");
  if (answer->result == -EBUSY)
    return error_set(err, -EBUSY, UMBRA_REASON_FREEZE,
                     "volume '%s' is already frozen by someone else (thaw it: fsfreeze --unfreeze '%s')", name, name);
  error_code(err, answer->result, "freezing volume '%s'", name);
  if (err)
    err->reason = UMBRA_REASON_FREEZE;
  return answer->result;
}

int hold_begin(struct hold *h, int64_t limit_ns, struct umbra_error *err) {
  struct guardian_reply answer;
  int r = ask(h, GUARDIAN_COMMAND_HOLD, limit_ns, err);
  if (r < 0)
    return r;
  r = receive(h, GUARDIAN_COMMAND_HOLD, clock_monotonic_ns() + limit_ns + GUARDIAN_ANSWER_MS * NS_PER_MS, &answer,
              err);
  if (r < 0) {
    /* No answer: some may be frozen, and nobody else would thaw them before the set has been undone. */
    hold_rescue(h);
    return error_prefix(err, r, "holding the volumes");
  }
  return answer.result < 0 ? freeze_failure(h, &answer, err) : 0;
}

static void measure(struct hold *h) {
  int64_t first = INT64_MAX, last = 0;
  for (size_t i = 0; i < h->config.volume_count; i++) {
    if (h->shared->volumes[i].freeze_began_ns < first)
      first = h->shared->volumes[i].freeze_began_ns;
    if (h->shared->volumes[i].thawed_ns > last)
      last = h->shared->volumes[i].thawed_ns;
  }
  h->hold_ns = h->config.volume_count > 0 && last > first ? last - first : 0;
  for (size_t i = 0; i < h->config.volume_count; i++)
    log_debug("'%s': freeze called after %.2f ms, frozen after %.2f ms, thawed after %.2f ms", h->names[i],
              clock_ns_to_ms(h->shared->volumes[i].freeze_began_ns - first),
              clock_ns_to_ms(h->shared->volumes[i].frozen_ns - first),
              clock_ns_to_ms(h->shared->volumes[i].thawed_ns - first));
}

int hold_end(struct hold *h, struct umbra_error *err) {
  struct guardian_reply answer = {0};
  int r = ask(h, GUARDIAN_COMMAND_RELEASE, 0, err);
  if (r >= 0)
    r = receive(h, GUARDIAN_COMMAND_RELEASE, clock_monotonic_ns() + GUARDIAN_ANSWER_MS * NS_PER_MS, &answer, err);
  if (r < 0) {
    hold_rescue(h);
    return r;
  }
  measure(h);
  if (atomic_load(&h->shared->overrun))
    return error_set(err, -ETIMEDOUT, UMBRA_REASON_HOLD_TIMEOUT,
                     "the volumes were held longer than the limit; they have been released");
  if (answer.result == -EINVAL && answer.volume >= 0)
    return error_set(err, -EINVAL, UMBRA_REASON_FREEZE, "volume '%s' was thawed by someone else during the hold",
                     h->names[answer.volume]);
  if (answer.result < 0)
    return error_code(err, answer.result, "releasing volume '%s'",
                      answer.volume >= 0 ? h->names[answer.volume] : "?");
  return 0;
}

int hold_guardian_pidfd(const struct hold *h) { return h->pid > 0 ? h->pidfd : -1; }

/* The guardian is gone. Frozen last thaws first: an upper filesystem's thaw may have to write to a lower one. */
static void thaw_what_it_left(struct hold *h) {
  for (unsigned level = GUARDIAN_VOLUMES_MAX; level-- > 0;)
    for (size_t i = 0; i < h->config.volume_count; i++) {
      if (h->config.volumes[i].level != level || atomic_load(&h->shared->volumes[i].state) == GUARDIAN_VOLUME_THAWED)
        continue;
      if (ioctl(h->config.volumes[i].fd, FITHAW, 0) < 0 && errno != EINVAL)
        log_error("volume '%s' could not be thawed: %s", h->names[i], strerror(errno));
      atomic_store(&h->shared->volumes[i].state, GUARDIAN_VOLUME_THAWED);
    }
  if (h->expedited_fd >= 0 && atomic_load(&h->shared->expedited))
    (void)!write(h->expedited_fd, "0", 1);
  atomic_store(&h->shared->expedited, false);
}

void hold_rescue(struct hold *h) {
  if (h->pid == 0 || !h->shared)
    return;
  /* A guardian that can still act must not freeze behind our back; one in FIFREEZE ends when that returns. */
  (void)kill(h->pid, SIGKILL);
  h->dead = true;
  /* One that only writes back, on storage that does not answer, has frozen nothing and is not waited for. */
  if (!h->sync_abandoned) {
    while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
      ;
    thaw_what_it_left(h);
  }
  h->pid = 0;
}

void hold_stop(struct hold *h) {
  if (!h->open)
    return;
  if (h->pid > 0) {
    struct umbra_error ignored;
    bool quits = !h->dead && ask(h, GUARDIAN_COMMAND_QUIT, 0, &ignored) >= 0;
    struct pollfd wait = {.fd = h->pidfd, .events = POLLIN};
    if (quits && h->pidfd >= 0 && poll(&wait, 1, GUARDIAN_ANSWER_MS) == 1) {
      while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
        ;
      h->pid = 0;
      thaw_what_it_left(h); /* nothing, unless it was killed at this very moment */
    } else
      hold_rescue(h);
  }
  close_fd(&h->socket);
  close_fd(&h->pidfd);
  close_fd(&h->self_pidfd);
  close_fd(&h->expedited_fd);
  if (h->shared)
    (void)munmap(h->shared, sizeof *h->shared);
  *h = (struct hold){.pidfd = -1, .socket = -1, .self_pidfd = -1, .expedited_fd = -1};
}
