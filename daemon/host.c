/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host.h"

#include "daemon/job.h"
#include "daemon/lines.h"
#include "daemon/request.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WATCH_STATE, WATCH_JOURNAL, WATCH_MOUNTS, WATCH_WRITERS, WATCHES };

struct host_job {
  struct host *host;
  struct host_job *next;
  int64_t call;
  pid_t pid;
  int pidfd;
  struct lines *lines;
  char set_id[40]; /* of the set that it makes; "" */
  sd_event_source *on_exit;
};

struct host {
  const struct directories *directories;
  sd_event *loop;
  struct lines *bus;
  struct host_job *jobs;
  size_t job_count;
  bool stopping, sets_changed, writers_changed;
  sd_event_source *settle, *give_up, *watches[WATCHES];
};

static void tell_bus(struct host *h, json_t *line_taken, int fd) {
  CLEANUP_JSON json_t *line = line_taken;
  int r = h->stopping ? 0 : lines_send(h->bus, line, fd);
  if (r < 0) {
    log_error("telling the bus process: %s", strerrordesc_np(-r));
    (void)sd_event_exit(h->loop, EXIT_FAILURE);
  }
}

static void refuse(struct host *h, int64_t call, int code, enum umbra_reason reason, const char *message) {
  tell_bus(h,
           json_pack("{s:I, s:s, s:i, s:i, s:s}", "call", (json_int_t)call, "event", "failed", "errno", -code,
                     "reason", (int)reason, "message", message),
           -1);
  tell_bus(h, json_pack("{s:I, s:s}", "call", (json_int_t)call, "event", "gone"), -1);
}

/* ---- jobs ---- */

static void job_free(struct host_job *j) {
  struct host *h = j->host;
  for (struct host_job **at = &h->jobs; *at; at = &(*at)->next)
    if (*at == j) {
      *at = j->next;
      h->job_count--;
      break;
    }
  sd_event_source_disable_unref(j->on_exit);
  lines_free(j->lines);
  cleanup_close_fd(&j->pidfd);
  free(j);
  if (h->stopping && !h->jobs)
    (void)sd_event_exit(h->loop, EXIT_SUCCESS);
}

static int on_report(void *context, json_t *line) {
  struct host_job *j = context;
  const char *event = json_get_string_or(line, "event", "");
  if (!json_is_integer(json_object_get(line, "call")))
    return -EBADMSG;
  if (strcmp(event, "new") == 0)
    (void)snprintf(j->set_id, sizeof j->set_id, "%s", json_get_string_or(line, "id", ""));
  CLEANUP_CLOSE int fd = json_get_boolean_or(line, "descriptor", false) ? lines_take_fd(j->lines) : -1;
  if (strcmp(event, "progress") != 0 || lines_idle(j->host->bus))
    tell_bus(j->host, json_incref(line), fd);
  return 0;
}

static void on_job_silent(void *context, const char *why) {
  struct host_job *j = context;
  if (*why == 0)
    return; /* its end comes */
  log_warning("process %d of a request: %s: killed", (int)j->pid, why);
  (void)kill(j->pid, SIGKILL);
}

static int on_job_exit(sd_event_source *source, int fd, uint32_t events, void *context) {
  (void)source;
  (void)fd;
  (void)events;
  struct host_job *j = context;
  int status = 0;
  if (waitpid(j->pid, &status, WNOHANG) != j->pid)
    return 0;
  char how[64] = "";
  if (WIFSIGNALED(status))
    (void)snprintf(how, sizeof how, "was killed by signal %d", WTERMSIG(status));
  else if (WEXITSTATUS(status) != 0)
    (void)snprintf(how, sizeof how, "ended with exit status %d", WEXITSTATUS(status));
  tell_bus(j->host, json_pack("{s:I, s:s, s:s}", "call", (json_int_t)j->call, "event", "gone", "how", how), -1);
  job_free(j);
  return 0;
}

static struct host_job *find_job(struct host *h, int64_t call) {
  struct host_job *j = h->jobs;
  while (j && j->call != call)
    j = j->next;
  return j;
}

/* Takes the host's end of the channel, and the process. */
static int watch_job(struct host_job *j, int channel_fd, struct umbra_error *err) {
  struct lines_options options = {.fd = channel_fd,
                                  .line_bytes_max = LINES_REPORT_BYTES_MAX,
                                  .received = on_report,
                                  .ended = on_job_silent,
                                  .context = j};
  int r = lines_new(&j->lines, j->host->loop, &options, err);
  if (r < 0)
    return r;
  j->pidfd = (int)syscall(SYS_pidfd_open, j->pid, 0);
  r = j->pidfd < 0 ? -errno : sd_event_add_io(j->host->loop, &j->on_exit, j->pidfd, EPOLLIN, on_job_exit, j);
  /* What it said comes before its end. */
  if (r >= 0)
    r = sd_event_source_set_priority(j->on_exit, SD_EVENT_PRIORITY_NORMAL + 1);
  return r < 0 ? error_code(err, r, "watching a process") : 0;
}

static int start_job(struct host *h, const struct request *q, struct umbra_error *err) {
  int ends[2];
  if (h->job_count >= HOST_JOBS_MAX)
    return error_set(err, -EAGAIN, UMBRA_REASON_LIMIT, "more than %d requests at once", (int)HOST_JOBS_MAX);
  struct host_job *j = calloc(1, sizeof *j);
  if (!j || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    free(j);
    return error_errno(err, "starting a process");
  }
  *j = (struct host_job){.host = h, .call = q->call, .pidfd = -1, .next = h->jobs};
  sigset_t all, before;
  sigfillset(&all);
  (void)sigprocmask(SIG_SETMASK, &all, &before);
  pid_t host = getpid();
  j->pid = fork();
  if (j->pid == 0)
    job_run(h->directories, q, ends[1], host);
  int fork_errno = errno;
  (void)sigprocmask(SIG_SETMASK, &before, NULL);
  (void)close(ends[1]);
  if (j->pid < 0) {
    (void)close(ends[0]);
    free(j);
    return error_code(err, -fork_errno, "starting a process");
  }
  h->jobs = j;
  h->job_count++;
  int r = watch_job(j, ends[0], err);
  if (r < 0) {
    (void)kill(j->pid, SIGKILL);
    (void)waitpid(j->pid, NULL, 0);
    job_free(j);
  }
  return r;
}

/* ---- requests ---- */

static int on_request(void *context, json_t *line) {
  struct host *h = context;
  struct request q;
  struct umbra_error err = {0};
  if (request_parse(line, &q, &err) < 0) {
    log_error("from the bus process: %s", err.message);
    return -EBADMSG;
  }
  if (q.verb == REQUEST_PING) {
    tell_bus(h, json_pack("{s:I, s:s}", "call", (json_int_t)q.call, "event", "pong"), -1);
    return 0;
  }
  if (q.to == 0) {
    int r = start_job(h, &q, &err);
    if (r < 0)
      refuse(h, q.call, r, err.reason, err.message);
    return 0;
  }
  struct host_job *j = find_job(h, q.to);
  if (q.verb == REQUEST_CANCEL) {
    if (j)
      (void)kill(j->pid, SIGTERM); /* not yet waited for, so the pid is its own */
  } else if (!j || lines_send(j->lines, line, -1) < 0)
    refuse(h, q.call, -ENOENT, UMBRA_REASON_NOT_FOUND, "the set is gone");
  return 0;
}

/* Everything comes to its end: sets in the making are undone, those that are held released. */
static void on_bus_gone(void *context, const char *why) {
  struct host *h = context;
  if (*why)
    log_error("the bus process: %s", why);
  h->stopping = true;
  for (struct host_job *j = h->jobs; j; j = j->next) {
    (void)kill(j->pid, SIGTERM);
    lines_finish(j->lines);
  }
  if (!h->jobs) {
    (void)sd_event_exit(h->loop, EXIT_SUCCESS);
    return;
  }
  (void)sd_event_source_set_time_relative(h->give_up, HOST_STOP_LIMIT_MS * UINT64_C(1000));
  (void)sd_event_source_set_enabled(h->give_up, SD_EVENT_ONESHOT);
}

/* Their guardians and the next start do the rest. */
static int on_give_up(sd_event_source *source, uint64_t usec, void *context) {
  (void)source;
  (void)usec;
  struct host *h = context;
  log_warning("%zu requests did not come to an end within %d s: killed", h->job_count, HOST_STOP_LIMIT_MS / 1000);
  for (struct host_job *j = h->jobs; j; j = j->next)
    (void)kill(j->pid, SIGKILL);
  return 0;
}

/* ---- what changes on disk ---- */

static int on_settled(sd_event_source *source, uint64_t usec, void *context) {
  (void)source;
  (void)usec;
  struct host *h = context;
  if (h->sets_changed)
    tell_bus(h, json_pack("{s:s, s:s}", "event", "changed", "what", "sets"), -1);
  if (h->writers_changed)
    tell_bus(h, json_pack("{s:s, s:s}", "event", "changed", "what", "writers"), -1);
  h->sets_changed = h->writers_changed = false;
  return 0;
}

/* A set that a job of ours makes is told of by the job, and passes through its states until then. */
static bool is_making(const struct host *h, const char *name) {
  for (const struct host_job *j = h->jobs; j; j = j->next)
    if (j->set_id[0] && strncmp(j->set_id, name, strlen(j->set_id)) == 0)
      return true;
  return false;
}

static int on_changed(sd_event_source *source, const struct inotify_event *event, void *context) {
  struct host *h = context;
  if (event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) {
    if (source == h->watches[WATCH_WRITERS]) {
      h->writers_changed = true;
    } else {
      log_error("a directory of umbra's was removed: ending");
      return sd_event_exit(h->loop, EXIT_FAILURE);
    }
  } else if (source == h->watches[WATCH_WRITERS])
    h->writers_changed = true;
  else {
    /* Of the sets their documents count: not locks, nor what is not yet whole. */
    size_t length = event->len > 0 ? strlen(event->name) : 0;
    bool whole = length > 5 && event->name[0] != '.' && strcmp(event->name + length - 5, ".json") == 0;
    if ((event->mask & IN_Q_OVERFLOW) == 0 && source != h->watches[WATCH_MOUNTS] && !whole)
      return 0;
    if (source == h->watches[WATCH_JOURNAL] && length > 0 && is_making(h, event->name))
      return 0;
    h->sets_changed = true;
  }
  int enabled = SD_EVENT_OFF;
  if (sd_event_source_get_enabled(h->settle, &enabled) == 0 || enabled == SD_EVENT_OFF) {
    (void)sd_event_source_set_time_relative(h->settle, HOST_SETTLE_MS * UINT64_C(1000));
    (void)sd_event_source_set_enabled(h->settle, SD_EVENT_ONESHOT);
  }
  return 0;
}

static int watch(struct host *h) {
  const uint32_t changes = IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
  const struct {
    const char *base, *folder;
    uint32_t more;
  } watched[WATCHES] = {
      [WATCH_STATE] = {h->directories->state_dir, "sets", 0},
      [WATCH_JOURNAL] = {h->directories->runtime_dir, "sets", 0},
      [WATCH_MOUNTS] = {h->directories->runtime_dir, "mounts", 0},
      [WATCH_WRITERS] = {h->directories->config_dir, "writers.d", IN_ATTRIB | IN_CREATE | IN_CLOSE_WRITE},
  };
  for (size_t i = 0; i < WATCHES; i++) {
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", watched[i].base, watched[i].folder) >= sizeof path)
      return -ENAMETOOLONG;
    int r = sd_event_add_inotify(h->loop, &h->watches[i], path, changes | watched[i].more, on_changed, h);
    /* Whose owner has added no writer has no such directory. */
    if (r < 0 && !(i == WATCH_WRITERS && r == -ENOENT)) {
      log_error("watching '%s': %s", path, strerrordesc_np(-r));
      return r;
    }
  }
  return 0;
}

int host_run(const struct directories *directories, int channel_fd) {
  struct host h = {.directories = directories};
  struct umbra_error err = {0};
  struct lines_options options = {.fd = channel_fd,
                                  .line_bytes_max = LINES_REQUEST_BYTES_MAX,
                                  .received = on_request,
                                  .ended = on_bus_gone,
                                  .context = &h};
  (void)prctl(PR_SET_NAME, "umbrad-host");
  int r = sd_event_new(&h.loop);
  if (r >= 0)
    r = lines_new(&h.bus, h.loop, &options, &err);
  if (r >= 0)
    r = sd_event_add_time(h.loop, &h.settle, CLOCK_MONOTONIC, 0, 1000, on_settled, &h);
  if (r >= 0)
    r = sd_event_source_set_enabled(h.settle, SD_EVENT_OFF);
  if (r >= 0)
    r = sd_event_add_time(h.loop, &h.give_up, CLOCK_MONOTONIC, 0, 1000, on_give_up, &h);
  if (r >= 0)
    r = sd_event_source_set_enabled(h.give_up, SD_EVENT_OFF);
  if (r >= 0)
    r = watch(&h);
  if (r < 0)
    log_error("starting: %s", err.message[0] ? err.message : strerrordesc_np(-r));
  int status = r < 0 ? EXIT_FAILURE : sd_event_loop(h.loop);
  while (h.jobs) {
    (void)kill(h.jobs->pid, SIGTERM);
    job_free(h.jobs);
  }
  lines_free(h.bus);
  for (size_t i = 0; i < WATCHES; i++)
    sd_event_source_disable_unref(h.watches[i]);
  sd_event_source_disable_unref(h.settle);
  sd_event_source_disable_unref(h.give_up);
  sd_event_unref(h.loop);
  return status < 0 ? EXIT_FAILURE : status;
}
