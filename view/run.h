/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running a former program in a private mount namespace in which shadow copies lie over their volumes.  See
 * DESIGN.md.
 */
#ifndef VIEW_RUN_H
#define VIEW_RUN_H

#include "common/error.h"

#include <jansson.h>
#include <signal.h>
#include <stddef.h>
#include <sys/types.h>

enum { VIEW_RUN_FAILED = 125, VIEW_RUN_NOT_EXECUTABLE = 126, VIEW_RUN_NOT_FOUND = 127, VIEW_RUN_SIGNAL = 128 };

/* One shadow copy. All of it is the caller's. */
struct view_shadow {
  const json_t *record;    /* as for view_open() */
  const char *mount_point; /* these three as in struct volume */
  const char *fs_root;
  dev_t device;
  char *const *paths; /* canonical live paths that are shown from the shadow copy; NULL: the whole volume */
};

struct view_run {
  const struct view_shadow *shadows;
  size_t shadow_count;
  char *const *arguments;  /* argv; arguments[0] is looked up in PATH as the view shows it */
  const char *const *keep; /* paths that stay live inside a shadowed volume; NULL-terminated, may be NULL */

  /* The signal mask the program gets; NULL: this thread's. For a caller that blocks signals for an event loop. */
  const sigset_t *signal_mask;

  /* Called for what cannot be shown (may be NULL), possibly on another thread, but never while this one runs. */
  void (*warning)(void *userdata, const char *message);
  void *userdata;
};

/*
 * Runs it and waits for its end. Returns its exit status, 128+N when signal N ended it, 126 or 127 when it could not
 * be executed or was not found (then *err says so, else it is empty), or negative errno when nothing was started.
 *
 * The program has this process's environment, user, groups, umask, limits, terminal, process group and open
 * descriptors without O_CLOEXEC, and the dispositions of its ignored signals, so a caller that ignores or handles a
 * signal for its own sake must leave those alone that were ignored when it was started (nohup). What it leaves
 * running keeps the view.
 *
 * Signals sent to this process while it waits go on to the program, those of the terminal's excepted, which it has
 * got itself. It gets SIGTERM when this thread ends before it.
 */
int view_run(const struct view_run *run, struct umbra_error *err);

#endif
