/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/memory-lock.h"

#include "common/cleanup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* name: the path column of /proc/PID/maps, empty for anonymous memory. */
static bool wanted(const char *name, const char *program) {
  if (name[0] != '/')
    return strncmp(name, "[v", 2) != 0; /* not [vdso], [vvar], [vsyscall] */
  const char *base = strrchr(name, '/') + 1;
  return strcmp(name, program) == 0 || strncmp(base, "libc.so", 7) == 0 || strncmp(base, "ld-linux", 8) == 0;
}

void memory_lock_self(void) {
  char program[PATH_MAX] = "";
  if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
    return;
  CLEANUP_FCLOSE FILE *maps = fopen("/proc/self/maps", "re");
  char line[PATH_MAX + 128];
  while (maps && fgets(line, sizeof line, maps)) {
    unsigned long start, end;
    char permissions[5], name[PATH_MAX] = "";
    if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %4095[^\n]", &start, &end, permissions, name) < 3)
      continue;
    if (permissions[0] == 'r' && end - start <= MEMORY_LOCK_MAPPING_BYTES_MAX && wanted(name, program))
      (void)mlock((const void *)start, end - start); /* NOLINT: an address read from the kernel */
  }
}

void memory_unlock_self(void) { (void)munlockall(); }

enum { PAGE_BYTES = 4096 };

__attribute__((noinline)) void memory_touch_stack(void) {
  volatile unsigned char stack[MEMORY_STACK_BYTES];
  for (size_t i = 0; i < sizeof stack; i += PAGE_BYTES)
    stack[i] = 0;
}
