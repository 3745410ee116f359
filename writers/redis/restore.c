/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/redis/restore.h"

#include "common/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* The server that has this as its working directory, which is where its files are; 0: none. */
static pid_t server_in(const char *directory) {
  struct stat wanted, its;
  CLEANUP_CLOSEDIR DIR *proc = stat(directory, &wanted) == 0 ? opendir("/proc") : NULL;
  for (const struct dirent *e; proc && (e = readdir(proc));) {
    char path[64], name[32] = "";
    if (!isdigit((unsigned char)e->d_name[0]))
      continue;
    (void)snprintf(path, sizeof path, "/proc/%.32s/cwd", e->d_name);
    if (stat(path, &its) < 0 || its.st_ino != wanted.st_ino || its.st_dev != wanted.st_dev)
      continue;
    (void)snprintf(path, sizeof path, "/proc/%.32s/comm", e->d_name);
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");
    if (file && fgets(name, sizeof name, file) &&
        (strcmp(name, "redis-server\n") == 0 || strcmp(name, "valkey-server\n") == 0))
      return (pid_t)strtol(e->d_name, NULL, 10);
  }
  return 0;
}

/* Runs a program, its output thrown away, as the user (NULL: as we are). Its exit status; -ENOENT: not installed. */
static int run(const struct instance *as, const char *const *arguments) {
  enum { NOT_THERE = 127, NOT_ALLOWED = 126 };
  pid_t pid = fork();
  if (pid < 0)
    return -errno;
  if (pid == 0) {
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 ||
        (as && geteuid() == 0 && umbra_writer_become(as->user, as->group) < 0))
      _exit(NOT_ALLOWED);
    (void)execvp(arguments[0], (char *const *)arguments);
    _exit(NOT_THERE);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR)
      return -errno;
  if (!WIFEXITED(status))
    return -EIO;
  return WEXITSTATUS(status) == NOT_THERE ? -ENOENT : WEXITSTATUS(status);
}

static bool has_systemd(void) { return access("/run/systemd/system", F_OK) == 0; }

int restore_begin(struct umbra_writer_session *s, const struct instance *i) {
  CLEANUP_FREE char *directory = umbra_writer_restore_path(s, i->directory);
  if (!directory)
    return umbra_writer_fail(s, -ENOMEM, "finding where the files come back to");
  pid_t pid = server_in(directory);
  if (pid == 0)
    return 0;
  const char *const stop[] = {"systemctl", "stop", "--", i->unit, NULL};
  if (i->unit && has_systemd() && run(NULL, stop) == 0 && server_in(directory) == 0)
    return 0;
  return umbra_writer_fail(s, -EBUSY, "process %d serves '%s': end it first", (int)pid, directory);
}

/* Nobody but root may be able to go where a new place lies. */
static bool owner_reaches(const struct instance *i, const char *path) {
  bool reaches = setegid(i->group) == 0 && seteuid(i->user) == 0 && faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0;
  if (seteuid(0) < 0 || setegid(0) < 0)
    abort();
  return reaches;
}

static int check(struct umbra_writer_session *s, const struct instance *i, const char *kind, const char *path) {
  char tool[32] = "";
  static const char *const families[] = {"redis", "valkey"};
  if (access(path, F_OK) < 0)
    return 0;
  const struct instance *as = geteuid() == 0 && !owner_reaches(i, path) ? NULL : i;
  int status = -ENOENT;
  for (size_t k = 0; k < sizeof families / sizeof *families && status == -ENOENT; k++) {
    (void)snprintf(tool, sizeof tool, "%s-check-%s", families[k], kind);
    status = run(as, (const char *const[]){tool, path, NULL});
  }
  if (status == -ENOENT) {
    umbra_writer_answer(s, kind, "not checked: no redis-check-* is installed");
    return 0;
  }
  umbra_writer_answer(s, kind, status == 0 ? "ok" : "damaged");
  return status == 0 ? 0 : umbra_writer_fail(s, -EBADMSG, "'%s' is damaged: see %s %s", path, tool, path);
}

int restore_end(struct umbra_writer_session *s, const struct instance *i) {
  CLEANUP_FREE char *directory = umbra_writer_restore_path(s, i->directory);
  char manifest[PATH_MAX], rdb[PATH_MAX], single[PATH_MAX];
  if (!directory)
    return umbra_writer_fail(s, -ENOMEM, "finding where the files come back to");
  const char *append = i->append_file ? i->append_file : "";
  (void)snprintf(manifest, sizeof manifest, "%s/%s/%s.manifest", directory,
                 i->append_directory ? i->append_directory : "", append);
  (void)snprintf(single, sizeof single, "%s/%s", directory, append);
  (void)snprintf(rdb, sizeof rdb, "%s/%s", directory, i->rdb ? i->rdb : "");
  const char *log = i->append_directory ? manifest : single;
  /* A server that appends loads its log, whatever else there is. */
  if (!i->appends && i->append_file && access(log, F_OK) == 0)
    return umbra_writer_fail(
        s, -EEXIST, "'%s' is not of the backup, and would be loaded in place of '%s': move it away", log, rdb);
  int r = i->appends ? check(s, i, "aof", log) : 0;
  if (r == 0 && i->rdb)
    r = check(s, i, "rdb", rdb);
  const char *const start[] = {"systemctl", "start", "--", i->unit, NULL};
  if (r == 0 && i->unit && has_systemd() && !umbra_writer_restores_elsewhere(s) && run(NULL, start) != 0)
    r = umbra_writer_fail(s, -EIO, "'%s' does not start again: see its log", i->unit);
  return r;
}
