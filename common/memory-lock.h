/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeps the memory that runs during a hold in RAM, so that no page of it has to come from a volume that is frozen.
 * Not mlockall(): that would make resident every page of every library the program is linked with, tens of megabytes
 * that a hold never touches.
 */
#ifndef COMMON_MEMORY_LOCK_H
#define COMMON_MEMORY_LOCK_H

/*
 * Locks the program itself, the C library and the loader, heap, stacks and other anonymous memory up to
 * MEMORY_LOCK_MAPPING_BYTES_MAX a mapping, as they are now.  What cannot be locked (RLIMIT_MEMLOCK) is left: reads
 * from a frozen volume work, it is only slower.
 */
enum { MEMORY_LOCK_MAPPING_BYTES_MAX = 128 * 1024 * 1024 };
void memory_lock_self(void);
void memory_unlock_self(void);

/*
 * MEMORY_STACK_BYTES of the calling thread's stack, from here down, are in memory afterwards, and stay there where
 * pages are locked once they are touched (MCL_ONFAULT).  The thread's stack must be larger.
 */
enum { MEMORY_STACK_BYTES = 256 * 1024 };
void memory_touch_stack(void);

#endif
