/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/front/ublk-control.h"

#include "common/cleanup.h"
#include "common/process.h"
#include "cow/front/ublk-abi.h"
#include "cow/front/ublk-queue.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONTROL_PATH "/dev/ublk-control"
enum {
  MODPROBE_TIMEOUT_MS = 10000,
  DISCARD_BYTES_MAX = 64 << 20, /* one thread serves a queue: what waits behind a discard must not wait long */
};
static const uint64_t needed =
    UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE | UBLK_F_CMD_IOCTL_ENCODE | UBLK_F_USER_COPY;

static int run_command(struct io_uring *ring, int fd, unsigned command, const struct ublksrv_ctrl_cmd *argument) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
  struct io_uring_cqe *cqe;
  if (!sqe)
    return -EBUSY;
  memset(sqe, 0, 2 * sizeof *sqe);
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = fd;
  sqe->cmd_op = command;
  memcpy(sqe->cmd, argument, sizeof *argument);
  int r = io_uring_submit(ring);
  if (r < 0)
    return r;
  do
    r = io_uring_wait_cqe(ring, &cqe);
  while (r == -EINTR);
  return r < 0 ? r : cqe->res;
}

struct call {
  unsigned command;
  struct ublksrv_ctrl_cmd argument;
  int result;
};

static void *make_call(void *context) {
  struct call *call = context;
  struct io_uring_params params = {.flags = IORING_SETUP_SQE128};
  struct io_uring ring;
  CLEANUP_CLOSE int fd = open(CONTROL_PATH, O_RDWR | O_CLOEXEC);
  call->result = fd < 0 ? -errno : io_uring_queue_init_params(2, &ring, &params);
  if (call->result < 0)
    return NULL;
  call->result = run_command(&ring, fd, call->command, &call->argument);
  io_uring_queue_exit(&ring);
  return NULL;
}

/*
 * In a thread of its own: whoever has had an io_uring is interrupted some time after its end (io_tctx_exit_cb()), and
 * the caller takes EINTR for a signal.
 */
int ublk_control(unsigned command, uint32_t number, void *buffer, size_t bytes, uint64_t word) {
  struct call call = {.command = command,
                      .argument = {.dev_id = number, .queue_id = UINT16_MAX, .len = (uint16_t)bytes}};
  sigset_t all, before;
  pthread_t thread;
  call.argument.addr = (uint64_t)(uintptr_t)buffer;
  call.argument.data[0] = word;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the caller's */
  int r = -pthread_create(&thread, NULL, make_call, &call);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (r < 0)
    return r;
  (void)pthread_join(thread, NULL);
  return call.result < 0 ? call.result : 0;
}

/* Its device has no fixed number, so that nothing loads it when it is opened. */
static void load_module(void) {
  char *const arguments[] = {(char *)"modprobe", (char *)"-q", (char *)"ublk_drv", NULL};
  const struct process_options options = {
      .path = "/sbin/modprobe", .arguments = arguments, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
  struct process p;
  if (access(CONTROL_PATH, F_OK) == 0 || process_start(&options, &p, NULL) < 0)
    return;
  (void)process_wait(&p, MODPROBE_TIMEOUT_MS);
  process_end(&p, false);
}

int ublk_usable(struct umbra_error *why) {
  uint64_t features = 0;
  load_module();
  int r = ublk_control(UBLK_U_CMD_GET_FEATURES, UINT32_MAX, &features, sizeof features, 0);
  if (r == -ENOENT)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "the kernel has no ublk (module ublk_drv; Linux 6.5 or later)");
  if (r < 0)
    return error_code(why, r, "asking the kernel for ublk");
  if ((features & needed) != needed)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "the kernel's ublk is too old: it lacks features 0x%llx",
                     (unsigned long long)(needed & ~features));
  return 0;
}

static uint8_t shift_of(uint32_t bytes) { return (uint8_t)__builtin_ctz(bytes ? bytes : COW_SECTOR_BYTES); }

static int set_parameters(const struct front_seat *seat, const struct ublksrv_ctrl_dev_info *info) {
  const uint32_t logical = seat->logical_block_bytes,
                 physical = seat->physical_block_bytes > logical ? seat->physical_block_bytes : logical;
  struct ublk_params params = {
      .len = sizeof params,
      .types = UBLK_PARAM_TYPE_BASIC,
      .basic = {.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA | (seat->rotational ? UBLK_ATTR_ROTATIONAL : 0),
                .logical_bs_shift = shift_of(logical),
                .physical_bs_shift = shift_of(physical),
                .io_min_shift = shift_of(physical),
                .io_opt_shift = shift_of(physical),
                .max_sectors = info->max_io_buf_bytes / COW_SECTOR_BYTES,
                .dev_sectors = seat->volume_bytes / COW_SECTOR_BYTES},
  };
  if (seat->can_zero) {
    params.types |= UBLK_PARAM_TYPE_DISCARD;
    params.discard = (struct ublk_param_discard){.discard_granularity = physical,
                                                 .max_discard_sectors = DISCARD_BYTES_MAX / COW_SECTOR_BYTES,
                                                 .max_write_zeroes_sectors = DISCARD_BYTES_MAX / COW_SECTOR_BYTES,
                                                 .max_discard_segments = 1};
  }
  return ublk_control(UBLK_U_CMD_SET_PARAMS, info->dev_id, &params, sizeof params, 0);
}

int ublk_device_add(struct front_seat *seat, struct umbra_error *err) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  struct ublksrv_ctrl_dev_info info = {
      .nr_hw_queues = processors < 1                 ? 1
                      : processors < UBLK_QUEUES_MAX ? (uint16_t)processors
                                                     : (uint16_t)UBLK_QUEUES_MAX,
      .queue_depth = UBLK_QUEUE_DEPTH,
      .max_io_buf_bytes = COW_REQUEST_BYTES_MAX,
      .dev_id = UINT32_MAX,
      .flags = needed,
      .ublksrv_flags = seat->origin_identity,
  };
  int r = ublk_control(UBLK_U_CMD_ADD_DEV, UINT32_MAX, &info, sizeof info, 0);
  if (r < 0)
    return error_code(err, r, "making a ublk device");
  r = set_parameters(seat, &info);
  if (r < 0) {
    (void)ublk_device_delete(info.dev_id, NULL);
    return error_code(err, r, "setting the limits of ublk device %u", info.dev_id);
  }
  seat->number = info.dev_id;
  seat->queues = info.nr_hw_queues;
  return 0;
}

int ublk_device_look(const char *path, struct ublksrv_ctrl_dev_info *ret) {
  struct ublksrv_ctrl_dev_info info = {0};
  unsigned number;
  int end = 0;
  if (sscanf(path, "/dev/ublkb%u%n", &number, &end) != 1 || path[end] != '\0' || number > INT32_MAX)
    return -ENODEV;
  int r = ublk_control(UBLK_U_CMD_GET_DEV_INFO, number, &info, sizeof info, 0);
  if (ret)
    *ret = info;
  return r < 0 ? r : (int)number;
}

int ublk_device_adopt(uint32_t number, const struct ublksrv_ctrl_dev_info *info, struct front_seat *seat) {
  struct ublk_params params = {.len = sizeof params};
  int r = ublk_control(UBLK_U_CMD_GET_PARAMS, number, &params, sizeof params, 0);
  if (r < 0)
    return r;
  if (info->ublksrv_flags != seat->origin_identity || (info->flags & needed) != needed ||
      info->nr_hw_queues > UBLK_QUEUES_MAX || params.basic.dev_sectors != seat->volume_bytes / COW_SECTOR_BYTES)
    return -ESTALE;
  seat->number = number;
  seat->queues = info->nr_hw_queues;
  return 0;
}

int ublk_device_stop(uint32_t number, struct umbra_error *err) {
  int r = ublk_control(UBLK_U_CMD_STOP_DEV, number, NULL, 0, 0);
  return r < 0 && r != -ENODEV ? error_code(err, r, "stopping ublk device %u", number) : 0;
}

int ublk_device_delete(uint32_t number, struct umbra_error *err) {
  int r = ublk_control(UBLK_U_CMD_DEL_DEV_ASYNC, number, NULL, 0, 0);
  if (r == -EOPNOTSUPP || r == -EINVAL)
    r = ublk_control(UBLK_U_CMD_DEL_DEV, number, NULL, 0, 0);
  return r < 0 && r != -ENODEV ? error_code(err, r, "removing ublk device %u", number) : 0;
}
