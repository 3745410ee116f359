/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Work in a mount namespace of its own without a process of its own: a thread leaves the namespace of its process,
 * works, and ends.  What it leaves open (a descriptor of the namespace or of a detached mount) is the process's; with
 * nothing left open the namespace and all that was mounted in it are gone.  Source: unshare(2), mount_namespaces(7).
 *
 * In such a thread "/proc/self" means the thread group, so the old namespace: use "/proc/thread-self".
 */
#ifndef VIEW_NAMESPACE_THREAD_H
#define VIEW_NAMESPACE_THREAD_H

#include "common/error.h"

/*
 * Runs work on a new thread in a copy of this mount namespace, in which every mount is a slave of its original: what
 * the host mounts later comes in, nothing goes out.  Blocks until it has returned; gives its result.  Signals are
 * blocked in it.
 */
typedef int (*namespace_work)(void *context, struct umbra_error *err);
int namespace_thread_run(namespace_work work, void *context, struct umbra_error *err);

#endif
