/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine as a ublk device, /dev/ublkbN: multi-queue, a thread a queue (ublk-queue.h).  Shadow copies are files of
 * the FUSE session as with the other front: few of them are used at a time, and so they need no device of their own
 * as long as nobody looks.
 *
 * The device outlives its server (UBLK_F_USER_RECOVERY): the kernel keeps requests that were not answered, and gives
 * them to the next server (UBLK_F_USER_RECOVERY_REISSUE). It outlives the supervisor, too: then requests wait until
 * the volume is attached again. Source: Documentation/block/ublk.rst.
 */
#ifndef COW_FRONT_UBLK_H
#define COW_FRONT_UBLK_H

#include "cow/front/front.h"

extern const struct front front_ublk;

#endif
