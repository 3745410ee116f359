/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/serve/server.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/front/front.h"
#include "cow/serve/control.h"
#include "cow/serve/route.h"
#include "cow/serve/seat.h"
#include "cow/shadows.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOOK_AGAIN_MS = 100, SUPERVISOR_START_MS = 10000 };

struct server {
  struct seat *seat;
  int origin_fd, storage_fd; /* our own, locked */
  struct cow_arena arena;
  struct cow_storage *storage;
  struct cow_ledger *ledger;
  struct cow_engine *engine;
  const struct front *front;
  struct front_server *front_server;
  struct route *route;
  struct control *control;
};

/* Supervisors that die are replaced: whoever is left of the two starts the other. */
static int watch_supervisor(struct seat *seat, int *pidfd) {
  *pidfd = (int)syscall(SYS_pidfd_open, atomic_load(&seat->supervisor_pid), 0);
  return *pidfd >= 0 ? 0 : -errno;
}

/* It takes its place in the seat by itself; if none does within a while, another is started. */
static void replace_supervisor(struct seat *seat, int *pidfd) {
  cleanup_close_fd(pidfd);
  *pidfd = -1;
  atomic_store(&seat->supervisor_pid, 0);
  (void)seat_run_again(seat, "supervise", SEAT_DETACHED, NULL);
}

static void run(struct server *s, int signals) {
  int supervisor = -1;
  unsigned waited_ms = 0;
  for (;;) {
    if (supervisor < 0 && atomic_load(&s->seat->supervisor_pid) > 0) {
      waited_ms = 0;
      if (watch_supervisor(s->seat, &supervisor) == -ESRCH)
        replace_supervisor(s->seat, &supervisor);
    } else if (supervisor < 0 && (waited_ms += LOOK_AGAIN_MS) >= SUPERVISOR_START_MS) {
      waited_ms = 0;
      replace_supervisor(s->seat, &supervisor);
    }
    struct pollfd polls[] = {{.fd = signals, .events = POLLIN},
                             {.fd = SEAT_CONTROL, .events = POLLIN},
                             {.fd = supervisor, .events = POLLIN}};
    if (poll(polls, 3, supervisor < 0 ? LOOK_AGAIN_MS : -1) < 0 && errno != EINTR)
      return;
    if (polls[0].revents)
      return;
    if (polls[1].revents) {
      int fd = accept4(SEAT_CONTROL, NULL, NULL, SOCK_CLOEXEC);
      if (fd >= 0)
        control_serve(s->control, fd);
    }
    if (polls[2].revents)
      replace_supervisor(s->seat, &supervisor);
  }
}

/* Those that recovery dropped, or that were dropped before, with an event each: nobody else heard of it here. */
static void tell_of_recovery(struct server *s) {
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    const struct cow_arena_shadow *shadow = &s->arena.header->shadows[i];
    struct cow_event event = {.kind = COW_EVENT_DROPPED};
    if (cow_shadow_state_of(shadow) != COW_SHADOW_DROPPED)
      continue;
    memcpy(event.shadow, shadow->id, sizeof event.shadow);
    memcpy(event.why, shadow->why, sizeof event.why);
    control_note_event(&event, s->control);
  }
}

/*
 * A description of our own of one of the seat's files, locked as a whole. A transfer that is under way holds the
 * description that it was started on, and with it the lock: so this waits until the last one of the server before has
 * ended, whenever its process was gone (E12).
 */
static int open_own(int seat_fd, int *ret_fd, struct umbra_error *err) {
  char path[FD_PROC_PATH_BYTES];
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  int flags = fcntl(seat_fd, F_GETFL);
  if (flags < 0)
    return error_errno(err, "looking at descriptor %d", seat_fd);
  *ret_fd = open(fd_proc_path(seat_fd, path), (flags & (O_ACCMODE | O_DIRECT)) | O_CLOEXEC);
  if (*ret_fd < 0)
    return error_errno(err, "opening descriptor %d for this server", seat_fd);
  while (fcntl(*ret_fd, F_OFD_SETLKW, &whole) < 0)
    if (errno != EINTR)
      return error_errno(err, "waiting for the last server's transfers");
  return 0;
}

static int start(struct server *s, struct umbra_error *err) {
  int fds[COW_REGIONS];
  for (int i = 0; i < COW_REGIONS; i++)
    fds[i] = SEAT_ARENA + i;
  int r = open_own(SEAT_ORIGIN, &s->origin_fd, err);
  /* Inside the volume it is the same file, whose lock this server has. */
  if (r >= 0 && s->seat->storage_inside) {
    s->storage_fd = fcntl(s->origin_fd, F_DUPFD_CLOEXEC, 0);
    r = s->storage_fd < 0 ? error_errno(err, "opening the volume for its storage") : 0;
  } else if (r >= 0)
    r = open_own(SEAT_STORAGE, &s->storage_fd, err);
  if (r >= 0)
    r = cow_arena_adopt(&s->arena, fds, err);
  if (r < 0)
    return r;
  struct cow_storage_options storage = {
      .fd = s->storage_fd,
      .chunk_bytes = s->arena.header->chunk_bytes,
      .limit_bytes = s->seat->storage_limit_bytes,
      .start_bytes = s->seat->storage_start_bytes,
      .extents = s->seat->storage_inside ? s->arena.extents : NULL,
  };
  r = cow_storage_open(&storage, &s->storage, err);
  if (r >= 0 && s->seat->storage_start_bytes > 0)
    r = cow_ledger_open(s->storage_fd, s->origin_fd, &s->arena, &s->ledger, err);
  if (r < 0)
    return r;
  s->control = control_new(s->seat);
  if (!s->control)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "starting the server");
  s->front = front_named(s->seat->front);
  if (!s->front)
    return error_set(err, -EINVAL, UMBRA_REASON_INTERNAL, "there is no front '%s'", s->seat->front);
  unsigned lanes = s->front->threads(&s->seat->front_seat) + 1; /* and the control's */
  struct cow_engine_options engine = {.origin_fd = s->origin_fd,
                                      .storage = s->storage,
                                      .arena = &s->arena,
                                      .ledger = s->ledger,
                                      .inside = s->seat->storage_inside,
                                      .full_policy = (enum cow_full_policy)s->seat->full_policy,
                                      .lanes = lanes < COW_LANES_MAX ? lanes : COW_LANES_MAX,
                                      .event = control_note_event,
                                      .event_context = s->control,
                                      .free_space = free_space_visit};
  r = cow_engine_open(&engine, &s->engine, err);
  if (r < 0)
    return r;
  control_set_engine(s->control, s->engine);
  bool again = atomic_fetch_add(&s->seat->servers, 1) > 0;
  if (!again)
    tell_of_recovery(s);
  s->route = route_new(s->seat, s->engine);
  if (!s->route)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "starting the server");
  control_set_route(s->control, s->route);
  const struct front_options options = {
      .seat = &s->seat->front_seat, .session_fd = SEAT_SESSION, .engine = s->engine, .again = again};
  r = s->front->start(&options, &s->front_server, err);
  return r < 0 ? r : route_start(s->route, err);
}

int server_main(struct umbra_error *err) {
  struct server s = {.origin_fd = -1, .storage_fd = -1};
  /* Blocked before any thread exists: they come to the descriptor. */
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  (void)sigprocmask(SIG_BLOCK, &set, NULL);
  (void)signal(SIGCHLD, SIG_IGN); /* supervisors are not waited for */
  CLEANUP_CLOSE int signals = signalfd(-1, &set, SFD_CLOEXEC);
  int r = seat_adopt(&s.seat, err);
  if (r < 0)
    return r;
  atomic_store(&s.seat->server_pid, (int)getpid());
  seat_harden(s.seat);
  r = start(&s, err);
  if (r >= 0)
    run(&s, signals);
  route_stop(s.route); /* first: what it waits for, the front answers */
  if (s.front_server)
    s.front->stop(s.front_server);
  if (s.control)
    control_stop(s.control); /* last: what the front does may yet be an event */
  route_free(s.route);
  cow_engine_close(s.engine);
  if (r >= 0 && s.ledger)
    (void)cow_ledger_finish(s.ledger);
  cow_ledger_close(s.ledger);
  cow_storage_close(s.storage);
  cleanup_close_fd(&s.storage_fd);
  cleanup_close_fd(&s.origin_fd);
  return r;
}
