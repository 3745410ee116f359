/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/serve/mapper.h"

#include "common/cleanup.h"

#include <errno.h>
#include <libdevmapper.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

#define CONTROL_NODE "/dev/mapper/control"

/* The library says what went wrong to its log only; the first line is the cause. */
static _Thread_local char complaint[160];

__attribute__((format(printf, 5, 6))) static void take_log(int level, const char *file, int line, int code,
                                                           const char *format, ...) {
  (void)file;
  (void)line;
  (void)code;
  va_list arguments;
  /* Its levels are those of syslog, with flags above. */
  if ((level & LOG_PRIMASK) > LOG_ERR || complaint[0] != '\0')
    return;
  va_start(arguments, format);
  (void)vsnprintf(complaint, sizeof complaint, format, arguments);
  va_end(arguments);
}

static void prepare_library(void) {
  dm_log_with_errno_init(take_log);
  dm_udev_set_sync_support(0);
}

static void task_done(struct dm_task **task) {
  if (*task)
    dm_task_destroy(*task);
}
#define CLEANUP_TASK CLEANUP(task_done)

static int failed(const struct dm_task *task, const char *what, const char *name, struct umbra_error *err) {
  int code = task ? dm_task_get_errno((struct dm_task *)task) : 0;
  return error_set(err, code > 0 ? -code : -EIO, code == EBUSY ? UMBRA_REASON_BUSY : UMBRA_REASON_INTERNAL,
                   "%s device-mapper device '%s': %s", what, name,
                   complaint[0] != '\0' ? complaint : strerror(code > 0 ? code : EIO));
}

static struct dm_task *task_new(int type, const char *name) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, prepare_library);
  complaint[0] = '\0';
  struct dm_task *task = dm_task_create(type);
  if (task && name && !dm_task_set_name(task, name)) {
    dm_task_destroy(task);
    task = NULL;
  }
  return task;
}

static bool set_cookie(struct dm_task *task, uint16_t flags) {
  uint32_t cookie = 0;
  return dm_task_set_cookie(task, &cookie, flags);
}

static bool add_table(struct dm_task *task, const struct mapper_table *table) {
  uint64_t start = 0;
  for (size_t i = 0; i < table->count; i++) {
    const struct mapper_piece *p = &table->pieces[i];
    char parameters[64];
    (void)snprintf(parameters, sizeof parameters, "%u:%u 0", major(p->device), minor(p->device));
    if (!dm_task_add_target(task, start, p->sectors, "linear", parameters))
      return false;
    start += p->sectors;
  }
  return true;
}

int mapper_usable(struct umbra_error *err) {
  char version[32];
  /* Opening the node loads the module; where there is none, the library would make one. */
  if (access(CONTROL_NODE, R_OK | W_OK) < 0)
    return error_errno(err, "this machine has no device-mapper ('" CONTROL_NODE "')");
  CLEANUP_TASK struct dm_task *task = task_new(DM_DEVICE_VERSION, NULL);
  if (!task || !dm_task_run(task) || !dm_task_get_driver_version(task, version, sizeof version))
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "this kernel has no device-mapper: %s",
                     complaint[0] != '\0' ? complaint : "it does not answer");
  return 0;
}

int mapper_create(const char *name, const char *uuid, const struct mapper_table *table, bool guard, dev_t *ret,
                  struct umbra_error *err) {
  struct dm_info info;
  CLEANUP_TASK struct dm_task *task = task_new(DM_DEVICE_CREATE, name);
  const uint16_t hidden =
      DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | DM_UDEV_DISABLE_DISK_RULES_FLAG | DM_UDEV_DISABLE_OTHER_RULES_FLAG;
  if (!task || !dm_task_set_uuid(task, uuid) || !add_table(task, table) || (guard && !dm_task_set_ro(task)) ||
      !set_cookie(task, guard ? hidden : 0) || !dm_task_run(task) || !dm_task_get_info(task, &info))
    return failed(task, "making", name, err);
  *ret = makedev(info.major, info.minor);
  return 0;
}

/* The first piece of the live table. */
static int look_at_table(const char *name, struct mapper_piece *ret, struct umbra_error *err) {
  uint64_t start = 0, sectors = 0;
  char *type = NULL, *parameters = NULL;
  unsigned numbers[2];
  CLEANUP_TASK struct dm_task *task = task_new(DM_DEVICE_TABLE, name);
  if (!task || !dm_task_no_flush(task) || !dm_task_run(task))
    return failed(task, "looking at", name, err);
  (void)dm_get_next_target(task, NULL, &start, &sectors, &type, &parameters);
  *ret = (struct mapper_piece){0};
  if (type && strcmp(type, "linear") == 0 && parameters &&
      sscanf(parameters, "%u:%u 0", &numbers[0], &numbers[1]) == 2)
    *ret = (struct mapper_piece){.device = makedev(numbers[0], numbers[1]), .sectors = sectors};
  return 0;
}

int mapper_look(const char *name, const char *uuid, struct mapper_state *ret, struct umbra_error *err) {
  struct dm_info info;
  CLEANUP_TASK struct dm_task *task = task_new(DM_DEVICE_INFO, name);
  if (!task || !dm_task_run(task) || !dm_task_get_info(task, &info))
    return failed(task, "looking at", name, err);
  if (!info.exists)
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "there is no device-mapper device '%s'", name);
  const char *its = dm_task_get_uuid(task);
  if (!its || strcmp(its, uuid) != 0)
    return error_set(err, -EEXIST, UMBRA_REASON_BUSY, "there is a device-mapper device '%s' that is not umbra's",
                     name);
  *ret = (struct mapper_state){.suspended = info.suspended,
                               .half_switched = info.inactive_table,
                               .openers = (unsigned)info.open_count,
                               .device = makedev(info.major, info.minor)};
  return info.live_table ? look_at_table(name, &ret->first, err) : 0;
}

/* DM_DEV_SUSPEND without its flag: takes the inactive table if there is one, and lets the device run. */
static int resume(const char *name, struct umbra_error *err) {
  CLEANUP_TASK struct dm_task *task = task_new(DM_DEVICE_RESUME, name);
  if (!task || !dm_task_skip_lockfs(task) || !set_cookie(task, 0) || !dm_task_run(task))
    return failed(task, "switching", name, err);
  return 0;
}

int mapper_switch(const char *name, const struct mapper_table *table, struct umbra_error *err) {
  CLEANUP_TASK struct dm_task *task = task_new(DM_DEVICE_RELOAD, name);
  if (!task || !add_table(task, table) || !dm_task_run(task))
    return failed(task, "giving another table to", name, err);
  return resume(name, err);
}

int mapper_settle(const char *name, const char *uuid, struct umbra_error *err) {
  struct mapper_state state;
  int r = mapper_look(name, uuid, &state, err);
  if (r < 0)
    return r;
  if (state.half_switched) {
    CLEANUP_TASK struct dm_task *task = task_new(DM_DEVICE_CLEAR, name);
    if (!task || !dm_task_run(task))
      return failed(task, "clearing the inactive table of", name, err);
  }
  return state.suspended && state.first.sectors > 0 ? resume(name, err) : 0;
}

int mapper_remove(const char *name, const char *uuid, struct umbra_error *err) {
  struct mapper_state state;
  int r = mapper_look(name, uuid, &state, err);
  if (r < 0)
    return r == -ENOENT ? 0 : r;
  CLEANUP_TASK struct dm_task *task = task_new(DM_DEVICE_REMOVE, name);
  if (!task || !dm_task_retry_remove(task) || !set_cookie(task, 0) || !dm_task_run(task))
    return failed(task, "removing", name, err);
  return 0;
}
