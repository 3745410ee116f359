/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stopping in the middle: -ECANCELED when the listener says so. */
#ifndef BACKUP_CANCEL_H
#define BACKUP_CANCEL_H

#include "backup/backup.h"

#include <errno.h>

static inline int backup_check_cancelled(const struct backup_listener *l, struct umbra_error *err) {
  if (!l || !l->cancelled || !l->cancelled(l->userdata))
    return 0;
  return error_set(err, -ECANCELED, UMBRA_REASON_CANCELLED, "stopped as asked");
}

#endif
