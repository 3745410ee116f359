/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A job: a process that does one request with libumbra, and keeps an auto-release set until it is told to release it.
 * It shares nothing with the host but its end of a channel, so that one that hangs or crashes harms no other.
 */
#ifndef DAEMON_JOB_H
#define DAEMON_JOB_H

#include "daemon/directories.h"
#include "daemon/request.h"

/* In a child of the host's, with all signals blocked: never returns. channel_fd: where it reports, and is told more.
 */
__attribute__((noreturn)) void job_run(const struct directories *directories, const struct request *request,
                                       int channel_fd, pid_t host);

/* Cleans up after what died earlier, in a process of its own, and makes the directories. Blocks. */
int job_recover_first(const struct directories *directories, struct umbra_error *err);

#endif
