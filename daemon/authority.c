/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may.  By the user database: root, and members of the group.  Others by polkit, if it runs: its answer is
 * awaited without holding anybody up.  Source: org.freedesktop.PolicyKit1.Authority(3), CheckAuthorization().
 */
#include "daemon/calls.h"

#include "common/log.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>

enum { GROUPS_MAX = 1024 };
/* How long a person may take to answer. */
#define AUTHORITY_LIMIT_US (120 * UINT64_C(1000000))
#define POLKIT_ALLOW_INTERACTION 1U

static bool in_group(const char *group, uid_t user) {
  const struct passwd *entry = getpwuid(user);
  gid_t groups[GROUPS_MAX];
  int count = GROUPS_MAX;
  if (!entry || getgrouplist(entry->pw_name, entry->pw_gid, groups, &count) < 0)
    return false;
  const struct group *wanted = getgrnam(group);
  for (int i = 0; wanted && i < count; i++)
    if (groups[i] == wanted->gr_gid)
      return true;
  return false;
}

int authority_look(struct service *s, sd_bus_message *m, uid_t *ret_user, bool *ret_trusted) {
  sd_bus_creds *creds = NULL;
  uid_t user = (uid_t)-1;
  int r = sd_bus_query_sender_creds(m, SD_BUS_CREDS_EUID, &creds);
  if (r >= 0)
    r = sd_bus_creds_get_euid(creds, &user);
  sd_bus_creds_unref(creds);
  if (r < 0)
    return r;
  *ret_user = user;
  *ret_trusted = user == 0 || in_group(s->group, user);
  return 0;
}

static int on_answer(sd_bus_message *m, void *context, sd_bus_error *error) {
  (void)error;
  struct call *c = context;
  int authorised = 0, challenge = 0;
  if (sd_bus_message_is_method_error(m, NULL))
    log_debug("polkit: %s", sd_bus_message_get_error(m)->message);
  else if (sd_bus_message_enter_container(m, 'r', "bba{ss}") < 0 ||
           sd_bus_message_read(m, "bb", &authorised, &challenge) < 0)
    authorised = 0;
  calls_authorised(c, authorised);
  return 0;
}

int authority_ask(struct call *c, const char *action) {
  sd_bus_message *m = NULL;
  c->asked = true;
  unsigned flags = sd_bus_message_get_allow_interactive_authorization(c->message) > 0 ? POLKIT_ALLOW_INTERACTION : 0;
  int r = sd_bus_message_new_method_call(c->service->bus, &m, "org.freedesktop.PolicyKit1",
                                         "/org/freedesktop/PolicyKit1/Authority",
                                         "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
  if (r >= 0)
    r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s", c->sender, action, 0, flags,
                              "");
  if (r >= 0)
    r = sd_bus_call_async(c->service->bus, &c->question, m, on_answer, c, AUTHORITY_LIMIT_US);
  sd_bus_message_unref(m);
  return r;
}
