/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the bus process may ask of the host, checked: the whole of what an unprivileged process can make root do.
 * DESIGN.md has the lines.  Nothing else of umbrad looks into a request before request_parse() has taken it.
 */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { REQUEST_PATHS_MAX = 4096, REQUEST_OPTIONS_MAX = 256, REQUEST_TEXT_BYTES_MAX = 256 * 1024 };

enum request_verb {
  /* A job each: */
  REQUEST_CREATE,        /* paths, options */
  REQUEST_DELETE,        /* text: set or shadow copy, as umbra_delete() takes it */
  REQUEST_DELETE_OLDEST, /* text: a path */
  REQUEST_LIST,          /* text: what, as umbra_list(); "inventory": sets and storage */
  REQUEST_SHOW,          /* text: id, prefix or label */
  REQUEST_DOCTOR,        /* paths, may be none */
  REQUEST_MOUNT, /* text: as umbra_mount() takes it, user, trusted, suid, dev; of root's place: where (NULL: below the
                    runtime directory) */
  REQUEST_UNMOUNT, /* text: as umbra_unmount() takes it, user, trusted */
  REQUEST_OPEN,    /* id, user, trusted; or to a set that is held, of which id is a shadow copy */
  REQUEST_RECOVER,
  REQUEST_TEST,   /* text: a writer */
  REQUEST_ENABLE, /* text: a writer's program; flag */
  /* To the job `to`: */
  REQUEST_COMPLETE, /* flag: succeeded */
  REQUEST_RELEASE,
  REQUEST_CANCEL, /* has no answer of its own */
  /* To the host itself: */
  REQUEST_PING,
  REQUEST_VERB_MAX
};

/* Strings and lists are borrowed from the line. */
struct request {
  enum request_verb verb;
  int64_t call; /* the asker's number, > 0 */
  int64_t to;   /* the call whose job is meant; 0: a new job */
  const char *id, *text, *place;
  bool flag, trusted, suid, dev;
  uid_t user;
  const json_t *paths;   /* array of JSON paths (json_path()) */
  const json_t *options; /* array of [name, value] */
};

/* -EBADMSG with a message that says what is wrong with it. */
int request_parse(const json_t *line, struct request *ret, struct umbra_error *err);

const char *request_verb_name(enum request_verb verb);

#endif
