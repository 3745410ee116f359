/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where files of a backup come back to, at a restore: their own place, or a new one.  In a cluster at a new place
 * links still name the places that the original one uses.  Started like that, two clusters would write to the same
 * files.
 */
#ifndef WRITERS_POSTGRESQL_PLACE_H
#define WRITERS_POSTGRESQL_PLACE_H

#include "writers/postgresql/cluster.h"

#include "umbra/writer.h"

#include <stdbool.h>

/*
 * The directories that the backup has of this instance, as identify named them then, and where they come back to now.
 * *ret_whole: all of each of them does, not only some paths. *ret is the caller's. 0, or negative errno, said.
 */
int place_list(struct umbra_writer_session *s, struct cluster_paths *ret, bool *ret_whole);

/*
 * Turns pg_wal, the tablespaces' links and tablespace_map to where their files have come back to. Called as the
 * owner. 0, or negative errno said with umbra_writer_fail(); the links lead to the new place even if there is nothing
 * yet.
 */
int place_move(struct umbra_writer_session *s, int data_fd);

#endif
