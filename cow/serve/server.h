/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server of an attached volume: the engine and its front, with the descriptors of seat.h.  Can be killed at any
 * instruction.
 */
#ifndef COW_SERVE_SERVER_H
#define COW_SERVE_SERVER_H

#include "common/error.h"

/* Serves until SIGTERM (0) or until it cannot (negative). When the supervisor dies it starts another. */
int server_main(struct umbra_error *err);

#endif
