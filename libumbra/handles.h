/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the opaque handles of umbra/umbra.h are made of, for the files of libumbra only. */
#ifndef LIBUMBRA_HANDLES_H
#define LIBUMBRA_HANDLES_H

#include "common/error.h"
#include "coordinator/coordinator.h"
#include "coordinator/set.h"
#include "umbra/umbra.h"

#include <jansson.h>

struct umbra_client {
  struct coordinator *coordinator;
  struct umbra_error error; /* of the last failure */
  struct umbra_set *making; /* the set that is being made, borrowed; NULL */
  bool prepared;            /* directories made, earlier crashes cleaned up */
  struct remote *remote;    /* umbrad, which does what it can instead of this process; NULL: nothing */
};

struct umbra_set {
  struct umbra_client *client;
  struct set *set;
  json_t *options; /* as they were set: [[name, value]…] */
  json_t *made;    /* by umbrad: its document; NULL: by this process, or not yet */
  char *made_text;
  bool made_degraded;
};

/* Once per client before anything is made or changed. */
int client_prepare(struct umbra_client *client);

/* For what only looks: cleans up after dead coordinators where this user may, and never fails. */
void client_recover(struct umbra_client *client);

/* Gives the text of a document away (caller frees) and releases the document. */
int client_return_json(struct umbra_client *client, json_t *document, char **ret_json);

/*
 * An image shows the filesystem from its root, fs_root below it is what the mount point showed: that directory instead of
 * view_fd, which is taken. A descriptor, or negative with the client's error.
 */
int client_open_mount_root(struct umbra_client *client, int view_fd, const json_t *record, const char *fs_root,
                           const char *mount_point);

/* The directory at which a shadow copy of the catalogue is mounted, or NULL (caller frees). */
char *mount_directory_of(const struct umbra_client *client, const char *shadow_id);

#endif
