/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian process.  It is the only code that has to be right for the machine to live; everything else may crash.
 *
 * Invariants
 *  1. FIFREEZE is called by the guardian only, each volume's by the volume's own thread, and its state says
 *     FREEZING before the call.  So whoever finds the guardian dead knows from the shared page which volumes can be
 * frozen.
 *  2. A volume whose FIFREEZE failed is never thawed: EBUSY means that somebody else holds it.
 *  3. Once `leaving` is set, a thread whose FIFREEZE returns thaws at once.  Hence thawing never has to wait for a
 * freeze that is stuck, and nothing stays frozen after it.
 *  4. Thaws of all volumes are started together, without regard to levels: a filesystem on an image that lies on
 *     another frozen volume writes to it while it thaws and just waits for that volume's own thaw.
 *  5. The main thread never calls anything that can block on a volume: it only polls.  It reacts to the coordinator's
 *     death and to deadlines while threads are in FIFREEZE.
 *  6. Between the first FIFREEZE and the last FITHAW nothing is allocated, opened by path or written to a file.
 * Memory is locked, threads exist, and the one file written (/sys/kernel/rcu_expedited) is open.
 *
 * Most of an FIFREEZE is waiting for RCU grace periods (percpu_rw_semaphore of the superblock, three levels). With
 * rcu_expedited these take microseconds instead of tens of milliseconds, at the price of interrupting each CPU once;
 * it is set for the length of the freeze only and put back (docs/decisions/ tells the figures).
 */
#include "coordinator/guardian.h"

#include "common/clock.h"
#include "common/memory-lock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Write-back before a hold goes in rounds over all volumes, so that the one that is done first does not gather what
 * the others' rounds take.  A round that took no longer than this left next to nothing to write.
 */
enum { SYNC_ROUNDS_MAX = 5, SYNC_ROUND_SHORT_MS = 3 };
/* Threads only call ioctl() and syncfs(); the default of 8 MiB each would be locked in memory. */
enum { THREAD_STACK_BYTES = 64 * 1024 };

enum order { ORDER_SYNC, ORDER_FREEZE, ORDER_THAW };

struct keeper; /* one volume's thread */

struct guardian {
  const struct guardian_config *config;
  struct guardian_shared *shared;
  struct keeper *keepers;
  int done_event;      /* eventfd: one for each order that a keeper finished */
  size_t pending;      /* orders given and not yet finished */
  atomic_bool leaving; /* invariant 3 */
  int64_t deadline_ns; /* 0: none */
  int expedited_fd;    /* -1: the kernel has no such switch */
  /* The hold under way. */
  uint32_t command; /* whose orders are pending; 0: none */
  unsigned level;
  int round; /* of writing back */
  int64_t round_began_ns;
};

struct keeper {
  struct guardian *guardian;
  size_t index;
  sem_t order_ready;
  _Atomic int order;
  pthread_t thread;
};

static void keeper_thaw(struct guardian *g, size_t i) {
  int frozen = GUARDIAN_VOLUME_FROZEN;
  if (atomic_load(&g->shared->volumes[i].state) != frozen)
    return;
  int r = ioctl(g->config->volumes[i].fd, FITHAW, 0) < 0 ? -errno : 0;
  g->shared->volumes[i].thawed_ns = clock_monotonic_ns();
  g->shared->volumes[i].result = r;
  atomic_store(&g->shared->volumes[i].state, GUARDIAN_VOLUME_THAWED);
}

static void keeper_freeze(struct guardian *g, size_t i) {
  if (atomic_load(&g->leaving)) {
    g->shared->volumes[i].result = -ECANCELED;
    return;
  }
  atomic_store(&g->shared->volumes[i].state, GUARDIAN_VOLUME_FREEZING);
  g->shared->volumes[i].freeze_began_ns = clock_monotonic_ns();
  int r = ioctl(g->config->volumes[i].fd, FIFREEZE, 0) < 0 ? -errno : 0;
  g->shared->volumes[i].frozen_ns = clock_monotonic_ns();
  g->shared->volumes[i].result = r;
  atomic_store(&g->shared->volumes[i].state, r < 0 ? GUARDIAN_VOLUME_THAWED : GUARDIAN_VOLUME_FROZEN);
  if (r == 0 && atomic_load(&g->leaving)) {
    keeper_thaw(g, i);
    g->shared->volumes[i].result = -ECANCELED;
  }
}

static void *keeper_main(void *context) {
  struct keeper *k = context;
  struct guardian *g = k->guardian;
  for (;;) {
    while (sem_wait(&k->order_ready) < 0)
      ;
    switch ((enum order)atomic_load(&k->order)) {
    case ORDER_SYNC:
      (void)syncfs(g->config->volumes[k->index].fd);
      break;
    case ORDER_FREEZE:
      keeper_freeze(g, k->index);
      break;
    case ORDER_THAW:
      keeper_thaw(g, k->index);
      break;
    }
    eventfd_write(g->done_event, 1);
  }
  return NULL;
}

static void give_order(struct guardian *g, size_t i, enum order order) {
  atomic_store(&g->keepers[i].order, order);
  g->pending++;
  sem_post(&g->keepers[i].order_ready);
}

static void reply(struct guardian *g, uint32_t command, int result, int volume) {
  struct guardian_reply r = {.command = command, .result = result, .volume = volume};
  (void)send(g->config->socket, &r, sizeof r, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void expedite(struct guardian *g, bool on) {
  if (g->expedited_fd < 0)
    return;
  if (on) {
    char now = 0;
    if (pread(g->expedited_fd, &now, 1, 0) != 1 || now != '0')
      return; /* somebody else's setting stays as it is */
    atomic_store(&g->shared->expedited, true);
    (void)!pwrite(g->expedited_fd, "1", 1, 0);
  } else if (atomic_load(&g->shared->expedited)) {
    (void)!pwrite(g->expedited_fd, "0", 1, 0);
    atomic_store(&g->shared->expedited, false);
  }
}

/* Takes what keepers reported so far off the count. */
static void collect(struct guardian *g) {
  eventfd_t finished = 0;
  if (eventfd_read(g->done_event, &finished) == 0)
    g->pending -= finished < g->pending ? finished : g->pending;
}

/*
 * Thaws everything and waits for it, but not for keepers that are still in FIFREEZE: these thaw when they come back
 * (invariant 3), and their state says so to whoever looks.  for_good: no other hold will follow.
 */
static void thaw_all(struct guardian *g, bool for_good) {
  atomic_store(&g->leaving, true);
  for (size_t i = 0; i < g->config->volume_count; i++)
    if (atomic_load(&g->shared->volumes[i].state) == GUARDIAN_VOLUME_FROZEN)
      give_order(g, i, ORDER_THAW);
  for (size_t i = 0; i < g->config->volume_count;) {
    if (atomic_load(&g->shared->volumes[i].state) == GUARDIAN_VOLUME_FROZEN ||
        (!for_good && i + 1 == g->config->volume_count && g->pending > 0)) {
      struct pollfd wait = {.fd = g->done_event, .events = POLLIN};
      (void)poll(&wait, 1, 10);
      collect(g);
    } else
      i++;
  }
  expedite(g, false);
  g->deadline_ns = 0;
  g->command = 0;
  if (!for_good)
    atomic_store(&g->leaving, false);
}

static bool any_freezing(const struct guardian *g) {
  for (size_t i = 0; i < g->config->volume_count; i++)
    if (atomic_load(&g->shared->volumes[i].state) == GUARDIAN_VOLUME_FREEZING)
      return true;
  return false;
}

static void sync_round(struct guardian *g) {
  g->round++;
  g->round_began_ns = clock_monotonic_ns();
  for (size_t i = 0; i < g->config->volume_count; i++)
    give_order(g, i, ORDER_SYNC);
}

static void freeze_level(struct guardian *g, unsigned level) {
  for (size_t i = 0; i < g->config->volume_count; i++)
    if (g->config->volumes[i].level == level)
      give_order(g, i, ORDER_FREEZE);
}

static unsigned level_max(const struct guardian *g) {
  unsigned max = 0;
  for (size_t i = 0; i < g->config->volume_count; i++)
    if (g->config->volumes[i].level > max)
      max = g->config->volumes[i].level;
  return max;
}

/* The first volume of a level whose last order failed, or -1. */
static int first_failed(const struct guardian *g, unsigned level) {
  for (size_t i = 0; i < g->config->volume_count; i++)
    if (g->config->volumes[i].level == level && g->shared->volumes[i].result < 0)
      return (int)i;
  return -1;
}

/* All orders of the present command are finished: the next level, or the answer. */
static void advance(struct guardian *g) {
  uint32_t command = g->command;
  if (command == GUARDIAN_COMMAND_SYNC && g->round < SYNC_ROUNDS_MAX && g->config->volume_count > 0 &&
      clock_monotonic_ns() - g->round_began_ns > SYNC_ROUND_SHORT_MS * NS_PER_MS) {
    sync_round(g);
    return;
  }
  if (command == GUARDIAN_COMMAND_HOLD) {
    int failed = first_failed(g, g->level);
    if (failed >= 0) {
      int result = g->shared->volumes[failed].result;
      thaw_all(g, false);
      reply(g, command, result, failed);
      return;
    }
    if (g->level < level_max(g)) {
      /* Levels need not be dense: an empty one has no orders and is passed at once. */
      do
        freeze_level(g, ++g->level);
      while (g->pending == 0 && g->level < level_max(g));
      return;
    }
  }
  if (command == GUARDIAN_COMMAND_HOLD)
    expedite(g, false);
  g->command = 0;
  reply(g, command, 0, -1);
}

static void release(struct guardian *g) {
  /* The coordinator gave up on a hold that is not complete: what is stuck in FIFREEZE is not waited for. */
  bool stuck = any_freezing(g);
  thaw_all(g, stuck);
  int result = stuck ? -ETIMEDOUT : 0, volume = -1;
  for (size_t i = 0; i < g->config->volume_count; i++)
    if (g->shared->volumes[i].result < 0) {
      result = g->shared->volumes[i].result;
      volume = (int)i;
    }
  reply(g, GUARDIAN_COMMAND_RELEASE, result, volume);
}

/*
 * Ends the process, but not before keepers that are still in FIFREEZE have come back and thawed (invariant 3): a
 * thread that is killed there leaves its volume frozen.
 */
static _Noreturn void leave(struct guardian *g) {
  for (size_t i = 0; i < g->config->volume_count;) {
    if (atomic_load(&g->shared->volumes[i].state) == GUARDIAN_VOLUME_THAWED)
      i++;
    else
      (void)poll(NULL, 0, 10);
  }
  _exit(0);
}

static void obey(struct guardian *g, const struct guardian_request *request) {
  switch ((enum guardian_command)request->command) {
  case GUARDIAN_COMMAND_ARM:
    g->deadline_ns = request->argument_ns;
    return;
  case GUARDIAN_COMMAND_SYNC:
  case GUARDIAN_COMMAND_HOLD:
    if (g->pending > 0 || atomic_load(&g->shared->overrun)) {
      reply(g, request->command, g->pending > 0 ? -EBUSY : -ETIMEDOUT, -1);
      return;
    }
    g->command = request->command;
    atomic_store(&g->leaving, false);
    if (request->command == GUARDIAN_COMMAND_SYNC) {
      g->round = 0;
      sync_round(g);
    } else {
      int64_t by_ns = clock_monotonic_ns() + request->argument_ns;
      if (g->deadline_ns == 0 || by_ns < g->deadline_ns)
        g->deadline_ns = by_ns;
      expedite(g, true);
      g->level = 0;
      freeze_level(g, 0);
    }
    if (g->pending == 0)
      advance(g);
    return;
  case GUARDIAN_COMMAND_RELEASE:
    release(g);
    return;
  case GUARDIAN_COMMAND_QUIT:
    thaw_all(g, true);
    leave(g);
  }
}

static void deadline_passed(struct guardian *g) {
  atomic_store(&g->shared->overrun, true);
  thaw_all(g, true);
  reply(g, GUARDIAN_COMMAND_HOLD, -ETIMEDOUT, -1);
  g->config->abort_writers(g->config->context);
}

static _Noreturn void coordinator_gone(struct guardian *g) {
  thaw_all(g, true);
  g->config->clean_up(g->config->context);
  leave(g);
}

static _Noreturn void guard(struct guardian *g) {
  for (;;) {
    struct pollfd polls[] = {
        {.fd = g->config->coordinator_pidfd, .events = POLLIN},
        {.fd = g->config->socket, .events = POLLIN},
        {.fd = g->done_event, .events = POLLIN},
    };
    struct timespec timeout = {0}, *limit = NULL;
    if (g->deadline_ns > 0) {
      int64_t left_ns = g->deadline_ns - clock_monotonic_ns();
      if (left_ns > 0)
        timeout = (struct timespec){.tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S};
      limit = &timeout;
    }
    if (ppoll(polls, 3, limit, NULL) < 0 && errno != EINTR)
      coordinator_gone(g); /* cannot guard without polling: the safe side is thawed */
    if (polls[0].revents)
      coordinator_gone(g);
    if (g->deadline_ns > 0 && clock_monotonic_ns() >= g->deadline_ns)
      deadline_passed(g);
    if (polls[2].revents) {
      size_t before = g->pending;
      collect(g);
      if (before > 0 && g->pending == 0 && g->command != 0)
        advance(g);
    }
    if (polls[1].revents) {
      struct guardian_request request;
      ssize_t n = recv(g->config->socket, &request, sizeof request, MSG_DONTWAIT);
      if (n == (ssize_t)sizeof request)
        obey(g, &request);
      else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        coordinator_gone(g); /* closed: the coordinator is going, and may hang while it does */
    }
  }
}

/* Signals meant for the coordinator's terminal group must not end the one process that thaws. */
static void ignore_signals(void) {
  static const int signals[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGTSTP, SIGTTIN,
                                SIGTTOU, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    (void)signal(signals[i], SIG_IGN);
  (void)signal(SIGCHLD, SIG_DFL);
}

static void protect_from_oom(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    return;
  (void)!write(fd, "-1000", 5);
  (void)close(fd);
}

_Noreturn void guardian_main(const struct guardian_config *config) {
  ignore_signals();
  (void)setsid();
  (void)prctl(PR_SET_NAME, "umbra-guardian");
  protect_from_oom();

  struct guardian g = {.config = config, .shared = config->shared, .expedited_fd = -1};
  g.expedited_fd = open("/sys/kernel/rcu_expedited", O_RDWR | O_CLOEXEC);
  g.done_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  g.keepers = calloc(config->volume_count + 1, sizeof *g.keepers);
  if (g.done_event < 0 || !g.keepers)
    _exit(1);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
  for (size_t i = 0; i < config->volume_count; i++) {
    struct keeper *k = &g.keepers[i];
    *k = (struct keeper){.guardian = &g, .index = i};
    if (sem_init(&k->order_ready, 0, 0) < 0 || pthread_create(&k->thread, &attributes, keeper_main, k) != 0)
      _exit(1);
  }
  pthread_attr_destroy(&attributes);
  memory_lock_self();
  reply(&g, 0, 0, -1); /* ready */
  guard(&g);
}
