/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this front needs of the kernel's ublk driver and linux/ublk_cmd.h of Debian 12 (Linux 6.1) does not have yet.
 * Source: include/uapi/linux/ublk_cmd.h of Linux 6.12, Documentation/block/ublk.rst.
 */
#ifndef COW_FRONT_UBLK_ABI_H
#define COW_FRONT_UBLK_ABI_H

#include <linux/ioctl.h>
#include <linux/ublk_cmd.h>

/* Commands encoded as ioctl numbers: the older, bare ones may be compiled out of a kernel. */
#ifndef UBLK_U_CMD_ADD_DEV
#define UBLK_U_CMD_GET_DEV_INFO _IOR('u', UBLK_CMD_GET_DEV_INFO, struct ublksrv_ctrl_cmd)
#define UBLK_U_CMD_ADD_DEV _IOWR('u', UBLK_CMD_ADD_DEV, struct ublksrv_ctrl_cmd)
#define UBLK_U_CMD_DEL_DEV _IOWR('u', UBLK_CMD_DEL_DEV, struct ublksrv_ctrl_cmd)
#define UBLK_U_CMD_START_DEV _IOWR('u', UBLK_CMD_START_DEV, struct ublksrv_ctrl_cmd)
#define UBLK_U_CMD_STOP_DEV _IOWR('u', UBLK_CMD_STOP_DEV, struct ublksrv_ctrl_cmd)
#define UBLK_U_CMD_SET_PARAMS _IOWR('u', UBLK_CMD_SET_PARAMS, struct ublksrv_ctrl_cmd)
#define UBLK_U_CMD_GET_PARAMS _IOR('u', UBLK_CMD_GET_PARAMS, struct ublksrv_ctrl_cmd)
#define UBLK_U_CMD_START_USER_RECOVERY _IOWR('u', UBLK_CMD_START_USER_RECOVERY, struct ublksrv_ctrl_cmd)
#define UBLK_U_CMD_END_USER_RECOVERY _IOWR('u', UBLK_CMD_END_USER_RECOVERY, struct ublksrv_ctrl_cmd)
#define UBLK_U_IO_FETCH_REQ _IOWR('u', UBLK_IO_FETCH_REQ, struct ublksrv_io_cmd)
#define UBLK_U_IO_COMMIT_AND_FETCH_REQ _IOWR('u', UBLK_IO_COMMIT_AND_FETCH_REQ, struct ublksrv_io_cmd)
#endif
#ifndef UBLK_U_CMD_GET_FEATURES /* Linux 6.5 */
#define UBLK_U_CMD_GET_FEATURES _IOR('u', 0x13, struct ublksrv_ctrl_cmd)
#endif
#ifndef UBLK_U_CMD_DEL_DEV_ASYNC /* Linux 6.9 */
#define UBLK_U_CMD_DEL_DEV_ASYNC _IOR('u', 0x14, struct ublksrv_ctrl_cmd)
#endif
#ifndef UBLK_F_CMD_IOCTL_ENCODE
#define UBLK_F_CMD_IOCTL_ENCODE (UINT64_C(1) << 6)
#endif
#ifndef UBLK_F_USER_COPY /* Linux 6.5 */
#define UBLK_F_USER_COPY (UINT64_C(1) << 7)
#endif

/* Data of a request is at this position of /dev/ublkcN: queue, tag, offset. */
#ifndef UBLK_QID_OFF
#define UBLK_TAG_OFF 25
#define UBLK_QID_OFF 41
#endif

#endif
