/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbrad: umbra on the system bus. Two processes: the host, which stays root, and the one on the bus, which gives it
 * up. */
#include "daemon/host.h"
#include "daemon/job.h"
#include "daemon/service.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/given.h"
#include "common/log.h"

#include <cap-ng.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPTION_USER = 1, OPTION_GROUP, OPTION_STATE, OPTION_RUNTIME, OPTION_CONFIG, OPTION_VERSION, OPTION_HELP };

static const struct option options[] = {
    {"user", required_argument, NULL, OPTION_USER},
    {"group", required_argument, NULL, OPTION_GROUP},
    {"state-dir", required_argument, NULL, OPTION_STATE},
    {"runtime-dir", required_argument, NULL, OPTION_RUNTIME},
    {"config-dir", required_argument, NULL, OPTION_CONFIG},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static const char help[] = "usage: umbrad [OPTION…]\n"
                           "Shadow copies for programs on the system bus: org.umbra.Umbra1.\n\n"
                           "  --user USER        what the process on the bus runs as (umbra, else nobody)\n"
                           "  --group GROUP      whose members may do everything (umbra)\n"
                           "  --state-dir D      /var/lib/umbra\n"
                           "  --runtime-dir D    /run/umbra\n"
                           "  --config-dir D     /etc/umbra\n"
                           "  --version\n";

/* An absolute path of what was asked for, of the environment's, or of the default. The caller's; NULL: out of memory.
 */
static char *place(const char *asked, const char *variable, const char *fallback) {
  const char *value = asked ? asked : getenv(variable);
  char *path = NULL, here[PATH_MAX];
  if (!value || !*value)
    value = fallback;
  if (value[0] == '/')
    return strdup(value);
  return getcwd(here, sizeof here) && asprintf(&path, "%s/%s", here, value) >= 0 ? path : NULL;
}

static const struct passwd *find_user(const char *asked) {
  const struct passwd *user = getpwnam(asked ? asked : "umbra");
  if (!user && !asked)
    user = getpwnam("nobody");
  if (!user || user->pw_uid == 0) {
    log_error("--user %s: %s", asked ? asked : "umbra",
              user ? "the process on the bus does not run as root" : "no such user");
    return NULL;
  }
  return user;
}

/* For good: no user, no group, no capability, and none by what is executed. */
static int give_up_root(const struct passwd *user) {
  capng_clear(CAPNG_SELECT_BOTH);
  int r = capng_change_id((int)user->pw_uid, (int)user->pw_gid, CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING);
  if (r != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || getuid() == 0 || setuid(0) == 0) {
    log_error("giving up root for user '%s' failed (%d)", user->pw_name, r);
    return -EPERM;
  }
  return 0;
}

static int run(const struct directories *directories, const struct passwd *user, const char *group) {
  struct umbra_error err = {0};
  int ends[2];
  sigset_t stops;
  if (job_recover_first(directories, &err) < 0) {
    log_error("starting: %s", err.message);
    return EXIT_FAILURE;
  }
  sigemptyset(&stops);
  sigaddset(&stops, SIGTERM);
  sigaddset(&stops, SIGINT);
  (void)sigprocmask(SIG_BLOCK, &stops, NULL);
  (void)signal(SIGPIPE, SIG_IGN);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    log_error("starting: %s", strerrordesc_np(errno));
    return EXIT_FAILURE;
  }
  pid_t host = fork();
  if (host < 0) {
    log_error("starting: %s", strerrordesc_np(errno));
    return EXIT_FAILURE;
  }
  /* Stop signals stay blocked in the host: its end is that of the channel. */
  if (host == 0) {
    (void)close(ends[0]);
    _exit(host_run(directories, ends[1]));
  }
  (void)close(ends[1]);
  if (give_up_root(user) < 0) {
    (void)close(ends[0]);
    return EXIT_FAILURE;
  }
  return service_run(directories, group, ends[0], host);
}

int main(int argc, char **argv) {
  const char *asked[OPTION_HELP + 1] = {NULL};
  int option;
  if (fd_occupy_standard() < 0)
    return EXIT_FAILURE;
  given_change();
  /* Modes are what is asked for, whatever the unit's mask: what jobs make is the same as what `umbra` makes. */
  (void)umask(022);
  while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
    if (option == OPTION_HELP || option == OPTION_VERSION) {
      fputs(option == OPTION_HELP ? help : "umbrad " UMBRA_VERSION "\n", stdout);
      return EXIT_SUCCESS;
    }
    if (option == '?')
      return 2;
    asked[option] = optarg;
  }
  if (optind < argc) {
    log_error("umbrad takes no arguments (see: umbrad --help)");
    return 2;
  }
  if (geteuid() != 0) {
    log_error("umbrad is started as root, and gives that up where it can");
    return EXIT_FAILURE;
  }
  struct directories directories = {.state_dir = place(asked[OPTION_STATE], "UMBRA_STATE_DIR", "/var/lib/umbra"),
                                    .runtime_dir = place(asked[OPTION_RUNTIME], "UMBRA_RUNTIME_DIR", "/run/umbra"),
                                    .config_dir = place(asked[OPTION_CONFIG], "UMBRA_CONFIG_DIR", "/etc/umbra")};
  const struct passwd *user = find_user(asked[OPTION_USER]);
  int status = user && directories.state_dir && directories.runtime_dir && directories.config_dir
                   ? run(&directories, user, asked[OPTION_GROUP] ? asked[OPTION_GROUP] : "umbra")
                   : EXIT_FAILURE;
  free(directories.state_dir);
  free(directories.runtime_dir);
  free(directories.config_dir);
  return status;
}
