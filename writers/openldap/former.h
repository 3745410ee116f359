/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The former way to configure a server, slapd.conf(5), as far as it names databases. */
#ifndef WRITERS_OPENLDAP_FORMER_H
#define WRITERS_OPENLDAP_FORMER_H

#include "common/error.h"

enum {
  FORMER_BYTES_MAX = 4 * 1024 * 1024 /* of one file */,
  FORMER_DEPTH_MAX = 16 /* of files that include others */
};

/* Reads the file and what it includes. *ret: what databases_parse() takes; free(). As the server's user. */
int former_read(const char *path, char **ret, struct umbra_error *err);

#endif
