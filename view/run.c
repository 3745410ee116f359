/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running a former program (run.h).  The namespace is built before the program's process exists (namespace.c), so
 * that all that can go wrong is known by then; the child only enters it and executes.
 *
 * The program stays in this process's group and session: it is the terminal's foreground job as this process would
 * be, and Ctrl-C, Ctrl-Z and a hangup reach both.  So this process has to stay out of the way: it takes those signals
 * through a descriptor instead of dying from them, passes on what was sent to it alone, and stops when the job stops.
 */
#include "view/run.h"

#include "common/cleanup.h"
#include "common/given.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/strv.h"
#include "view/namespace.h"
#include "view/view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What is passed on. Stopping and going on are job control and need more than passing on. */
static const int passed_signals[] = {SIGHUP,   SIGINT, SIGQUIT,   SIGTERM, SIGUSR1, SIGUSR2, SIGALRM,
                                     SIGWINCH, SIGPWR, SIGVTALRM, SIGPROF, SIGTSTP, SIGCONT};

/* Where the child had got to when it failed, and with which errno. */
struct child_failure {
  enum { CHILD_ENTER, CHILD_EXECUTE } step;
  int code;
};

struct runner {
  const struct view_run *run;
  sigset_t taken, mask; /* signals this process takes by descriptor; the program's mask */
  struct sigaction child_action;
  struct namespace namespace;
  pid_t pid;
  int signal_fd, pid_fd, failure_fd;
};

static void runner_done(struct runner *r) {
  namespace_done(&r->namespace);
  cleanup_close_fd(&r->signal_fd);
  cleanup_close_fd(&r->pid_fd);
  cleanup_close_fd(&r->failure_fd);
}

/* ---- the namespace ---- */

static void close_views(struct namespace_shadow *shadows, size_t count) {
  for (size_t i = 0; i < count; i++)
    cleanup_close_fd(&shadows[i].view_fd);
}

static int open_views(const struct view_run *run, struct namespace_shadow *shadows, struct umbra_error *err) {
  static const struct view_options options = {0};
  for (size_t i = 0; i < run->shadow_count; i++) {
    const struct view_shadow *s = &run->shadows[i];
    shadows[i].view_fd = view_open(s->record, &options, NULL, err);
    if (shadows[i].view_fd < 0)
      return error_prefix(err, shadows[i].view_fd, "shadow copy of '%s'", s->mount_point);
  }
  return 0;
}

static int canonical_paths(const char *const *paths, char ***ret, struct umbra_error *err) {
  for (; paths && *paths; paths++) {
    char *canonical = realpath(*paths, NULL);
    if (!canonical)
      return error_errno(err, "keeping '%s' live", *paths);
    if (strv_append_take(ret, canonical) < 0)
      return error_code(err, -ENOMEM, "keeping '%s' live", *paths);
  }
  return 0;
}

static int make_namespace(struct runner *runner, struct umbra_error *err) {
  const struct view_run *run = runner->run;
  CLEANUP_FREE char *directory = getcwd(NULL, 0);
  if (!directory || directory[0] != '/')
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND,
                     "finding the working directory (has it been removed?); start from another one");
  CLEANUP_STRV char **keep = NULL;
  int r = canonical_paths(run->keep, &keep, err);
  if (r < 0)
    return r;
  CLEANUP_FREE struct namespace_shadow *shadows = calloc(run->shadow_count + 1, sizeof *shadows);
  if (!shadows)
    return error_code(err, -ENOMEM, "making the private namespace");
  for (size_t i = 0; i < run->shadow_count; i++) {
    const struct view_shadow *s = &run->shadows[i];
    const char *kind = json_get_string_or(json_object_get(s->record, "view"), "kind", "");
    shadows[i] = (struct namespace_shadow){.mount_point = s->mount_point,
                                           .fs_root = s->fs_root,
                                           .device = s->device,
                                           .whole_filesystem = strcmp(kind, "image") == 0,
                                           .view_fd = -1,
                                           .paths = s->paths};
  }
  struct namespace_plan plan = {.shadows = shadows,
                                .shadow_count = run->shadow_count,
                                .keep = keep,
                                .working_directory = directory,
                                .warning = run->warning,
                                .userdata = run->userdata};
  r = open_views(run, shadows, err);
  if (r >= 0)
    r = namespace_build(&plan, &runner->namespace, err);
  close_views(shadows, run->shadow_count);
  return r;
}

/* ---- the child ---- */

/* Async-signal-safe: the process may have had threads. Signals stay blocked up to the end, so that none is lost. */
static void __attribute__((noreturn)) be_child(const struct runner *r, pid_t parent, int failure_fd) {
  struct child_failure failure = {.step = CHILD_ENTER};
  if (setns(r->namespace.namespace_fd, CLONE_NEWNS) < 0 || fchdir(r->namespace.root_fd) < 0 || chroot(".") < 0 ||
      fchdir(r->namespace.directory_fd) < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
    goto fail;
  /* The parent may have died before that was asked for. */
  if (getppid() != parent)
    _exit(VIEW_RUN_FAILED);
  failure.step = CHILD_EXECUTE;
  (void)sigaction(SIGCHLD, &r->child_action, NULL);
  (void)sigprocmask(SIG_SETMASK, &r->mask, NULL);
  given_restore();
  (void)execvp(r->run->arguments[0], r->run->arguments);
fail:
  failure.code = -errno;
  (void)!write(failure_fd, &failure, sizeof failure);
  _exit(VIEW_RUN_FAILED);
}

static int start_child(struct runner *r, struct umbra_error *err) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0)
    return error_errno(err, "starting '%s'", r->run->arguments[0]);
  r->failure_fd = ends[0];
  CLEANUP_CLOSE int failure_fd = ends[1];
  pid_t parent = getpid();
  r->pid = fork();
  if (r->pid < 0)
    return error_errno(err, "starting '%s'", r->run->arguments[0]);
  if (r->pid == 0)
    be_child(r, parent, failure_fd);
  namespace_done(&r->namespace);
  r->pid_fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
  if (r->pid_fd < 0) {
    int result = error_errno(err, "watching '%s'", r->run->arguments[0]);
    (void)kill(r->pid, SIGKILL);
    (void)waitpid(r->pid, NULL, 0);
    return result;
  }
  return 0;
}

/* The pipe has closed by itself if the program runs. Returns 0 then, else the exit status or a negative errno. */
static int child_result(struct runner *r, struct umbra_error *err) {
  struct child_failure failure;
  const char *program = r->run->arguments[0];
  if (fd_read_all(r->failure_fd, &failure, sizeof failure) < 0)
    return 0;
  if (failure.step == CHILD_ENTER)
    return error_code(err, failure.code, "entering the private namespace");
  (void)error_code(err, failure.code, "running '%s'", program);
  return failure.code == -ENOENT ? VIEW_RUN_NOT_FOUND : VIEW_RUN_NOT_EXECUTABLE;
}

/* ---- signals ---- */

/* Takes what would otherwise end or stop this process. What is ignored (nohup) is left ignored, in the program as
 * well. */
static int take_signals(struct runner *r, struct umbra_error *err) {
  sigset_t before;
  sigemptyset(&r->taken);
  sigaddset(&r->taken, SIGCHLD);
  for (size_t i = 0; i < sizeof passed_signals / sizeof passed_signals[0]; i++) {
    struct sigaction action;
    if (sigaction(passed_signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
      sigaddset(&r->taken, passed_signals[i]);
  }
  (void)pthread_sigmask(SIG_BLOCK, &r->taken, &before);
  r->mask = r->run->signal_mask ? *r->run->signal_mask : before;
  /* Ignored, it would make the kernel throw the exit status away. */
  struct sigaction child_default = {.sa_handler = SIG_DFL};
  (void)sigaction(SIGCHLD, &child_default, &r->child_action);
  r->signal_fd = signalfd(-1, &r->taken, SFD_CLOEXEC | SFD_NONBLOCK);
  return r->signal_fd < 0 ? error_errno(err, "watching signals") : 0;
}

static void give_signals_back(const struct runner *r, const sigset_t *before) {
  (void)sigaction(SIGCHLD, &r->child_action, NULL);
  (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* True if this process is in the foreground of a terminal, where a shell can wake it again. */
static bool is_foreground_job(void) {
  CLEANUP_CLOSE int terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
  return terminal >= 0 && tcgetpgrp(terminal) == getpgrp();
}

/* Stops this process as if it had never caught the signal. Returns when it goes on. */
static void stop_self(int number) {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  (void)raise(number);
  (void)pthread_sigmask(SIG_UNBLOCK, &one, NULL);
  (void)pthread_sigmask(SIG_BLOCK, &one, NULL);
}

static void pass_on(const struct runner *r, int number) {
  (void)syscall(SYS_pidfd_send_signal, r->pid_fd, number, NULL, 0);
}

/*
 * Lets a stopped program go on, unless it has already: a shell's fg sends SIGCONT to the whole group, and the program
 * may have gone on, and even stopped anew, before this process gets its turn.  Its old stop was taken note of by
 * follow_stop().
 */
static void wake_up(const struct runner *r) {
  siginfo_t went_on = {0}, stopped_anew = {0};
  if (waitid(P_PID, (id_t)r->pid, &went_on, WCONTINUED | WNOHANG) == 0 && went_on.si_pid != 0)
    return;
  if (waitid(P_PID, (id_t)r->pid, &stopped_anew, WSTOPPED | WNOWAIT | WNOHANG) == 0 && stopped_anew.si_pid != 0)
    return;
  pass_on(r, SIGCONT);
}

/* Stops with the program, so that a shell sees the whole job stopped, and wakes it up again afterwards. */
static void follow_stop(const struct runner *r) {
  siginfo_t info = {0};
  if (waitid(P_PID, (id_t)r->pid, &info, WSTOPPED | WNOHANG) < 0 || info.si_pid == 0)
    return;
  /* One that was stopped by hand (SIGSTOP) is woken by hand, too; and without a job control shell nobody would wake
   * us. */
  if (info.si_status == SIGSTOP || !is_foreground_job())
    return;
  stop_self(info.si_status);
  wake_up(r);
}

/* The terminal's signals (SI_KERNEL) went to the whole group. */
static void handle_signals(const struct runner *r) {
  struct signalfd_siginfo info;
  while (read(r->signal_fd, &info, sizeof info) == sizeof info) {
    int number = (int)info.ssi_signo;
    if (number == SIGCHLD) {
      follow_stop(r);
      continue;
    }
    if (number == SIGCONT) {
      wake_up(r);
      continue;
    }
    /* Of those only the program's own stop counts (follow_stop): if this process stopped first, the shell would
     * prompt while the program may still be reading the terminal. */
    if (info.ssi_code == SI_KERNEL)
      continue;
    pass_on(r, number);
    if (number == SIGTSTP)
      stop_self(number);
  }
}

/* Told to stop while the namespace was being built: then the program is not started at all. */
static int refuse_if_told(const struct runner *r, struct umbra_error *err) {
  static const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
  sigset_t pending;
  (void)sigpending(&pending);
  for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++)
    if (sigismember(&pending, ending[i]) && sigismember(&r->taken, ending[i]))
      return error_set(err, -ECANCELED, UMBRA_REASON_CANCELLED, "stopped by signal %d before '%s' was started",
                       ending[i], r->run->arguments[0]);
  return 0;
}

/* ---- the whole ---- */

static int wait_for_end(const struct runner *r) {
  struct pollfd polled[] = {{.fd = r->pid_fd, .events = POLLIN}, {.fd = r->signal_fd, .events = POLLIN}};
  while (!(polled[0].revents & POLLIN)) {
    if (poll(polled, 2, -1) < 0 && errno != EINTR)
      break;
    if (polled[1].revents & POLLIN)
      handle_signals(r);
  }
  int status = 0;
  while (waitpid(r->pid, &status, 0) < 0)
    if (errno != EINTR)
      return -errno;
  return WIFSIGNALED(status) ? VIEW_RUN_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_taken(struct runner *r, struct umbra_error *err) {
  int result = make_namespace(r, err);
  if (result < 0)
    return result;
  result = refuse_if_told(r, err);
  if (result < 0)
    return result;
  result = start_child(r, err);
  if (result < 0)
    return result;
  int status = wait_for_end(r);
  if (status < 0)
    return error_code(err, status, "waiting for '%s'", r->run->arguments[0]);
  /* Only now: the pipe says nothing before the program has been loaded, which may take its time. */
  int failed = child_result(r, err);
  return failed != 0 ? failed : status;
}

int view_run(const struct view_run *run, struct umbra_error *err) {
  CLEANUP(runner_done)
  struct runner r = {.run = run, .namespace = {-1, -1, -1}, .signal_fd = -1, .pid_fd = -1, .failure_fd = -1};
  error_clear(err);
  if (!run->arguments || !run->arguments[0])
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "running nothing: a program must be named");
  sigset_t before;
  (void)pthread_sigmask(SIG_SETMASK, NULL, &before);
  int result = take_signals(&r, err);
  if (result >= 0)
    result = run_taken(&r, err);
  give_signals_back(&r, &before);
  return result;
}
