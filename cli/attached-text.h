/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An attached volume in one line, as doctor and list tell it. */
#ifndef CLI_ATTACHED_TEXT_H
#define CLI_ATTACHED_TEXT_H

#include <jansson.h>

enum { ATTACHED_TEXT_BYTES = 1024 };

/*
 * "attached as srv (origin /dev/vdb1, front ublk), shadow copies 3 of 512, storage 1.0 MiB of 64.0 MiB in '/var/lib/umbra'" from
 * a volume's "attached"; the buffer is the caller's.
 */
const char *attached_text(const json_t *attached, char buffer[ATTACHED_TEXT_BYTES]);

#endif
