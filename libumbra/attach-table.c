/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The volumes that are attached together, as after a boot (CONFIG/umbratab, umbratab(5)), and detached before its
 * end. */
#include "libumbra/attached.h"
#include "libumbra/handles.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "cow/serve/client.h"
#include "cow/serve/seat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_BYTES_MAX = 1 << 20, LINE_OPTIONS_MAX = 8 };

static bool attached(struct umbra_client *client, const char *name) {
  CLEANUP_FREE char *directory = NULL;
  CLEANUP_CLOSE int fd = -1;
  return attached_directory_of(client, name, &directory) >= 0 && cow_client_connect(directory, &fd, NULL) >= 0;
}

/* "limit=1000,full=drop-newest" in place; returns their count or a negative errno. */
static int split_options(char *text, struct umbra_attach_option options[LINE_OPTIONS_MAX], struct umbra_error *err) {
  char *rest;
  int count = 0;
  for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
    char *value = strchr(one, '=');
    if (!value)
      return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "option '%s' has no value", one);
    if (count == LINE_OPTIONS_MAX)
      return error_set(err, -E2BIG, UMBRA_REASON_INVALID, "more than %d options", LINE_OPTIONS_MAX);
    *value++ = '\0';
    options[count++] = (struct umbra_attach_option){one, value};
  }
  return count;
}

/* 1 attached, 0 nothing to do. */
static int attach_line(struct umbra_client *client, char *line) {
  static const char blank[] = " \t\r";
  struct umbra_attach_option options[LINE_OPTIONS_MAX];
  CLEANUP_FREE char *path = NULL;
  char *rest;
  char *name = strtok_r(line, blank, &rest);
  if (!name || name[0] == '#')
    return 0;
  char *device = strtok_r(NULL, blank, &rest), *chosen = strtok_r(NULL, blank, &rest);
  if (!device || (chosen && strtok_r(NULL, blank, &rest)))
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID, "'%s': a line is NAME DEVICE [OPTION=VALUE,…]",
                     name);
  int count = chosen ? split_options(chosen, options, &client->error) : 0;
  if (count < 0)
    return count;
  if (attached(client, name))
    return 0;
  int r = umbra_attach(client, device, name, options, (size_t)count, &path);
  return r < 0 ? r : 1;
}

int umbra_attach_all(struct umbra_client *client, size_t *ret_count) {
  CLEANUP_FREE char *path = NULL, *text = NULL;
  struct umbra_error first = {0};
  size_t length = 0, number = 0;
  int result = 0;
  *ret_count = 0;
  error_clear(&client->error);
  if (asprintf(&path, "%s/umbratab", client->coordinator->config_dir) < 0) {
    path = NULL;
    return error_set(&client->error, -ENOMEM, UMBRA_REASON_INTERNAL, "reading the table of attached volumes");
  }
  int r = fd_read_file(AT_FDCWD, path, TABLE_BYTES_MAX, &text, &length);
  if (r < 0)
    return error_code(&client->error, r, "reading '%s'", path);
  /* One bad line must not keep the others' volumes away. */
  for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
    number++;
    r = attach_line(client, line);
    *ret_count += r > 0;
    if (r >= 0)
      continue;
    (void)error_prefix(&client->error, r, "'%s' line %zu", path, number);
    if (result == 0) {
      result = r;
      first = client->error;
    } else
      coordinator_warn(client->coordinator, "%s", client->error.message);
  }
  client->error = first;
  return result;
}

struct names {
  char (*list)[SEAT_NAME_BYTES];
  size_t count;
};

static int note_name(const char *directory, const json_t *status, void *context) {
  struct names *n = context;
  (void)status;
  void *list = realloc(n->list, (n->count + 1) * sizeof *n->list);
  if (!list)
    return -ENOMEM;
  n->list = list;
  (void)snprintf(n->list[n->count++], sizeof *n->list, "%s", strrchr(directory, '/') + 1);
  return 0;
}

/* Those that can go now; the others stay in the list, with the first one's reason. Returns how many went. */
static size_t detach_round(struct umbra_client *client, struct names *n, int force, struct umbra_error *why) {
  size_t kept = 0, count = n->count;
  error_clear(why);
  for (size_t i = 0; i < count; i++) {
    if (umbra_detach(client, n->list[i], force) >= 0)
      continue;
    (void)error_prefix(&client->error, client->error.code, "'%s'", n->list[i]);
    if (kept == 0)
      *why = client->error;
    memmove(n->list[kept++], n->list[i], sizeof *n->list);
  }
  n->count = kept;
  return count - kept;
}

int umbra_detach_all(struct umbra_client *client, int force, size_t *ret_count) {
  struct umbra_error why = {0};
  struct names n = {0};
  *ret_count = 0;
  error_clear(&client->error);
  int r = cow_client_visit(client->coordinator->runtime_dir, note_name, &n, &client->error);
  /* What another one lies on is busy until that one has gone. */
  for (size_t went = 1; r >= 0 && n.count > 0 && went > 0; *ret_count += went)
    went = detach_round(client, &n, force, &why);
  if (r >= 0 && n.count > 0) {
    for (size_t i = 1; i < n.count; i++)
      coordinator_warn(client->coordinator, "'%s' stays attached, too", n.list[i]);
    client->error = why;
    r = why.code;
  } else if (r >= 0)
    error_clear(&client->error);
  free(n.list);
  return r;
}
