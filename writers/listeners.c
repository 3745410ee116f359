/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/listeners.h"

#include "common/cleanup.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct sockets {
  unsigned long list[LISTENER_SOCKETS_MAX]; /* inodes */
  size_t count;
};

static void find_sockets(pid_t pid, struct sockets *ret) {
  char path[64], target[64];
  (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
  CLEANUP_CLOSEDIR DIR *dir = opendir(path);
  ret->count = 0;
  for (const struct dirent *e; dir && (e = readdir(dir)) && ret->count < LISTENER_SOCKETS_MAX;) {
    ssize_t length = readlinkat(dirfd(dir), e->d_name, target, sizeof target - 1);
    if (length <= 0)
      continue;
    target[length] = '\0';
    ret->count += sscanf(target, "socket:[%lu]", &ret->list[ret->count]) == 1;
  }
}

static bool is_one(const struct sockets *s, unsigned long inode) {
  for (size_t i = 0; i < s->count; i++)
    if (s->list[i] == inode)
      return true;
  return false;
}

static FILE *open_table(pid_t pid, const char *name) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/net/%s", (int)pid, name);
  return fopen(path, "re");
}

static bool same_network(pid_t pid) {
  char path[64], ours[64], its[64];
  (void)snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
  ssize_t a = readlink("/proc/self/ns/net", ours, sizeof ours), b = readlink(path, its, sizeof its);
  return a > 0 && a == b && memcmp(ours, its, (size_t)a) == 0;
}

/* "Num RefCount Protocol Flags Type St Inode Path"; Flags has __SO_ACCEPTCON. */
static size_t unix_listeners(pid_t pid, const struct sockets *s, struct listener *list, size_t room) {
  CLEANUP_FCLOSE FILE *file = open_table(pid, "unix");
  char line[512];
  size_t count = 0;
  while (file && count < room && fgets(line, sizeof line, file)) {
    unsigned flags;
    unsigned long inode;
    struct listener one = {0};
    if (sscanf(line, "%*s %*s %*s %x %*s %*s %lu %127s", &flags, &inode, one.path) == 3 && flags & 0x10000 &&
        one.path[0] == '/' && is_one(s, inode))
      list[count++] = one;
  }
  return count;
}

/* Words of 32 bits as they lie in memory, in hexadecimal. Any address is reached as the loopback one. */
static bool parse_address(const char *text, struct listener *ret) {
  uint32_t words[4];
  unsigned port;
  int family = strcspn(text, ":") == 8 ? AF_INET : AF_INET6;
  int n = family == AF_INET ? sscanf(text, "%8x:%x", &words[0], &port) - 1
                            : sscanf(text, "%8x%8x%8x%8x:%x", &words[0], &words[1], &words[2], &words[3], &port) - 1;
  if (n != (family == AF_INET ? 1 : 4))
    return false;
  static const uint32_t any[4];
  ret->port = (int)port;
  if (memcmp(words, any, (size_t)n * sizeof *words) == 0)
    return snprintf(ret->host, sizeof ret->host, "%s", family == AF_INET ? "127.0.0.1" : "::1") > 0;
  return inet_ntop(family, words, ret->host, sizeof ret->host);
}

static size_t tcp_listeners(pid_t pid, const char *table, const struct sockets *s, struct listener *list,
                            size_t room) {
  CLEANUP_FCLOSE FILE *file = open_table(pid, table);
  char line[512], address[64];
  size_t count = 0;
  while (file && count < room && fgets(line, sizeof line, file)) {
    unsigned state;
    unsigned long inode;
    struct listener one = {0};
    if (sscanf(line, "%*s %63s %*s %x %*s %*s %*s %*s %*s %lu", address, &state, &inode) == 3 && state == 0x0a &&
        is_one(s, inode) && parse_address(address, &one))
      list[count++] = one;
  }
  return count;
}

static int by_port(const void *a, const void *b) {
  return ((const struct listener *)a)->port - ((const struct listener *)b)->port;
}

size_t listeners_of(pid_t pid, struct listener list[LISTENERS_MAX]) {
  struct sockets sockets;
  find_sockets(pid, &sockets);
  size_t locals = unix_listeners(pid, &sockets, list, LISTENERS_MAX), count = locals;
  if (same_network(pid)) {
    count += tcp_listeners(pid, "tcp", &sockets, list + count, LISTENERS_MAX - count);
    count += tcp_listeners(pid, "tcp6", &sockets, list + count, LISTENERS_MAX - count);
  }
  /* A cluster's bus listens on a port above the one for clients. */
  qsort(list + locals, count - locals, sizeof *list, by_port);
  return count;
}
