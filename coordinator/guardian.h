/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian: a small process that freezes and thaws, and that thaws by itself when the coordinator dies, hangs or
 * is late.  This header is the protocol between the two; guardian.c is the process, hold.c the coordinator's side.
 * Source: FIFREEZE/FITHAW in ioctl_fs(2) and fsfreeze(8), pidfd_open(2); Linux fs/super.c for who may thaw what.
 */
#ifndef COORDINATOR_GUARDIAN_H
#define COORDINATOR_GUARDIAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GUARDIAN_VOLUMES_MAX = 64 };

/* States of one volume. Only the volume's own thread in the guardian moves it, except that the coordinator does once
 * the guardian is known to be gone. */
enum guardian_volume_state {
  GUARDIAN_VOLUME_THAWED,
  GUARDIAN_VOLUME_FREEZING, /* FIFREEZE has been called and has not returned: it may be frozen any moment */
  GUARDIAN_VOLUME_FROZEN,   /* frozen by us */
};

/* One page that both processes see. Written by the guardian unless said otherwise. */
struct guardian_shared {
  struct {
    _Atomic int state;               /* enum guardian_volume_state */
    _Atomic int result;              /* of the last FIFREEZE or FITHAW: 0 or negative errno */
    _Atomic int64_t freeze_began_ns; /* monotonic */
    _Atomic int64_t frozen_ns, thawed_ns;
  } volumes[GUARDIAN_VOLUMES_MAX];
  _Atomic bool overrun;   /* a deadline passed: the guardian thawed by itself */
  _Atomic bool expedited; /* /sys/kernel/rcu_expedited was set by us and has to be put back */
};

enum guardian_command {
  GUARDIAN_COMMAND_ARM = 1, /* argument_ns: by then (monotonic) the hold has to be over; 0: disarm */
  GUARDIAN_COMMAND_SYNC,    /* write back what is dirty on all volumes, so that freezing has little left to do */
  GUARDIAN_COMMAND_HOLD,    /* freeze level by level; argument_ns: the longest the hold may take */
  GUARDIAN_COMMAND_RELEASE, /* thaw everything that is frozen */
  GUARDIAN_COMMAND_QUIT,
};

struct guardian_request {
  int64_t argument_ns;
  uint32_t command;
  uint32_t reserved; /* 0 */
};

struct guardian_reply {
  uint32_t command; /* the one that is answered */
  int32_t result;   /* 0 or negative errno */
  int32_t volume;   /* whose result it is, -1: nobody's */
  uint32_t reserved;
};

struct guardian_volume {
  int fd;         /* root directory of the volume, opened before; the caller's */
  unsigned level; /* 0 freezes first */
};

struct guardian_config {
  struct guardian_volume volumes[GUARDIAN_VOLUMES_MAX];
  size_t volume_count;
  int coordinator_pidfd; /* readable when the coordinator is gone */
  int socket;            /* SOCK_SEQPACKET to the coordinator */
  struct guardian_shared *shared;

  /* Run in the guardian, volumes thawed, when a deadline passed and the coordinator does not seem to move: tells
   * writers. context as in the coordinator at the time of the fork. */
  void (*abort_writers)(void *context);
  /* Run in the guardian, volumes thawed, when the coordinator is gone: tells writers and removes what was left. */
  void (*clean_up)(void *context);
  void *context;
};

/* The guardian's life. Called in a forked child without threads; never returns. */
_Noreturn void guardian_main(const struct guardian_config *config);

#endif
