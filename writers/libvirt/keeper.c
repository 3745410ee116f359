/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between the two: a socket with one packet a word.  'F' asks for the freeze, 'T' for the thaw; each is answered by a
 * struct answer.  The end of it counts as 'T' whose answer nobody reads.  'S', in place of both, asks a second keeper
 * for the thaw alone.
 */
#include "writers/libvirt/keeper.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

struct answer {
  int code; /* 0 or negative */
  char message[512];
};

struct keeper {
  int fd; /* -1: nothing more is expected of it */
  const struct domain *domain;
  bool asked; /* for a freeze, of which the thaw has not been heard */
};

/* ---- in the process ---- */

static struct answer failed(int code, const char *what, const struct domain *d) {
  struct answer a = {.code = code};
  struct umbra_error err = {0};
  (void)domain_failed(&err, code, what, d->name);
  (void)snprintf(a.message, sizeof a.message, "%.*s", (int)sizeof a.message - 1, err.message);
  return a;
}

static virDomainPtr look_up(const struct domain *d, virConnectPtr *connection) {
  if (*connection && virConnectIsAlive(*connection) != 1) {
    (void)virConnectClose(*connection);
    *connection = NULL;
  }
  if (!*connection && domain_connect(connection, NULL) < 0)
    return NULL;
  return virDomainLookupByUUIDString(*connection, d->uuid);
}

/*
 * Until it is done, or the domain does not run any more: a guest that stays frozen is the worst there is.  tries: at
 * most, one a second.
 */
static struct answer thaw(const struct domain *d, int frozen, int tries, virConnectPtr *connection) {
  for (;;) {
    virDomainPtr handle = look_up(d, connection);
    int thawed = handle ? virDomainFSThaw(handle, NULL, 0, 0) : -1;
    struct answer a = thawed < 0 ? failed(-EIO, "thawing the filesystems of", d) : (struct answer){0};
    bool gone = thawed < 0 && handle && virDomainIsActive(handle) == 0;
    if (handle)
      (void)virDomainFree(handle);
    if (thawed == 0 && frozen > 0) {
      a.code = -EAGAIN;
      (void)snprintf(a.message, sizeof a.message, "the guest '%s' had thawed its filesystems before it was told",
                     d->name);
    }
    if (thawed >= 0 || gone || --tries <= 0)
      return a;
    (void)nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
  }
}

/*
 * What comes of a freeze that libvirt says has failed, so that no thaw is needed.  Not so VIR_ERR_AGENT_UNRESPONSIVE:
 * an agent may go away when it has been told to freeze.
 */
static bool never_began(int code) {
  return code == VIR_ERR_ARGUMENT_UNSUPPORTED || code == VIR_ERR_OPERATION_INVALID || code == VIR_ERR_NO_DOMAIN;
}

/* *ret_tries: how often a thaw is worth being tried. */
static struct answer freeze(const struct domain *d, virConnectPtr *connection, int *ret_frozen, int *ret_tries) {
  virDomainPtr handle = look_up(d, connection);
  *ret_frozen = handle ? virDomainFSFreeze(handle, NULL, 0, 0) : -1;
  struct answer a = *ret_frozen < 0 ? failed(-EAGAIN, "freezing the filesystems of", d) : (struct answer){0};
  *ret_tries = *ret_frozen < 0 && never_began(virGetLastErrorCode()) ? 1 : KEEPER_LAST_S;
  if (handle)
    (void)virDomainFree(handle);
  return a;
}

/* The word that came; 'T' at the end, and after KEEPER_HELD_S of a freeze. */
static char next_word(int fd, bool frozen) {
  char word = 'T';
  struct pollfd input = {.fd = fd, .events = POLLIN};
  int n;
  do
    n = poll(&input, 1, frozen ? KEEPER_HELD_S * 1000 : -1);
  while (n < 0 && errno == EINTR);
  return n > 0 && recv(fd, &word, 1, 0) == 1 ? word : 'T';
}

/* Nothing of the writer's stays open in it: its end has to be seen. */
static int take_place(int fd) {
  enum { OWN_FD = 3 };
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < OWN_FD; i++)
    (void)dup2(null, i);
  if (fd != OWN_FD)
    (void)dup2(fd, OWN_FD);
  (void)close_range(OWN_FD + 1, ~0U, 0);
  return OWN_FD;
}

/* It may be killed last of all, where we may ask for that. */
static void outlive_others(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    return;
  (void)fd_write_all(fd, "-1000", strlen("-1000"));
  (void)close(fd);
}

__attribute__((noreturn)) static void keep(const struct domain *d, int fd) {
  virConnectPtr connection = NULL;
  int frozen = 0, tries = 0;
  (void)setsid();
  (void)signal(SIGHUP, SIG_IGN);
  /* Of a service manager that ends the whole of a service: it kills only later, and the guest is thawed by then. */
  (void)signal(SIGTERM, SIG_IGN);
  (void)signal(SIGPIPE, SIG_IGN);
  outlive_others();
  struct answer a;
  switch (next_word(fd, false)) {
  case 'F':
    a = freeze(d, &connection, &frozen, &tries);
    (void)send(fd, &a, sizeof a, MSG_NOSIGNAL);
    /* What failed may have frozen some of them all the same. */
    (void)next_word(fd, true);
    break;
  case 'S':
    tries = KEEPER_LAST_S;
    break;
  default:
    _exit(0);
  }
  a = thaw(d, frozen, tries, &connection);
  (void)send(fd, &a, sizeof a, MSG_NOSIGNAL);
  _exit(a.code < 0);
}

/* ---- on this side ---- */

int keeper_start(const struct domain *d, struct keeper **ret, struct umbra_error *err) {
  int ends[2];
  struct keeper *k = calloc(1, sizeof *k);
  if (!k || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
    free(k);
    return error_errno(err, "starting the keeper of domain '%s'", d->name);
  }
  pid_t pid = fork();
  if (pid == 0) {
    (void)close(ends[0]);
    /* Twice, so that nobody has to wait for it. */
    if (fork() != 0)
      _exit(0);
    keep(d, take_place(ends[1]));
  }
  (void)close(ends[1]);
  k->fd = ends[0];
  k->domain = d;
  if (pid < 0) {
    int code = -errno;
    (void)close(k->fd);
    free(k);
    return error_code(err, code, "starting the keeper of domain '%s'", d->name);
  }
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
    ;
  *ret = k;
  return 0;
}

static int ask(struct keeper *k, char word, int wait_ms, struct umbra_error *err) {
  struct answer a = {0};
  struct pollfd input = {.fd = k->fd, .events = POLLIN};
  if (k->fd < 0)
    return error_set(err, -EPIPE, UMBRA_REASON_WRITER, "the guest had thawed its filesystems before it was told");
  ssize_t n = send(k->fd, &word, 1, MSG_NOSIGNAL);
  int64_t deadline_ns = clock_monotonic_ns() + wait_ms * NS_PER_MS;
  int ready = 0;
  while (n == 1 && ready <= 0) {
    int64_t left_ms = (deadline_ns - clock_monotonic_ns()) / NS_PER_MS;
    ready = left_ms > 0 ? poll(&input, 1, (int)left_ms) : 0;
    if (ready == 0 || (ready < 0 && errno != EINTR))
      break;
  }
  if (n == 1 && ready == 0) {
    (void)close(take_fd(&k->fd));
    return error_set(err, -ETIMEDOUT, UMBRA_REASON_WRITER_RETRY, "the guest agent does not answer in time");
  }
  if (n != 1 || recv(k->fd, &a, sizeof a, 0) != sizeof a) {
    (void)close(take_fd(&k->fd));
    return error_set(err, -EPIPE, UMBRA_REASON_WRITER, "the process that keeps the guest frozen has ended");
  }
  a.message[sizeof a.message - 1] = '\0';
  return a.code < 0 ? error_set(err, a.code, UMBRA_REASON_WRITER, "%s", a.message) : 0;
}

/* The first was killed: another thaws, by itself. */
static void thaw_by_second(struct keeper *k) {
  struct keeper *second;
  struct umbra_error err = {0};
  k->asked = false;
  int r = keeper_start(k->domain, &second, &err);
  if (r == 0 && send(second->fd, "S", 1, MSG_NOSIGNAL) != 1)
    r = error_errno(&err, "starting a second keeper");
  if (r < 0)
    log_error("the guest '%s' may be frozen still (virsh domfsthaw): %s", k->domain->name, err.message);
  else {
    (void)close(second->fd);
    free(second);
  }
}
/* Whether it ended without a word. */
static bool has_ended(int fd) {
  struct answer a;
  ssize_t n = recv(fd, &a, sizeof a, MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void keeper_free(struct keeper *k) {
  if (!k)
    return;
  if (k->asked && k->fd >= 0 && has_ended(k->fd))
    thaw_by_second(k);
  cleanup_close_fd(&k->fd);
  free(k);
}

int keeper_freeze(struct keeper *k, int wait_ms, struct umbra_error *err) {
  k->asked = true;
  int r = ask(k, 'F', wait_ms, err);
  if (r == -EPIPE)
    thaw_by_second(k);
  return r;
}

int keeper_thaw(struct keeper *k, int wait_ms, struct umbra_error *err) {
  int r = ask(k, 'T', wait_ms, err);
  if (r == -EPIPE && k->asked)
    thaw_by_second(k);
  k->asked = false;
  return r;
}
