/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The order in which a server makes its parts and gives them up, with stubs in place of the parts: nobody is there
 * before what he uses, nor after it, and origin and storage are locked before anybody reads what the last server left
 * there.
 */
#include "cow/front/front.h"
#include "cow/ledger.h"
#include "cow/serve/control.h"
#include "cow/serve/route.h"
#include "cow/serve/server.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static char order[512]; /* what was done, by name */
static struct seat seat;
static struct cow_arena_header header;
static const char *failing; /* the part that does not start */

static int note(const char *what) {
  size_t used = strlen(order);
  (void)snprintf(order + used, sizeof order - used, "%s ", what);
  return failing && strcmp(failing, what) == 0 ? -EIO : 0;
}

/* Whether somebody else's description has the whole file. */
static bool locked(int fd) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int other = open(path, O_RDWR | O_CLOEXEC);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  bool is = fcntl(other, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  (void)close(other);
  return is;
}
static const char *both_locked(void) { return locked(SEAT_ORIGIN) && locked(SEAT_STORAGE) ? "locked" : "unlocked"; }

/* ---- the parts ---- */

int seat_adopt(struct seat **ret, struct umbra_error *err) {
  (void)err;
  *ret = &seat;
  return 0;
}
void seat_harden(struct seat *s) { (void)s; }
pid_t seat_run_again(const struct seat *s, const char *role, enum seat_tie tie, struct umbra_error *err) {
  (void)s, (void)role, (void)tie, (void)err;
  fail_msg("a supervisor was started: this one lives");
  return -1;
}
int cow_arena_adopt(struct cow_arena *a, const int fds[COW_REGIONS], struct umbra_error *err) {
  (void)fds, (void)err;
  a->header = &header;
  return note(both_locked()) < 0 ? -EIO : note("arena");
}
int cow_storage_open(const struct cow_storage_options *o, struct cow_storage **ret, struct umbra_error *err) {
  (void)o, (void)err;
  *ret = (void *)&order;
  return note("storage");
}
void cow_storage_close(struct cow_storage *s) { (void)note(s ? "-storage" : "-no-storage"); }
int cow_ledger_open(int fd, int origin_fd, struct cow_arena *a, struct cow_ledger **ret, struct umbra_error *err) {
  (void)fd, (void)origin_fd, (void)a, (void)err;
  *ret = (void *)&order;
  return note("ledger");
}
int cow_ledger_finish(struct cow_ledger *l) {
  (void)l;
  return note("finish");
}
void cow_ledger_close(struct cow_ledger *l) { (void)note(l ? "-ledger" : "-no-ledger"); }
struct control *control_new(const struct seat *s) {
  (void)s;
  (void)note("control");
  return (void *)&order;
}
void control_set_engine(struct control *c, struct cow_engine *engine) { (void)c, (void)engine; }
void control_note_event(const struct cow_event *event, void *control) { (void)event, (void)control; }
void control_serve(struct control *c, int fd) { (void)c, (void)fd; }
void control_stop(struct control *c) {
  (void)c;
  (void)note("-control");
}
void control_set_route(struct control *c, struct route *route) {
  (void)c;
  assert_non_null(route);
}
struct route *route_new(struct seat *s, struct cow_engine *engine) {
  (void)s;
  assert_non_null(engine);
  (void)note("route");
  return (void *)&order;
}
int route_start(struct route *r, struct umbra_error *err) {
  (void)r, (void)err;
  return note("route-starts");
}
void route_stop(struct route *r) { (void)note(r ? "-route-stops" : "-no-route-stops"); }
void route_free(struct route *r) { (void)note(r ? "-route" : "-no-route"); }
int cow_engine_open(const struct cow_engine_options *o, struct cow_engine **ret, struct umbra_error *err) {
  (void)err;
  assert_non_null(o->event_context);
  int r = note("engine");
  *ret = r < 0 ? NULL : (void *)&order;
  return r;
}
void cow_engine_close(struct cow_engine *e) { (void)note(e ? "-engine" : "-no-engine"); }
int free_space_visit(const struct free_space_source *source, free_space_visit_fn visit, void *context,
                     struct umbra_error *err) {
  (void)source, (void)visit, (void)context, (void)err;
  return -1;
}
static unsigned front_threads(const struct front_seat *seat_of_front) {
  (void)seat_of_front;
  return 4;
}
static int front_start(const struct front_options *o, struct front_server **ret, struct umbra_error *err) {
  (void)err;
  int r = note(o->again ? "front-again" : "front");
  *ret = r < 0 ? NULL : (void *)&order;
  return r;
}
static void front_stop(struct front_server *f) {
  (void)f;
  (void)note("-front");
}
const struct front *front_named(const char *name) {
  static const struct front front = {
      .name = "stub", .threads = front_threads, .start = front_start, .stop = front_stop};
  assert_string_equal(name, "stub");
  return &front;
}

/* ---- one server ---- */

/* Serves until SIGTERM, which is there from the start. */
static int serve(bool persistent, unsigned servers_before, const char *not_starting) {
  struct umbra_error err = {0};
  memset(order, 0, sizeof order);
  memset(&seat, 0, sizeof seat);
  failing = not_starting;
  atomic_store(&seat.supervisor_pid, (int)getpid());
  atomic_store(&seat.servers, servers_before);
  seat.storage_start_bytes = persistent ? 4096 : 0;
  (void)snprintf(seat.front, sizeof seat.front, "stub");
  header.chunk_bytes = 4096;
  for (int fd = SEAT_CONFIG; fd < SEAT_FDS_END; fd++)
    assert_true(fcntl(fd, F_GETFD) >= 0);
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  (void)sigprocmask(SIG_BLOCK, &term, NULL);
  if (!not_starting)
    (void)kill(getpid(), SIGTERM);
  int r = server_main(&err);
  struct timespec at_once = {0};
  (void)sigtimedwait(&term, NULL, &at_once);
  (void)sigprocmask(SIG_UNBLOCK, &term, NULL);
  return r;
}

static void parts_come_and_go_in_order(void **state) {
  (void)state;
  assert_int_equal(serve(true, 0, NULL), 0);
  assert_string_equal(order, "locked arena storage ledger control engine route front route-starts "
                             "-route-stops -front -control -route -engine finish -ledger -storage ");
  /* Nobody has them when it is gone. */
  assert_string_equal(both_locked(), "unlocked");
}

static void the_next_server_asks_again(void **state) {
  (void)state;
  assert_int_equal(serve(false, 1, NULL), 0);
  assert_string_equal(order, "locked arena storage control engine route front-again route-starts "
                             "-route-stops -front -control -route -engine -no-ledger -storage ");
}

/* What is not there is not given up; what does not serve does not say that all is well. */
static void a_part_that_fails_ends_it(void **state) {
  (void)state;
  assert_true(serve(true, 0, "engine") < 0);
  assert_string_equal(order, "locked arena storage ledger control engine -no-route-stops -control -no-route "
                             "-no-engine -ledger -storage ");
  assert_true(serve(true, 0, "front") < 0);
  assert_string_equal(order, "locked arena storage ledger control engine route front -route-stops -control -route "
                             "-engine -ledger -storage ");
  assert_true(serve(true, 0, "route-starts") < 0);
  assert_string_equal(order,
                      "locked arena storage ledger control engine route front route-starts -route-stops -front "
                      "-control -route -engine -ledger -storage ");
  assert_string_equal(both_locked(), "unlocked");
}

/* The seat's numbers are taken, by files of its own each. */
static int take_numbers(void **state) {
  (void)state;
  for (int fd = SEAT_CONFIG; fd < SEAT_FDS_END; fd++) {
    int file = memfd_create("seat", MFD_CLOEXEC);
    if (file < 0 || (file != fd && (dup2(file, fd) < 0 || close(file) < 0)))
      return -1;
  }
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parts_come_and_go_in_order),
      cmocka_unit_test(the_next_server_asks_again),
      cmocka_unit_test(a_part_that_fails_ends_it),
  };
  return cmocka_run_group_tests(tests, take_numbers, NULL);
}
