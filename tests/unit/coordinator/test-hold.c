/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guardian that freezes and then says nothing, or dies: the coordinator ends it, thaws what it left frozen, the
 * upper volume first, and says why.  The guardian is a process of this test's; FITHAW is noted instead of done.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "coordinator/set.h"

#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SET "aaaa1111-0000-4000-8000-000000000002"
enum { LOWER_FD = 1001, UPPER_FD = 1002, THAWS_MAX = 8 };

static int thawed[THAWS_MAX];
static size_t thaw_count;

/* In the C library's place. */
int ioctl(int fd, unsigned long request, ...) {
  va_list args;
  va_start(args, request);
  void *argument = va_arg(args, void *);
  va_end(args);
  if (request != FITHAW)
    return (int)syscall(SYS_ioctl, fd, request, argument);
  assert_true(thaw_count < THAWS_MAX);
  thawed[thaw_count++] = fd;
  return 0;
}

enum silence { STAYS_SILENT, DIES };

/* Answers everything but a hold: it freezes what it shall, and that is the last thing it does. */
static _Noreturn void guard(struct guardian_shared *shared, int socket, enum silence silence) {
  struct guardian_request request;
  /* A test that fails does not leave it behind. */
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (recv(socket, &request, sizeof request, 0) == (ssize_t)sizeof request) {
    struct guardian_reply reply = {.command = request.command, .volume = -1};
    if (request.command == GUARDIAN_COMMAND_HOLD) {
      atomic_store(&shared->volumes[0].state, GUARDIAN_VOLUME_FROZEN);
      atomic_store(&shared->volumes[1].state, GUARDIAN_VOLUME_FREEZING);
      atomic_store(&shared->expedited, true);
      if (silence == DIES)
        _exit(0);
      for (;;)
        (void)pause();
    }
    if (request.command != GUARDIAN_COMMAND_ARM)
      (void)send(socket, &reply, sizeof reply, MSG_NOSIGNAL);
  }
  _exit(0);
}

/* As hold_start() leaves it, with two volumes: the second one's image lies on the first, so it freezes first. */
static void start(struct hold *h, enum silence silence) {
  int pair[2];
  *h = (struct hold){.open = true, .cancel_event = -1, .self_pidfd = -1};
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  h->shared = mmap(NULL, sizeof *h->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(h->shared, MAP_FAILED);
  h->config = (struct guardian_config){.volumes = {{.fd = LOWER_FD, .level = 1}, {.fd = UPPER_FD, .level = 0}},
                                       .volume_count = 2};
  h->names[0] = "/lower";
  h->names[1] = "/upper";
  h->expedited_fd = memfd_create("rcu_expedited", MFD_CLOEXEC);
  assert_true(h->expedited_fd >= 0);
  h->pid = fork();
  if (h->pid == 0) {
    (void)close(pair[0]);
    guard(h->shared, pair[1], silence);
  }
  assert_true(h->pid > 0);
  (void)close(pair[1]);
  h->socket = pair[0];
  h->pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
  assert_true(h->pidfd >= 0);
  thaw_count = 0;
}

/* What may be frozen is thawed, in the reverse of the order of freezing, and nobody is left who could freeze again.
 */
static void assert_rescued(const struct hold *h, pid_t guardian) {
  assert_int_equal(kill(guardian, 0), -1);
  assert_int_equal(errno, ESRCH);
  assert_int_equal(thaw_count, 2);
  assert_int_equal(thawed[0], LOWER_FD);
  assert_int_equal(thawed[1], UPPER_FD);
  if (!h->open)
    return;
  assert_int_equal(h->pid, 0);
  for (size_t i = 0; i < 2; i++)
    assert_int_equal(atomic_load(&h->shared->volumes[i].state), GUARDIAN_VOLUME_THAWED);
  char expedited = 0;
  assert_int_equal(pread(h->expedited_fd, &expedited, 1, 0), 1);
  assert_int_equal(expedited, '0');
}

static void begin_fails(enum silence silence, int expected, enum umbra_reason reason, const char *says) {
  struct hold h;
  struct umbra_error err = {0};
  start(&h, silence);
  pid_t guardian = h.pid;
  assert_int_equal(hold_begin(&h, NS_PER_MS, &err), expected);
  assert_int_equal(err.reason, reason);
  assert_non_null(strstr(err.message, "holding the volumes: the guardian process (pid"));
  assert_non_null(strstr(err.message, says));
  assert_rescued(&h, guardian);
  /* There is no other hold with it, and none is waited for. */
  assert_int_equal(hold_begin(&h, NS_PER_MS, &err), -EPIPE);
  hold_stop(&h);
  assert_int_equal(thaw_count, 2);
}

static void test_no_answer(void **state) {
  (void)state;
  begin_fails(STAYS_SILENT, -ETIMEDOUT, UMBRA_REASON_HOLD_TIMEOUT, "did not answer in time");
}

static void test_death_instead_of_an_answer(void **state) {
  (void)state;
  begin_fails(DIES, -EPIPE, UMBRA_REASON_INTERNAL, "died");
}

/* ---- the whole set ---- */

static char directory[] = "/tmp/umbra-hold.XXXXXX";

static const char *path_of(const char *name) {
  static char path[192];
  (void)snprintf(path, sizeof path, "%s/%s", directory, name);
  return path;
}

static int make_directory(void **state) {
  static const char *const folders[] = {"writers.d", "run", "run/sets"};
  (void)state;
  if (!mkdtemp(directory))
    return -1;
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
    if (mkdir(path_of(folders[i]), 0700) < 0)
      return -1;
  FILE *file = fopen(path_of("writers.d/w"), "we");
  if (!file || fprintf(file, "#!/bin/sh\necho $1 >> '%s/told'\n", directory) < 0 || fchmod(fileno(file), 0700) < 0)
    return -1;
  return fclose(file);
}

static int remove_directory(void **state) {
  char command[96];
  (void)state;
  (void)snprintf(command, sizeof command, "rm -rf '%s'", directory);
  return system(command);
}

/* A set about to be held, whose one writer is frozen. */
static struct set *frozen_set(struct coordinator **ret) {
  struct set *s = NULL;
  (void)setenv("UMBRA_CONFIG_DIR", directory, 1);
  (void)setenv("UMBRA_RUNTIME_DIR", path_of("run"), 1);
  assert_int_equal(coordinator_new(ret, NULL), 0);
  assert_int_equal(limits_load(directory, &(*ret)->limits, NULL), 0);
  (*ret)->limits.hold_ms = 1;
  assert_int_equal(set_new(*ret, &s, NULL), 0);
  (void)strcpy(s->id, SET);
  assert_int_equal(journal_open(&s->journal, path_of("run"), SET, NULL), 0);
  s->journal_open = true;
  assert_int_equal(writers_find("/nonexistent", directory, &s->writers, &s->writer_count, NULL), 0);
  assert_int_equal(s->writer_count, 1);
  s->writers[0]->involved = s->writers[0]->told = s->writers[0]->frozen = true;
  s->calls = calloc(s->writer_count, sizeof *s->calls);
  assert_non_null(s->calls);
  s->state = SET_PRECOMMITTING;
  return s;
}

static void test_set_fails(void **state) {
  (void)state;
  struct coordinator *c;
  char told[64] = "";
  struct set *s = frozen_set(&c);
  start(&s->hold, STAYS_SILENT);
  pid_t guardian = s->hold.pid;
  set_handle(s, SET_EVENT_DONE);
  /* Thawed by now, and not only when the writers have heard of it. */
  assert_int_equal(s->state, SET_ABORTING);
  assert_false(s->held);
  assert_rescued(&s->hold, guardian);
  while (!set_state_final(s->state))
    assert_true(sd_event_run(c->loop, UINT64_MAX) >= 0);
  assert_int_equal(s->state, SET_FAILED);
  assert_int_equal(s->error.reason, UMBRA_REASON_HOLD_TIMEOUT);
  assert_non_null(strstr(s->error.message, "did not answer in time"));
  FILE *file = fopen(path_of("told"), "re");
  assert_non_null(file);
  told[fread(told, 1, sizeof told - 1, file)] = '\0';
  assert_int_equal(fclose(file), 0);
  assert_string_equal(told, "abort\n");
  assert_int_equal(access(path_of("run/sets/" SET ".json"), F_OK), -1);
  set_free(s);
  coordinator_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_answer),
      cmocka_unit_test(test_death_instead_of_an_answer),
      cmocka_unit_test_setup_teardown(test_set_fails, make_directory, remove_directory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
