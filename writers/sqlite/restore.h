/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Databases that come back: nobody may have them open, what is left of the old ones must not be taken for part of
 * them, and then they are recovered and checked.  Both become the databases' owner, for good, where the owner can
 * reach them.
 */
#ifndef WRITERS_SQLITE_RESTORE_H
#define WRITERS_SQLITE_RESTORE_H

#include "umbra/writer.h"
#include "writers/sqlite/databases.h"

/*
 * Brings what lies beside a database into it, so that nothing is lost should the restore come to nothing, and nothing
 * is left that would be replayed over what comes back.  What no database belongs to, or one that cannot be opened, is
 * renamed: ".old" at its end.  Fails with -EBUSY and the process if one is open.
 */
int restore_begin(struct umbra_writer_session *s, const struct databases *all);

/* Recovers and checks those that are there; answers "ok" or what is wrong under each one's path. */
int restore_end(struct umbra_writer_session *s, const struct databases *all);

#endif
