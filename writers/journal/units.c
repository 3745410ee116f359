/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "writers/journal/units.h"

#include "common/cleanup.h"
#include "writers/service.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum { UNITS = 3, SOCKETS = 2 /* the first of them */, NAMES_BYTES = 400 };

/* In the order in which they are stopped: the service would be started by a socket. */
static void unit_name(size_t i, const char *namespace, char ret[NAME_MAX]) {
  static const struct {
    const char *before, *after;
  } forms[UNITS] = {
      {"systemd-journald@", ".socket"}, {"systemd-journald-varlink@", ".socket"}, {"systemd-journald@", ".service"}};
  (void)snprintf(ret, NAME_MAX, "%s%s%s", forms[i].before, namespace, forms[i].after);
}

static bool is_own(const char *unit, const char *namespace) {
  char name[NAME_MAX];
  for (size_t i = 0; i < UNITS; i++) {
    unit_name(i, namespace, name);
    if (strcmp(unit, name) == 0)
      return true;
  }
  return false;
}

/* 1, 0 or a negative errno. */
static int is_active(const char *unit) {
  CLEANUP_FREE char *state = NULL;
  int r = service_property(unit, "ActiveState", &state);
  return r < 0 ? r : strcmp(state, "inactive") != 0 && strcmp(state, "failed") != 0;
}

/* Adds those that are active of the ones that need the socket to names, once each. */
static int add_users(const char *socket, const char *namespace, char names[NAMES_BYTES]) {
  CLEANUP_FREE char *list = NULL;
  char *rest = NULL;
  int r = service_property(socket, "RequiredBy", &list);
  for (char *unit = r < 0 ? NULL : strtok_r(list, " ", &rest); unit && r >= 0; unit = strtok_r(NULL, " ", &rest)) {
    if (is_own(unit, namespace) || strstr(names, unit))
      continue;
    r = is_active(unit);
    size_t used = strlen(names);
    if (r > 0)
      (void)snprintf(names + used, NAMES_BYTES - used, "%s'%s'", used > 0 ? ", " : "", unit);
  }
  return r < 0 ? r : 0;
}

static int check_users(const char *namespace, struct umbra_error *err) {
  char socket[NAME_MAX], names[NAMES_BYTES] = "";
  for (size_t i = 0; i < SOCKETS; i++) {
    unit_name(i, namespace, socket);
    int r = add_users(socket, namespace, names);
    if (r < 0)
      return error_code(err, r, "asking systemd who needs '%s'", socket);
  }
  return names[0]
             ? error_set(err, -EBUSY, UMBRA_REASON_BUSY,
                         "%s log to the journal's namespace '%s', and systemd would stop them with its journald: "
                         "end them first",
                         names, namespace)
             : 0;
}

int units_stop(const char *namespace, struct umbra_error *err) {
  char unit[NAME_MAX];
  if (!service_is_managed())
    return error_set(err, -EBUSY, UMBRA_REASON_BUSY, "the journald of namespace '%s' runs: end it first", namespace);
  int r = check_users(namespace, err);
  for (size_t i = 0; r == 0 && i < UNITS; i++) {
    unit_name(i, namespace, unit);
    if (service_stop(unit))
      continue;
    r = error_set(err, -EBUSY, UMBRA_REASON_BUSY, "'%s' does not stop: end it first", unit);
    for (size_t stopped = i; stopped-- > 0;) {
      unit_name(stopped, namespace, unit);
      (void)service_start(unit);
    }
  }
  return r;
}

bool units_start(const char *namespace) {
  char unit[NAME_MAX];
  bool done = true;
  for (size_t i = 0; i < UNITS; i++) {
    unit_name(i, namespace, unit);
    done = service_start(unit) && done;
  }
  return done;
}
