/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/service.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "umbra/writer.h"
#include "writers/apart.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

bool service_is_called(pid_t pid, const char *const *names) {
  char path[64], name[32] = "";
  (void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
  CLEANUP_FCLOSE FILE *file = fopen(path, "re");
  if (!file || !fgets(name, sizeof name, file))
    return false;
  name[strcspn(name, "\n")] = '\0';
  for (; *names; names++)
    if (strcmp(name, *names) == 0)
      return true;
  return false;
}

pid_t service_process_in(const char *directory, const char *const *names) {
  struct stat wanted, its;
  CLEANUP_CLOSEDIR DIR *proc = stat(directory, &wanted) == 0 ? opendir("/proc") : NULL;
  for (const struct dirent *e; proc && (e = readdir(proc));) {
    char path[64];
    if (!isdigit((unsigned char)e->d_name[0]))
      continue;
    pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
    (void)snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
    if (stat(path, &its) == 0 && its.st_ino == wanted.st_ino && its.st_dev == wanted.st_dev &&
        service_is_called(pid, names))
      return pid;
  }
  return 0;
}

static bool has_our_root(pid_t pid) {
  char path[64];
  struct stat its, ours;
  (void)snprintf(path, sizeof path, "/proc/%d/root", (int)pid);
  return stat(path, &its) == 0 && stat("/", &ours) == 0 && its.st_ino == ours.st_ino && its.st_dev == ours.st_dev;
}

bool service_is_here(pid_t pid) {
  char link[64], path[PATH_MAX];
  struct stat its, ours;
  if (!has_our_root(pid))
    return false;
  (void)snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0)
    return false;
  path[length] = '\0';
  return stat(link, &its) == 0 && stat(path, &ours) == 0 && its.st_ino == ours.st_ino && its.st_dev == ours.st_dev;
}

/* A link counts as one that all may write: that is its mode. */
static bool only_root_writes(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0 && st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

bool service_is_roots(const char *path) {
  CLEANUP_FREE char *part = path[0] == '/' ? strdup(path) : NULL;
  for (char *slash; part && only_root_writes(part); *slash = '\0') {
    slash = strrchr(part, '/');
    if (slash == part)
      return only_root_writes("/");
  }
  return false;
}

enum { ORDINARY_USER_MIN = 1000, ORDINARY_USER_MAX = 60000 /* UID_MIN, UID_MAX of login.defs(5) */ };

static bool is_ordinary(uid_t user) { return user >= ORDINARY_USER_MIN && user <= ORDINARY_USER_MAX; }

/* By the user who started it. */
static bool is_of_ordinary_user(pid_t pid) {
  char path[64], line[256];
  unsigned user = 0;
  (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  CLEANUP_FCLOSE FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "Uid: %u", &user) == 1)
      break;
  return is_ordinary(user);
}

struct walk {
  const char *const *names;
  int (*visit)(pid_t pid, void *userdata);
  void *userdata;
  int count;
  int64_t deadline_ns; /* 0: of system users; else of ordinary ones, who have as long */
};

/* True if no more is visited: those of ordinary users keep nobody else out. */
static bool is_enough(const struct walk *w) {
  if (w->deadline_ns == 0 || (clock_monotonic_ns() < w->deadline_ns && w->count < SERVICES_MAX))
    return false;
  log_warning("ordinary users run too many or too slow servers called '%s': not all of theirs take part",
              w->names[0]);
  return true;
}

static int walk(struct walk *w, struct umbra_error *err) {
  CLEANUP_CLOSEDIR DIR *proc = opendir("/proc");
  if (!proc)
    return error_errno(err, "looking for servers");
  for (const struct dirent *e; (e = readdir(proc));) {
    pid_t pid = isdigit((unsigned char)e->d_name[0]) ? (pid_t)strtol(e->d_name, NULL, 10) : 0;
    if (pid == 0 || !service_is_called(pid, w->names) || is_of_ordinary_user(pid) != (w->deadline_ns != 0) ||
        !service_is_here(pid))
      continue;
    if (is_enough(w))
      return 0;
    int r = w->visit(pid, w->userdata);
    if (r < 0)
      return error_code(err, r, "describing the server of process %d", (int)pid);
    w->count += r;
    if (w->count > SERVICES_MAX)
      return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "more than %d servers are called '%s'", SERVICES_MAX,
                       w->names[0]);
  }
  return 0;
}

int service_each(const char *const *names, int (*visit)(pid_t pid, void *userdata), void *userdata,
                 struct umbra_error *err) {
  struct walk w = {names, visit, userdata, 0, 0};
  int r = walk(&w, err);
  if (r < 0)
    return r;
  w.deadline_ns = clock_monotonic_ns() + ORDINARY_USERS_S * NS_PER_S;
  apart_set_deadline(w.deadline_ns);
  r = walk(&w, err);
  apart_set_deadline(0);
  return r;
}

void service_name(uid_t user, const char *where, char *ret, size_t ret_bytes) {
  const struct passwd *p = getpwuid(user);
  char number[16], kept[PATH_MAX], *end = kept;
  (void)snprintf(number, sizeof number, "%u", (unsigned)user);
  for (const char *c = where; *c && end < kept + sizeof kept - 1; c++)
    if (isalnum((unsigned char)*c) || strchr("._-/@:", *c))
      *end++ = *c;
  *end = '\0';
  int used = snprintf(ret, ret_bytes, "%.*s@", (int)(ret_bytes / 2) - 1, p ? p->pw_name : number);
  size_t room = ret_bytes - (size_t)used - 1, length = (size_t)(end - kept), tail = length < room ? length : room;
  memcpy(ret + used, end - tail, tail + 1);
}

int service_failure_counts(const char *writer, const char *instance, uid_t user, const struct umbra_error *failure) {
  if (!is_ordinary(user))
    return 1;
  log_warning("%s: %s is left alone: %s", writer, instance, failure->message);
  return 0;
}

char *service_unit(pid_t pid) {
  char path[64], line[PATH_MAX];
  (void)snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
  CLEANUP_FCLOSE FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = '\0';
    /* Units of users' own managers may be called like others of the system's. */
    const char *unit = strstr(line, ":/system.slice/") ? strrchr(line, '/') : NULL;
    const char *end = unit ? strstr(unit, ".service") : NULL;
    if (end && end[strlen(".service")] == '\0')
      return strdup(unit + 1);
  }
  return NULL;
}

enum { NOT_THERE = 127, NOT_ALLOWED = 126 };

/* Its output goes to output_fd; -1: to /dev/null. The process, or a negative errno. */
static pid_t start_program(uid_t user, gid_t group, const char *const *arguments, int output_fd) {
  pid_t pid = fork();
  if (pid != 0)
    return pid < 0 ? -errno : pid;
  int null = open("/dev/null", O_RDWR);
  if (null < 0 || dup2(null, 0) < 0 || dup2(output_fd < 0 ? null : output_fd, 1) < 0 || dup2(null, 2) < 0 ||
      (user != (uid_t)-1 && geteuid() == 0 && umbra_writer_become(user, group) < 0))
    _exit(NOT_ALLOWED);
  (void)execvp(arguments[0], (char *const *)arguments);
  _exit(NOT_THERE);
}

static int end_program(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR)
      return -errno;
  if (!WIFEXITED(status))
    return -EIO;
  return WEXITSTATUS(status) == NOT_THERE ? -ENOENT : WEXITSTATUS(status);
}

int service_run(uid_t user, gid_t group, const char *const *arguments) {
  pid_t pid = start_program(user, group, arguments, -1);
  return pid < 0 ? pid : end_program(pid);
}

bool service_is_managed(void) { return access("/run/systemd/system", F_OK) == 0; }

static bool tell_systemd(const char *verb, const char *unit) {
  return service_is_managed() &&
         service_run((uid_t)-1, (gid_t)-1, (const char *const[]){"systemctl", verb, "--", unit, NULL}) == 0;
}

int service_property(const char *unit, const char *property, char **ret) {
  int ends[2];
  size_t length;
  if (pipe2(ends, O_CLOEXEC) < 0)
    return -errno;
  CLEANUP_CLOSE int from = ends[0], to = ends[1];
  pid_t pid =
      start_program((uid_t)-1, (gid_t)-1,
                    (const char *const[]){"systemctl", "show", "-p", property, "--value", "--", unit, NULL}, to);
  if (pid < 0)
    return pid;
  (void)close(take_fd(&to));
  CLEANUP_FREE char *text = NULL;
  int r = fd_read_to_end(from, SERVICE_PROPERTY_BYTES_MAX, &text, &length);
  /* One that says more than it may is stuck in its pipe. */
  (void)close(take_fd(&from));
  int status = end_program(pid);
  if (r < 0 || status != 0)
    return r < 0 ? r : -EIO;
  text[strcspn(text, "\n")] = '\0';
  *ret = take_pointer(text);
  return 0;
}

bool service_stop(const char *unit) { return tell_systemd("stop", unit); }
bool service_start(const char *unit) { return tell_systemd("start", unit); }

bool service_user_reaches(uid_t user, gid_t group, const char *path) {
  bool reaches = setegid(group) == 0 && seteuid(user) == 0 && faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0;
  if (seteuid(0) < 0 || setegid(0) < 0)
    abort();
  return reaches;
}
