/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * umbra-cow: supervisor or server of an attached volume, started by `umbra attach` and by each other; not by people.
 * `umbra-cow name MAJOR:MINOR` is for udev: the name of the attached volume that this block device is, or status 1.
 */
#include "common/cleanup.h"
#include "common/log.h"
#include "cow/serve/client.h"
#include "cow/serve/route.h"
#include "cow/serve/server.h"
#include "cow/serve/supervisor.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

static const struct role {
  const char *name;
  int (*run)(struct umbra_error *err);
} roles[] = {{"supervise", supervisor_main},
             {"serve", server_main},
             {"direct", route_main_direct},
             {"through-engine", route_main_through_engine}};

static int print_name(const char *number) {
  unsigned numbers[2];
  CLEANUP_FREE char *directory = NULL;
  if (sscanf(number, "%u:%u", &numbers[0], &numbers[1]) != 2 ||
      cow_attached_directory(makedev(numbers[0], numbers[1]), &directory, NULL) < 0)
    return 1;
  printf("%s\n", strrchr(directory, '/') + 1);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "name") == 0)
    return print_name(argv[2]);
  for (size_t i = 0; argc == 2 && i < sizeof roles / sizeof roles[0]; i++)
    if (strcmp(argv[1], roles[i].name) == 0) {
      struct umbra_error err = {0};
      if (roles[i].run(&err) >= 0)
        return 0;
      log_error("%s an attached volume: %s", roles[i].name, err.message);
      return 1;
    }
  log_error("umbra-cow is run by `umbra attach`; see umbra-attach(8)");
  return 2;
}
