/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Being the user who owns the data directory, for a while, where root is needed once more afterwards (otherwise:
 * umbra_writer_become()).  What is asked of the kernel between enter and leave is asked as that user: files that he
 * has linked elsewhere lead no further than he could go himself.
 */
#ifndef WRITERS_POSTGRESQL_OWNER_H
#define WRITERS_POSTGRESQL_OWNER_H

#include <sys/types.h>

/* 0 or negative errno; nothing is changed then. Somebody other than root stays who he is. */
int owner_enter(uid_t user, gid_t group);
void owner_leave(void);

#endif
