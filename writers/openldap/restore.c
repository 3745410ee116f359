/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/openldap/restore.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "writers/apart.h"
#include "writers/openldap/environment.h"
#include "writers/service.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { CHECK_S = 3600, MESSAGE_BYTES = 1024 };

const char *restore_answer_key(size_t number, char buffer[RESTORE_ANSWER_BYTES]) {
  (void)snprintf(buffer, RESTORE_ANSWER_BYTES, "transaction-%zu", number);
  return buffer;
}

/* A server that has one of the databases open; *ret_directory: which, free(). */
static pid_t user_of_any(const struct umbra_writer_session *s, const struct server *server, char **ret_directory) {
  for (size_t i = 0; i < server->databases.count; i++) {
    CLEANUP_FREE char *directory = umbra_writer_restore_path(s, server->databases.list[i].directory);
    pid_t pid = directory ? server_that_uses(directory) : 0;
    if (pid != 0) {
      *ret_directory = take_pointer(directory);
      return pid;
    }
  }
  return 0;
}

int restore_begin(struct umbra_writer_session *s, const struct server *server) {
  CLEANUP_FREE char *directory = NULL, *again = NULL;
  pid_t pid = user_of_any(s, server, &directory);
  if (pid == 0)
    return 0;
  if (server->unit && service_stop(server->unit) && user_of_any(s, server, &again) == 0)
    return 0;
  return umbra_writer_fail(s, -EBUSY, "process %d serves '%s': end it first", (int)pid, directory);
}

/* ---- the check ---- */

/* Whether the database comes back: a restore may be of some paths only. */
static bool comes_back(const struct umbra_writer_session *s, const struct database *d) {
  CLEANUP_JSON json_t *document = json_loads(umbra_writer_document(s), 0, NULL);
  const json_t *paths = json_object_get(json_object_get(document, "restore"), "paths"), *one;
  CLEANUP_FREE char *file = NULL;
  size_t i;
  if (!json_is_array(paths) || asprintf(&file, "%s/data.mdb", d->directory) < 0)
    return true;
  json_array_foreach(paths, i, one) {
    CLEANUP_FREE char *path = NULL;
    size_t length = json_path_value(one, &path) == 0 ? strlen(path) : 0;
    if (length > 0 && strncmp(file, path, length) == 0 &&
        (path[length - 1] == '/' || file[length] == '/' || file[length] == '\0'))
      return true;
  }
  return false;
}

/*
 * In a process of the file's owner, who may have made it as he likes: a crafted file may take over who maps it, a
 * damaged one may end him.  Root reads only what is root's.
 */
static json_t *check_apart(const void *subject) {
  const char *directory = subject;
  struct environment_contents contents;
  struct umbra_error err = {0};
  struct stat st;
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "%s/data.mdb", directory) < 0)
    return NULL;
  /* Before it becomes another: it may have come back to where only root can go. */
  CLEANUP_CLOSE int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  int r = fd < 0 || fstat(fd, &st) < 0 ? error_errno(&err, "opening it") : 0;
  if (r == 0 && !S_ISREG(st.st_mode))
    r = error_set(&err, -EINVAL, UMBRA_REASON_INVALID, "data.mdb is no regular file");
  if (r == 0 && geteuid() == 0 && (r = umbra_writer_become(st.st_uid, st.st_gid)) < 0)
    (void)error_code(&err, r, "becoming its user");
  if (r == 0)
    r = environment_check(fd, &contents, &err);
  return r < 0 ? json_pack("{s:o}", "failure", json_path(err.message))
               : json_pack("{s:I, s:I}", "transaction", (json_int_t)contents.last_transaction, "entries",
                           (json_int_t)contents.entries);
}

/* Appends what there is to say of it to message. */
static int check_database(struct umbra_writer_session *s, const struct server *server, size_t number, char *message) {
  const struct database *d = &server->databases.list[number];
  CLEANUP_FREE char *directory = umbra_writer_restore_path(s, d->directory), *words = NULL;
  CLEANUP_JSON json_t *answer = NULL;
  struct umbra_error err = {0};
  char key[RESTORE_ANSWER_BYTES];
  if (!directory)
    return umbra_writer_fail(s, -ENOMEM, "out of memory");
  int r = apart_ask(check_apart, directory, CHECK_S, &answer, &err);
  if (r < 0 || json_path_value(json_object_get(answer, "failure"), &words) == 0)
    return umbra_writer_fail(s, -EBADMSG, "database '%s' in '%s' is damaged%s%s", d->name, directory,
                             words ? ": " : " (reading it fails)", words ? words : "");
  json_int_t transaction = json_get_integer_or(answer, "transaction", 0),
             entries = json_get_integer_or(answer, "entries", -1);
  const char *promised = umbra_writer_saved_answer(s, "freeze", restore_answer_key(number, key));
  if (promised && strtoll(promised, NULL, 10) != transaction)
    return umbra_writer_fail(s, -EBADMSG,
                             "database '%s' in '%s' is as of transaction %" JSON_INTEGER_FORMAT
                             ", the copy was made at %s: its file is not the backup's",
                             d->name, directory, transaction, promised);
  size_t used = strlen(message);
  (void)snprintf(message + used, MESSAGE_BYTES - used,
                 "%s'%s': %" JSON_INTEGER_FORMAT " entries, as of transaction %" JSON_INTEGER_FORMAT,
                 used > 0 ? "; " : "", d->name, entries < 0 ? 0 : entries, transaction);
  return 0;
}

static int check_configuration(struct umbra_writer_session *s, const struct server *server) {
  const char *how = server->is_directory ? "-F" : "-f";
  int status = service_run(server->user, server->group,
                           (const char *const[]){"slaptest", "-Q", "-u", how, server->configuration, NULL});
  if (status == 0 || status == -ENOENT) {
    umbra_writer_answer(s, "configuration", status == 0 ? "ok" : "not checked: slaptest is not installed");
    return 0;
  }
  return umbra_writer_fail(s, -EBADMSG, "the configuration '%s' is not sound: see slaptest -u %s '%s'",
                           server->configuration, how, server->configuration);
}

int restore_end(struct umbra_writer_session *s, const struct server *server) {
  char message[MESSAGE_BYTES] = "";
  bool elsewhere = umbra_writer_restores_elsewhere(s);
  int r = 0;
  for (size_t i = 0; i < server->databases.count && r == 0; i++)
    if (umbra_writer_restores_component(s, server->databases.list[i].name) &&
        comes_back(s, &server->databases.list[i]))
      r = check_database(s, server, i, message);
  if (r == 0 && !elsewhere)
    r = check_configuration(s, server);
  if (r == 0 && !elsewhere && server->unit && service_is_managed() && !service_start(server->unit))
    r = umbra_writer_fail(s, -EIO, "'%s' does not start again: see its log", server->unit);
  if (r < 0)
    return r;
  size_t used = strlen(message);
  (void)snprintf(message + used, sizeof message - used, "%s",
                 elsewhere && used > 0 ? "; before a server starts on it, its configuration has to name the new place"
                                       : "");
  if (message[0])
    umbra_writer_answer(s, "message", message);
  return 0;
}
