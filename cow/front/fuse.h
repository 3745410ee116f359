/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine as files of a FUSE filesystem: `volume`, the live volume, over which a loop device is put, and
 * `shadow-ID` for each live shadow copy, read-only unless it is writable.  Speaks the kernel's protocol itself
 * (linux/fuse.h): a session that outlives its server is nothing that libfuse offers. Requests that a killed server
 * had read and not answered are sent again by the kernel (FUSE_NOTIFY_RESEND, Linux 6.9).
 */
#ifndef COW_FRONT_FUSE_H
#define COW_FRONT_FUSE_H

#include "common/error.h"
#include "cow/engine.h"
#include "cow/front/front.h"

#include <stdbool.h>

enum { FUSE_FRONT_THREADS_MAX = 128, FUSE_FRONT_THREADS_DEFAULT = 8, FUSE_FRONT_BATCH_MAX = 4 };
#define FUSE_FRONT_VOLUME "volume"
#define FUSE_FRONT_SHADOW "shadow-"

struct fuse_front;

/* Supervisor: mounts an empty session at directory and gives its descriptor (the caller's). The mount is gone when it
 * is unmounted. source: what it lies on (volume/session.h). */
int fuse_front_mount(const char *directory, const char *source, int *ret_fd, struct umbra_error *err);

/*
 * Server: serves until fuse_front_stop(). again: another server served this session; what it did not answer is asked
 * for. -ENODATA: the kernel does not send that again, and there is some (front_has_lost()). volume: with the live
 * volume, not only the shadow copies. seat, fd and engine are borrowed. Buffers are got here, none later.
 */
int fuse_front_start(struct front_seat *seat, int fd, struct cow_engine *engine, unsigned threads, bool volume,
                     bool again, struct fuse_front **ret, struct umbra_error *err);
/* Waits until the requests under way are answered. */
void fuse_front_stop(struct fuse_front *f);

/* The session's file `volume` as a front: whoever attaches puts a loop device over it. */
extern const struct front front_fuse;

/* A request is read in two parts: so much of it, then the rest, which is aligned for the engine. */
enum { FUSE_FRONT_HEAD_BYTES = 80 };

#endif
