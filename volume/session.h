/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a FUSE session of an attached volume lies on, so that the order of freezing holds across it: its server writes
 * to the volume's origin and, before that, to its storage.  The kernel cannot know; so the session's mount says it in
 * its source, where it is seen by whoever reads mountinfo and lasts as long as the mount:
 * "umbra:block=7:3,superblock=0:41". Numbers are those of sysfs and of mountinfo.
 */
#ifndef VOLUME_SESSION_H
#define VOLUME_SESSION_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define VOLUME_SESSION_TYPE "fuse.umbra"
enum { VOLUME_SESSION_FDS_MAX = 8 };

/* The source for a session over these block devices and files (at most VOLUME_SESSION_FDS_MAX). The caller frees
 * *ret. */
int volume_session_source(const int *fds, size_t count, char **ret, struct umbra_error *err);

/* What a source says, in order; what is none says nothing. block: a device, else a superblock. */
void volume_session_visit(const char *source, void (*visit)(bool block, dev_t number, void *context), void *context);

#endif
