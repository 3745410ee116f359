/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server's files that come back: it does not run meanwhile, and what has come back is checked with its own tools.
 */
#ifndef WRITERS_REDIS_RESTORE_H
#define WRITERS_REDIS_RESTORE_H

#include "umbra/writer.h"
#include "writers/redis/instance.h"

/*
 * Stops the unit whose server has its files where they come back to; where there is no unit to stop, fails with
 * -EBUSY and the process. As root.
 */
int restore_begin(struct umbra_writer_session *s, const struct instance *i);

/* Checks, as the server's user; answers for each tool; then starts the unit, unless the files came to another place.
 */
int restore_end(struct umbra_writer_session *s, const struct instance *i);

#endif
