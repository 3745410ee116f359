/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress on standard error: a bar on a terminal, plain lines otherwise, JSON lines with --progress=json, nothing
 * when quiet. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

enum progress_style { PROGRESS_NONE, PROGRESS_BAR, PROGRESS_LINES, PROGRESS_JSON };

struct progress {
  enum progress_style style;
  bool bar_shown; /* the terminal's line holds a bar */
  int64_t began_ns, told_ns;
  char phase[32], volume[256];
};

void progress_init(struct progress *p, bool quiet, bool json);

/* total 0: unknown. Matches umbra_progress; userdata is the struct progress. */
void progress_show(void *userdata, const char *phase, const char *volume, uint64_t done_bytes, uint64_t total_bytes);

/* Clears the bar, so that something else can be printed. */
void progress_clear(struct progress *p);

#endif
