/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/progress.h"

#include "cli/cli.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_INTERVAL_MS = 100, LINE_INTERVAL_MS = 2000, BAR_WIDTH_MAX = 30, TERMINAL_COLUMNS = 80 };

void progress_init(struct progress *p, bool quiet, bool json) {
  *p = (struct progress){.style = json                    ? PROGRESS_JSON
                                  : quiet                 ? PROGRESS_NONE
                                  : isatty(STDERR_FILENO) ? PROGRESS_BAR
                                                          : PROGRESS_LINES};
}

void progress_clear(struct progress *p) {
  if (p->bar_shown)
    fputs("\r\033[K", stderr);
  p->bar_shown = false;
}

/* " 12 s left"; empty where it cannot be told yet. */
static void time_left(const struct progress *p, uint64_t done, uint64_t total, char *text, size_t size) {
  int64_t spent_ns = clock_monotonic_ns() - p->began_ns;
  *text = 0;
  if (total == 0 || done == 0 || done >= total || spent_ns < NS_PER_S)
    return;
  double left_s = (double)spent_ns / NS_PER_S * (double)(total - done) / (double)done;
  if (left_s < 90)
    (void)snprintf(text, size, ", %.0f s left", left_s);
  else
    (void)snprintf(text, size, ", %.0f min left", left_s / 60);
}

static void show_bar(struct progress *p, uint64_t done, uint64_t total) {
  struct winsize window = {0};
  int columns =
      ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : TERMINAL_COLUMNS;
  char size[CLI_SIZE_TEXT_BYTES], left[48], bar[BAR_WIDTH_MAX + 1] = "", line[512];
  time_left(p, done, total, left, sizeof left);
  if (total > 0) {
    size_t filled = (size_t)((double)(done < total ? done : total) / (double)total * BAR_WIDTH_MAX);
    memset(bar, '.', BAR_WIDTH_MAX);
    memset(bar, '#', filled);
    bar[BAR_WIDTH_MAX] = 0;
  }
  int n = snprintf(line, sizeof line, "%s %s [%s] %s%s", p->volume, p->phase, bar, cli_size((json_int_t)done, size),
                   left);
  if (n >= columns)
    line[columns - 1] = 0;
  fprintf(stderr, "\r\033[K%s", line);
  p->bar_shown = true;
}

static void show_line(const struct progress *p, uint64_t done, uint64_t total) {
  char size[CLI_SIZE_TEXT_BYTES], size_of[CLI_SIZE_TEXT_BYTES], left[48];
  time_left(p, done, total, left, sizeof left);
  if (total > 0)
    fprintf(stderr, "umbra: %s: %s %s of %s%s\n", p->volume, p->phase, cli_size((json_int_t)done, size),
            cli_size((json_int_t)total, size_of), left);
  else
    fprintf(stderr, "umbra: %s: %s %s\n", p->volume, p->phase, cli_size((json_int_t)done, size));
}

static void show_json(const struct progress *p, uint64_t done, uint64_t total) {
  CLEANUP_JSON json_t *line = json_pack("{s:s, s:o, s:I, s:I}", "phase", p->phase, "volume", json_path(p->volume),
                                        "done", (json_int_t)done, "total", (json_int_t)total);
  CLEANUP_FREE char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
  if (text)
    fprintf(stderr, "%s\n", text);
}

void progress_show(void *userdata, const char *phase, const char *volume, uint64_t done_bytes, uint64_t total_bytes) {
  struct progress *p = userdata;
  int64_t now_ns = clock_monotonic_ns();
  bool changed = strcmp(p->phase, phase) != 0 || strcmp(p->volume, volume ? volume : "") != 0;
  if (p->style == PROGRESS_NONE)
    return;
  if (changed) {
    (void)snprintf(p->phase, sizeof p->phase, "%s", phase);
    (void)snprintf(p->volume, sizeof p->volume, "%s", volume ? volume : "");
    p->began_ns = now_ns;
  }
  /* On paper the beginning of each phase is no news; that it goes on is. */
  int64_t interval_ns = (p->style == PROGRESS_BAR ? BAR_INTERVAL_MS : LINE_INTERVAL_MS) * NS_PER_MS;
  if (p->told_ns == 0)
    p->told_ns = now_ns;
  if (p->style != PROGRESS_JSON && now_ns - p->told_ns < interval_ns)
    return;
  p->told_ns = now_ns;
  if (p->style == PROGRESS_BAR)
    show_bar(p, done_bytes, total_bytes);
  else if (p->style == PROGRESS_LINES)
    show_line(p, done_bytes, total_bytes);
  else
    show_json(p, done_bytes, total_bytes);
}
