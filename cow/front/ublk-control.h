/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands to the kernel's ublk driver over /dev/ublk-control, each an io_uring command of 128 bytes. Source:
 * Documentation/block/ublk.rst ("Control plane"); drivers/block/ublk_drv.c for what each waits for.
 */
#ifndef COW_FRONT_UBLK_CONTROL_H
#define COW_FRONT_UBLK_CONTROL_H

#include "common/error.h"
#include "cow/front/front.h"

#include <linux/ublk_cmd.h>

/*
 * One command about a device (UINT32_MAX: none yet), with a buffer and a word where the command has one. Blocks until
 * it is done. 0 or negative errno; -ENOENT: no driver.
 */
int ublk_control(unsigned command, uint32_t number, void *buffer, size_t bytes, uint64_t word);

/* Whether the kernel has all that this front needs; loads its module. Negative with why. */
int ublk_usable(struct umbra_error *why);

/* A device for what the seat says of the origin; its number and queues come into the seat. */
int ublk_device_add(struct front_seat *seat, struct umbra_error *err);

/*
 * What path (/dev/ublkbN) leads to: its number, or -ENODEV. *ret (may be NULL): what the kernel says of it.
 */
int ublk_device_look(const char *path, struct ublksrv_ctrl_dev_info *ret);

/*
 * A device that outlived its programs: its number and queues come into the seat, if it is one of ours and its origin
 * the seat's. -ESTALE.
 */
int ublk_device_adopt(uint32_t number, const struct ublksrv_ctrl_dev_info *info, struct front_seat *seat);

/*
 * Ends its I/O: what is under way is answered by the server first, later I/O fails. Nobody may use it, and what was
 * written to it through the page cache must be there already.
 */
int ublk_device_stop(uint32_t number, struct umbra_error *err);

/* It goes as soon as nobody has it open. Its server has ended. */
int ublk_device_delete(uint32_t number, struct umbra_error *err);

#endif
