/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/openldap/configuration.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/process.h"
#include "writers/openldap/former.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

/* One entry of cn=config, as far as it has been read. */
struct entry {
  char *kind; /* "{1}mdb" */
  char *suffix, *directory;
  bool unsynced;
};

static void entry_done(struct entry *e) {
  free(e->kind);
  free(e->suffix);
  free(e->directory);
  *e = (struct entry){0};
}

void databases_done(struct databases *d) {
  for (size_t i = 0; i < d->count; i++)
    free(d->list[i].directory);
  d->count = 0;
}

/* ---- LDIF ---- */

static int sextet(char c) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *at = c ? strchr(digits, c) : NULL;
  return at ? (int)(at - digits) : -1;
}

/* In place. False: it is no base64, or has a NUL. */
static bool decode(char *text) {
  char *out = text;
  uint32_t bits = 0;
  int count = 0, digit;
  for (const char *c = text; *c && *c != '='; c++) {
    if ((digit = sextet(*c)) < 0)
      return false;
    bits = bits << 6 | (uint32_t)digit;
    count += 6;
    if (count < 8)
      continue;
    count -= 8;
    *out = (char)(bits >> count & 0xff);
    if (*out++ == '\0')
      return false;
  }
  *out = '\0';
  return true;
}

/*
 * The next line, with those that continue it (a blank first), written to line, which has room for all that is left.
 * Returns where the one after it begins; NULL: there is none.
 */
static const char *next_line(const char *text, char *line) {
  if (*text == '\0')
    return NULL;
  for (;;) {
    size_t length = strcspn(text, "\n");
    memcpy(line, text, length);
    line += length;
    text += length + (text[length] == '\n');
    if (*text != ' ')
      break;
    text++;
  }
  *line = '\0';
  return text;
}

/* ---- entries ---- */

static int keep(char **place, const char *value) {
  if (*place) /* the first of several */
    return 0;
  *place = strdup(value);
  return *place ? 0 : -ENOMEM;
}

static int take_line(struct entry *e, char *line, struct umbra_error *err) {
  char *colon = strchr(line, ':');
  if (!colon)
    return 0;
  char *value = colon + 1;
  bool encoded = *value == ':';
  *colon = '\0';
  value += encoded;
  value += strspn(value, " ");
  char **place = strcasecmp(line, "olcDatabase") == 0      ? &e->kind
                 : strcasecmp(line, "olcSuffix") == 0      ? &e->suffix
                 : strcasecmp(line, "olcDbDirectory") == 0 ? &e->directory
                                                           : NULL;
  bool flag = strcasecmp(line, "olcDbNoSync") == 0, flags = strcasecmp(line, "olcDbEnvFlags") == 0;
  if (!place && !flag && !flags)
    return 0;
  if (encoded && !decode(value))
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "the configuration's '%s' is not readable", line);
  if (flag)
    e->unsynced = e->unsynced || strcasecmp(value, "TRUE") == 0;
  if (flags) /* a number before it, {0}nosync, is its place among the values */
    e->unsynced = e->unsynced || strstr(value, "nosync") || strstr(value, "nometasync") || strstr(value, "mapasync");
  int r = place ? keep(place, value) : 0;
  return r < 0 ? error_code(err, r, "reading the configuration") : 0;
}

static int finish(struct entry *e, struct databases *d, struct umbra_error *err) {
  const char *kind = e->kind ? e->kind : "", *end = strchr(kind, '}');
  kind = end ? end + 1 : kind;
  if (!*kind || !e->directory)
    return 0;
  const char *suffix = e->suffix ? e->suffix : e->kind;
  if (strcasecmp(kind, "mdb") != 0)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_WRITER,
                     "database '%s' is of back-%s, of which nothing is known here (back-mdb is)", suffix, kind);
  if (e->directory[0] != '/')
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "database '%s': its directory '%s' is no absolute path",
                     suffix, e->directory);
  if (d->count == DATABASES_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "the server has more than %d databases", DATABASES_MAX);
  struct database *one = &d->list[d->count++];
  (void)snprintf(one->name, sizeof one->name, "%s", suffix);
  one->directory = take_pointer(e->directory);
  one->unsynced = e->unsynced;
  return 0;
}

int databases_parse(const char *ldif, struct databases *ret, struct umbra_error *err) {
  CLEANUP(entry_done) struct entry e = {0};
  CLEANUP_FREE char *line = malloc(strlen(ldif) + 1);
  int r = 0;
  *ret = (struct databases){0};
  if (!line)
    return error_code(err, -ENOMEM, "reading the configuration");
  while (r == 0 && (ldif = next_line(ldif, line))) {
    if (line[0] != '\0') {
      r = take_line(&e, line, err);
      continue;
    }
    r = finish(&e, ret, err);
    entry_done(&e);
  }
  return r < 0 ? r : finish(&e, ret, err);
}

/* ---- the server's tool ---- */

/* The last line that it wrote to standard error, of what fits. */
static void last_words(int fd, char *ret, size_t room) {
  ssize_t n = pread(fd, ret, room - 1, 0);
  ret[n > 0 ? n : 0] = '\0';
  size_t length = strlen(ret);
  while (length > 0 && strchr("\n\r ", ret[length - 1]))
    ret[--length] = '\0';
  const char *last = strrchr(ret, '\n');
  if (last)
    memmove(ret, last + 1, strlen(last));
}

static int run_tool(const char *program, const char *const *arguments, char **ret, struct umbra_error *err) {
  enum { WORDS_BYTES = 4096, GRACE_MS = 5000 };
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0)
    return error_errno(err, "running '%s'", program);
  CLEANUP_CLOSE int from = ends[0], to = ends[1], words_fd = memfd_create("umbra-words", MFD_CLOEXEC);
  struct process tool = {.pidfd = -1};
  const struct process_options options = {
      .path = program, .arguments = (char *const *)arguments, .stdin_fd = -1, .stdout_fd = to, .stderr_fd = words_fd};
  int r = words_fd < 0 ? error_errno(err, "running '%s'", program) : process_start(&options, &tool, err);
  if (r < 0)
    return r;
  (void)close(take_fd(&to));
  size_t length;
  r = fd_read_to_end(from, CONFIGURATION_BYTES_MAX, ret, &length);
  int status = r < 0 ? 0 : process_wait(&tool, GRACE_MS);
  process_end(&tool, false);
  if (r < 0)
    return error_code(err, r, "reading what '%s' says", program);
  if (status == 0)
    return 0;
  char words[WORDS_BYTES];
  last_words(words_fd, words, sizeof words);
  return error_set(err, -EIO, UMBRA_REASON_WRITER, "'%s' does not read the configuration '%s': %.300s", program,
                   arguments[5], words[0] ? words : "it ended without a word");
}

int databases_read(const char *program, const char *configuration, bool is_directory, struct databases *ret,
                   struct umbra_error *err) {
  CLEANUP_FREE char *ldif = NULL;
  *ret = (struct databases){0};
  if (!is_directory) {
    int found = former_read(configuration, &ldif, err);
    return found < 0 ? found : databases_parse(ldif, ret, err);
  }
  const char *const arguments[] = {"slapd", "-Tcat", "-n", "0", "-F", configuration, "-a", "(olcDatabase=*)", NULL};
  int r = run_tool(program, arguments, &ldif, err);
  return r < 0 ? r : databases_parse(ldif, ret, err);
}
