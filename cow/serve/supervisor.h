/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The supervisor of an attached volume: starts its server, and the next one when that has ended.  Does no I/O of the
 * volume.
 *
 * On its socket (RUNTIME/attached/NAME/supervise, SEQPACKET) it takes one word a connection and answers "ok": `end`,
 * the server ends and then it, too; `upgrade`, the server ends in an orderly way and the program is started anew; the
 * live volume notices a pause.
 */
#ifndef COW_SERVE_SUPERVISOR_H
#define COW_SERVE_SUPERVISOR_H

#include "common/error.h"

/* With the descriptors of seat.h. Returns after `end`. */
int supervisor_main(struct umbra_error *err);

#endif
