/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coordinator/worker.h"

#include "common/clock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

static int perform(struct worker *w, enum worker_operation operation) {
  const struct provider *p = w->provider;
  switch (operation) {
  case WORKER_PREPARE:
    return p->prepare(w->shadow, &w->error);
  case WORKER_PRECOMMIT:
    return p->precommit ? p->precommit(w->shadow, &w->error) : 0;
  case WORKER_COMMIT:
    return p->commit(w->shadow, &w->error);
  case WORKER_POSTCOMMIT:
    return p->postcommit ? p->postcommit(w->shadow, &w->error) : 0;
  case WORKER_SEAL:
    return p->seal(w->shadow, &w->error);
  case WORKER_REMOVE:
    if (p->release_state)
      p->release_state(w->shadow);
    w->shadow->state = NULL;
    return p->remove(w->shadow->record, &w->error);
  case WORKER_IDLE:
  case WORKER_QUIT:
    break;
  }
  return 0;
}

static void *worker_main(void *context) {
  struct worker *w = context;
  for (;;) {
    pthread_mutex_lock(&w->lock);
    while (!w->busy)
      pthread_cond_wait(&w->changed, &w->lock);
    enum worker_operation operation = w->operation;
    pthread_mutex_unlock(&w->lock);
    if (operation == WORKER_QUIT)
      return NULL;

    error_clear(&w->error);
    int r = perform(w, operation);
    if (r < 0)
      error_prefix(&w->error, r, "volume '%s', provider %s", w->shadow->volume->mount_point, w->provider->name);

    pthread_mutex_lock(&w->lock);
    w->result = r;
    w->busy = false;
    pthread_mutex_unlock(&w->lock);
    (void)eventfd_write(w->done_event, 1);
  }
}

static int start_thread(struct worker *w, struct umbra_error *err) {
  /* Signals are the main thread's business. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int r = pthread_create(&w->thread, NULL, worker_main, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (r != 0)
    return error_code(err, -r, "starting a thread for volume '%s'", w->shadow->volume->mount_point);
  w->started = true;
  w->resting = false;
  return 0;
}

int worker_start(struct worker *w, struct shadow *shadow, const struct provider *provider, int done_event,
                 struct umbra_error *err) {
  *w = (struct worker){.shadow = shadow, .provider = provider, .done_event = done_event};
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->changed, NULL);
  atomic_store(&w->moved_ns, clock_monotonic_ns());
  return start_thread(w, err);
}

static void end_thread(struct worker *w) {
  worker_run(w, WORKER_QUIT);
  pthread_join(w->thread, NULL);
  w->busy = false;
}

void worker_rest(struct worker *w) {
  if (!w->started || w->resting)
    return;
  end_thread(w);
  w->resting = true;
}

int worker_resume(struct worker *w, struct umbra_error *err) {
  return w->started && w->resting ? start_thread(w, err) : 0;
}

void worker_run(struct worker *w, enum worker_operation operation) {
  pthread_mutex_lock(&w->lock);
  w->operation = operation;
  w->busy = true;
  w->result = 0;
  atomic_store(&w->moved_ns, clock_monotonic_ns());
  pthread_cond_signal(&w->changed);
  pthread_mutex_unlock(&w->lock);
}

bool worker_busy(struct worker *w) {
  pthread_mutex_lock(&w->lock);
  bool busy = w->busy;
  pthread_mutex_unlock(&w->lock);
  return busy;
}

void worker_stop(struct worker *w) {
  if (!w->started)
    return;
  atomic_store(&w->shadow->cancelled, true);
  pthread_mutex_lock(&w->lock);
  while (w->busy) {
    pthread_mutex_unlock(&w->lock);
    struct timespec pause = {.tv_nsec = 1000000};
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&w->lock);
  }
  pthread_mutex_unlock(&w->lock);
  if (!w->resting)
    end_thread(w);
  w->started = false;
  if (w->provider->release_state && w->shadow->state)
    w->provider->release_state(w->shadow);
  w->shadow->state = NULL;
  pthread_cond_destroy(&w->changed);
  pthread_mutex_destroy(&w->lock);
}
