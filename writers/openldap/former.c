/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A statement is a line and those after it that begin with a blank; words may be in quotes, with \ before any
 * character. */
#include "writers/openldap/former.h"

#include "common/cleanup.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* What a statement is called in cn=config. */
static const struct {
  const char *statement, *attribute;
} names[] = {{"suffix", "olcSuffix"}, {"directory", "olcDbDirectory"}, {"envflags", "olcDbEnvFlags"}};

/* The next word of *at, in place, *at behind it; NULL: there is none. */
static char *next_word(char **at) {
  char *c = *at + strspn(*at, " \t\r\n"), *begin = c, *out = c;
  bool quoted = false;
  if (*c == '\0')
    return NULL;
  for (; *c && (quoted || !strchr(" \t\r\n", *c)); c++) {
    if (*c == '"') {
      quoted = !quoted;
      continue;
    }
    if (*c == '\\' && c[1] != '\0')
      c++;
    *out++ = *c;
  }
  *at = c + (*c != '\0');
  *out = '\0';
  return begin;
}

static int read_file(const char *path, int depth, FILE *out, struct umbra_error *err);

static int take_statement(char *text, int depth, FILE *out, struct umbra_error *err) {
  const char *name = next_word(&text), *value;
  if (!name || name[0] == '#')
    return 0;
  if (strcasecmp(name, "dbnosync") == 0)
    (void)fputs("olcDbNoSync: TRUE\n", out);
  if (strcasecmp(name, "database") == 0 && (value = next_word(&text)))
    (void)fprintf(out, "\nolcDatabase: %s\n", value);
  if (strcasecmp(name, "include") == 0 && (value = next_word(&text)))
    return read_file(value, depth + 1, out, err);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcasecmp(name, names[i].statement) == 0)
      while ((value = next_word(&text)))
        (void)fprintf(out, "%s: %s\n", names[i].attribute, value);
  return 0;
}

static int read_file(const char *path, int depth, FILE *out, struct umbra_error *err) {
  CLEANUP_FREE char *text = NULL;
  size_t length;
  if (depth > FORMER_DEPTH_MAX)
    return error_set(err, -ELOOP, UMBRA_REASON_LIMIT, "'%s': more than %d files include each other", path,
                     FORMER_DEPTH_MAX);
  CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  int r = fd < 0 ? -errno : fd_read_to_end(fd, FORMER_BYTES_MAX, &text, &length);
  if (r < 0)
    return error_code(err, r, "reading '%s'", path);
  for (char *line = text, *next; r == 0 && *line; line = next) {
    next = line;
    do
      next += strcspn(next, "\n") + (next[strcspn(next, "\n")] != '\0');
    while (line[0] != '#' && (*next == ' ' || *next == '\t'));
    char first_of_next = *next;
    *next = '\0';
    r = take_statement(line, depth, out, err);
    *next = first_of_next;
  }
  return r;
}

int former_read(const char *path, char **ret, struct umbra_error *err) {
  size_t length;
  *ret = NULL;
  FILE *out = open_memstream(ret, &length);
  if (!out)
    return error_errno(err, "reading '%s'", path);
  int r = read_file(path, 0, out, err);
  if (fclose(out) != 0 && r == 0)
    r = error_code(err, -ENOMEM, "reading '%s'", path);
  return r;
}
