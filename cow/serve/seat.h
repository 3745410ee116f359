/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an attached volume is made of while nobody looks: descriptors under fixed numbers, which the supervisor and
 * the server both hold, and a page of words that both see.  Either can start the other anew from it, as long as one
 * of them lives.
 */
#ifndef COW_SERVE_SEAT_H
#define COW_SERVE_SEAT_H

#include "common/error.h"
#include "cow/arena.h"
#include "cow/front/front.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

enum seat_fd {
  SEAT_CONFIG = 3, /* memory file: struct seat */
  SEAT_SESSION,    /* /dev/fuse */
  SEAT_ORIGIN,
  SEAT_STORAGE,
  SEAT_CONTROL,   /* listening: control.h, the server's */
  SEAT_SUPERVISE, /* listening: the supervisor's */
  SEAT_ARENA,     /* COW_REGIONS of them */
  SEAT_FDS_END = SEAT_ARENA + COW_REGIONS,
};

enum { SEAT_NAME_BYTES = 64, SEAT_DEVICE_BYTES = 64, SEAT_FRONT_BYTES = 16 };

struct seat {
  uint64_t magic;
  /* Constant from the start. */
  char name[SEAT_NAME_BYTES];
  char directory[PATH_MAX]; /* RUNTIME/attached/NAME */
  char program[PATH_MAX];   /* what is run as supervisor and server; looked up anew each time, hence upgrades */
  char origin[PATH_MAX];
  char storage[PATH_MAX];       /* where it is, in words */
  uint64_t storage_limit_bytes; /* of the slots */
  uint32_t storage_inside;      /* 1: in ranges of the origin, which are given later */
  uint64_t storage_start_bytes; /* where they begin, behind a ledger; 0: there is none, nothing is persistent */
  uint32_t full_policy;
  uint32_t may_map; /* tables of device-mapper are to be switched */
  char front[SEAT_FRONT_BYTES];    /* by name */
  char front_why[FRONT_WHY_BYTES]; /* why this one */
  /* Once they are there: the block device that the front shows, and the one that is the volume to everybody. By who
   * attached. */
  char front_device[SEAT_DEVICE_BYTES], device[SEAT_DEVICE_BYTES];
  uint64_t front_number;   /* front_device's dev_t; only if it is not the volume */
  _Atomic uint32_t mapped; /* device is one of device-mapper's (mapped.h): after all these */
  struct front_seat front_seat;
  /* Who lives: each writes its own at its start. */
  _Atomic int supervisor_pid, server_pid;
  _Atomic uint32_t weaknesses; /* of either */
  _Atomic uint32_t servers;    /* started so far; more than 0: the session has been served before */
};

/* A new one, mapped, all zero but the magic; *ret_fd is the caller's. */
int seat_create(struct seat **ret, int *ret_fd, struct umbra_error *err);
/* In a program that inherited the descriptors. -EUCLEAN: they are not what they should be. */
int seat_adopt(struct seat **ret, struct umbra_error *err);

enum seat_tie {
  SEAT_CHILD,
  SEAT_DETACHED, /* in a session of its own, not a child */
  SEAT_BOUND,    /* a child that is killed when the thread that started it ends */
};

/*
 * Runs seat->program as role ("supervise" or "serve") in a new process, SEAT_* under their numbers. fds: where each
 * is in this process, from SEAT_CONFIG on. Returns the pid, 0 if detached.
 */
pid_t seat_run(const struct seat *seat, const int fds[SEAT_FDS_END], const char *role, enum seat_tie tie,
               struct umbra_error *err);

/* seat_run() for one that has them under their numbers. */
pid_t seat_run_again(const struct seat *seat, const char *role, enum seat_tie tie, struct umbra_error *err);

/*
 * What both do against being in the way of the memory that others want to write out through them, and to have no
 * capabilities but those they need (SECURITY.md). Before any thread is started. What could not be done is noted in
 * seat->weaknesses (bits of enum seat_weakness).
 */
enum seat_weakness {
  SEAT_WAITS_FOR_WRITEBACK, /* no PR_SET_IO_FLUSHER: its allocations may wait for writes that go through it */
  SEAT_IN_MEMORY_GROUP,     /* a cgroup v1 with a limit makes it wait in the same way */
  SEAT_NOT_LOCKED,          /* parts of it may be swapped out */
  SEAT_MAY_BE_KILLED,       /* for want of memory */
  SEAT_PRIVILEGED,          /* has capabilities that it does not need; the last */
  SEAT_WEAKNESSES,
};
const char *seat_weakness_text(enum seat_weakness w);
void seat_harden(struct seat *seat);

#endif
