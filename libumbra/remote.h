/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What umbrad does for a client, if it runs with the same three directories in the same mount namespace: the calls of
 * umbra.h for what is kept in the catalogue, over the bus (org.umbra.Umbra1(5)).  All block as their counterparts do,
 * call the client's callbacks, give the same documents, and leave the error in the client.
 */
#ifndef LIBUMBRA_REMOTE_H
#define LIBUMBRA_REMOTE_H

#include "umbra/umbra.h"

#include <stdbool.h>

struct remote;

/* *ret (remote_free()): the connection; NULL: there is no such umbrad, which is no error. */
int remote_open(struct umbra_client *client, struct remote **ret);
void remote_free(struct remote *remote); /* NULL is fine */

/* May these go over the bus? Only absolute paths, and text that is UTF-8. */
bool remote_can(const char *const *paths, size_t count);

/* A method of the manager with a string or nothing (argument NULL), that returns a string, or nothing (ret NULL). */
int remote_text(struct umbra_client *client, const char *method, const char *argument, char **ret);

int remote_doctor(struct umbra_client *client, const char *const *paths, size_t count, char **ret_json);
int remote_delete_all(struct umbra_client *client, char **ret_json);
int remote_mount(struct umbra_client *client, const char *id, const char *directory, unsigned flags,
                 char **ret_directory);
int remote_open_shadow(struct umbra_client *client,
                       const char *id); /* a whole id. A descriptor, as umbra_open_shadow() */
int remote_unmount(struct umbra_client *client, const char *id_or_directory);
int remote_writer_test(struct umbra_client *client, const char *name, char **ret_json); /* as umbra_writer_test() */
int remote_writer_enable(struct umbra_client *client, const char *name, int enable);

/* Makes the set of what was added to it and set: set->made is its document then. */
int remote_create(struct umbra_set *set);

#endif
