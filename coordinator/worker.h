/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread for each shadow copy of a set: it runs the provider's operations, one at a time, so that the
 * coordinator's own thread never blocks in a provider.  The main thread starts an operation and hears of its end
 * through an eventfd.
 */
#ifndef COORDINATOR_WORKER_H
#define COORDINATOR_WORKER_H

#include "common/error.h"
#include "providers/provider.h"

#include <pthread.h>
#include <stdatomic.h>

enum worker_operation {
  WORKER_IDLE,
  WORKER_PREPARE,
  WORKER_PRECOMMIT,
  WORKER_COMMIT,
  WORKER_POSTCOMMIT,
  WORKER_SEAL,
  WORKER_REMOVE,
  WORKER_QUIT,
};

struct worker {
  struct shadow *shadow;
  const struct provider *provider;
  int done_event; /* eventfd of the set, shared by its workers; not owned */
  pthread_t thread;
  bool started, resting; /* resting: without its thread, with what the provider keeps in memory */

  pthread_mutex_t lock; /* protects operation and busy; rank: taken alone */
  pthread_cond_t changed;
  enum worker_operation operation;
  bool busy;

  /* Of the last operation; read them only when it is not busy. */
  int result;
  struct umbra_error error;

  /* For progress; written by the thread, read by anybody. phase points to static text. */
  _Atomic(const char *) phase;
  _Atomic uint64_t done_bytes, total_bytes;
  _Atomic int64_t moved_ns; /* when progress was last made (monotonic) */
};

int worker_start(struct worker *w, struct shadow *shadow, const struct provider *provider, int done_event,
                 struct umbra_error *err);

/* Starts an operation; the worker must be idle. Operations a provider lacks end at once with 0. Allocates nothing. */
void worker_run(struct worker *w, enum worker_operation operation);
bool worker_busy(struct worker *w);

/*
 * A set that is ready needs no thread, and the program that has it may not want one: ends the idle worker's, until
 * worker_resume() (which does nothing if there is one). No operation may be started in between.
 */
void worker_rest(struct worker *w);
int worker_resume(struct worker *w, struct umbra_error *err);

/* Waits for the operation under way, ends the thread and frees what the provider keeps in memory. */
void worker_stop(struct worker *w);

#endif
