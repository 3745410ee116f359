/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra-cow: supervisor or server of an attached volume, started by `umbra attach` and by each other; not by people.
 */
#include "common/log.h"
#include "cow/serve/server.h"
#include "cow/serve/supervisor.h"

#include <string.h>

static const struct role {
  const char *name;
  int (*run)(struct umbra_error *err);
} roles[] = {{"supervise", supervisor_main}, {"serve", server_main}};

int main(int argc, char **argv) {
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
