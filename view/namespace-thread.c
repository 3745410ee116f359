/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "view/namespace-thread.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

struct errand {
  namespace_work work;
  void *context;
  struct umbra_error *err;
  int result;
};

/* The root of a chroot is no mount point and cannot be named to mount(2): go up to the namespace's root and come
 * back. */
static int cut_off_from_chroot(void) {
  CLEANUP_CLOSE int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  CLEANUP_CLOSE int namespace_fd = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (root_fd < 0 || namespace_fd < 0 || setns(namespace_fd, CLONE_NEWNS) < 0 ||
      mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0 || fchdir(root_fd) < 0 || chroot(".") < 0)
    return -errno;
  return 0;
}

static int cut_off(void) {
  if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) == 0)
    return 0;
  return errno == EINVAL ? cut_off_from_chroot() : -errno;
}

static void *run_errand(void *argument) {
  struct errand *e = argument;
  int r;
  if (unshare(CLONE_NEWNS) < 0)
    e->result = error_errno(e->err, "making a private mount namespace");
  else if ((r = cut_off()) < 0)
    e->result = error_code(e->err, r, "cutting the private mount namespace off from the host's");
  else
    e->result = e->work(e->context, e->err);
  return NULL;
}

int namespace_thread_run(namespace_work work, void *context, struct umbra_error *err) {
  struct errand errand = {.work = work, .context = context, .err = err};
  sigset_t all, before;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  int r = pthread_create(&thread, NULL, run_errand, &errand);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (r != 0)
    return error_code(err, -r, "starting a thread");
  (void)pthread_join(thread, NULL);
  return errand.result;
}
