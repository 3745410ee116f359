/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/backup-target.h"

#include "cli/progress.h"
#include "common/strv.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>

static bool is_directory(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int backup_target_open(const char *text, bool need, struct backup_target *ret, struct umbra_error *err) {
  const char *at = is_directory(text) ? NULL : strrchr(text, '@');
  CLEANUP_FREE char *path = at ? strndup(text, (size_t)(at - text)) : strdup(text);
  if (!path)
    return error_code(err, -ENOMEM, "opening '%s'", text);
  struct backup_target t = {0};
  int r = set_directory_open(path, false, &t.directory, err);
  if (r < 0)
    return r;
  if (at || need)
    r = set_directory_find(&t.directory, at ? at + 1 : NULL, &t.backup, err);
  if (r < 0)
    set_directory_close(&t.directory);
  else
    *ret = t;
  return r;
}

void backup_target_close(struct backup_target *t) { set_directory_close(&t->directory); }

static void on_progress(void *userdata, const char *phase, uint64_t done_bytes, uint64_t total_bytes) {
  struct cli *cli = userdata;
  progress_show(cli->progress, phase, "backup", done_bytes, total_bytes);
}

static void on_warning(void *userdata, const char *message) {
  struct cli *cli = userdata;
  progress_clear(cli->progress);
  fprintf(stderr, "umbra: warning: %s\n", message);
}

/* For the handler: set before it is installed. */
static struct umbra_client *signalled_client;
static volatile sig_atomic_t signalled;

static void on_signal(int number) {
  signalled = number;
  umbra_client_cancel(signalled_client);
}

static bool on_cancelled(void *userdata) {
  (void)userdata;
  return signalled != 0;
}

/* What was ignored when we were started stays ignored. */
static void catch_signals(struct umbra_client *client) {
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  struct sigaction action = {.sa_handler = on_signal}, before;
  signalled_client = client;
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
    if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
      (void)sigaction(signals[i], &action, NULL);
}

struct backup_listener backup_target_listener(struct cli *cli) {
  catch_signals(cli->client);
  return (struct backup_listener){
      .progress = on_progress, .warning = on_warning, .cancelled = on_cancelled, .userdata = cli};
}

int backup_target_failed(const struct cli *cli, const struct umbra_error *err, const char *format, ...) {
  progress_clear(cli->progress);
  fputs("umbra: ", stderr);
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fprintf(stderr, "%s%s\n", err->message[0] ? ": " : "", err->message);
  return STATUS_FAILED;
}
