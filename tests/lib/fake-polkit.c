/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fake-polkit FILE: org.freedesktop.PolicyKit1 as the test wants it. Each request is a line on standard output,
 * "ACTION SENDER FLAGS"; the answer is the word in FILE: yes, no, or never (none comes).
 */
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

static int on_check(sd_bus_message *m, void *context, sd_bus_error *error) {
  (void)error;
  const char *kind, *key, *sender, *action, *id;
  uint32_t flags = 0;
  char word[16] = "no";
  int r = sd_bus_message_read(m, "(sa{sv})", &kind, 1, &key, "s", &sender);
  if (r >= 0)
    r = sd_bus_message_read(m, "s", &action);
  if (r >= 0)
    r = sd_bus_message_skip(m, "a{ss}");
  if (r >= 0)
    r = sd_bus_message_read(m, "us", &flags, &id);
  if (r < 0)
    return r;
  printf("%s %s %u\n", action, sender, flags);
  (void)fflush(stdout);
  FILE *f = fopen(context, "re");
  if (f) {
    if (fscanf(f, "%15s", word) != 1)
      word[0] = 0;
    (void)fclose(f);
  }
  if (strcmp(word, "never") == 0)
    return 1;
  return sd_bus_reply_method_return(m, "(bba{ss})", strcmp(word, "yes") == 0, 0, 0);
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", on_check, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

int main(int argc, char **argv) {
  sd_bus *bus = NULL;
  int r = argc == 2 ? sd_bus_open_system(&bus) : -1;
  if (r >= 0)
    r = sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/PolicyKit1/Authority",
                                 "org.freedesktop.PolicyKit1.Authority", vtable, argv[1]);
  if (r >= 0)
    r = sd_bus_request_name(bus, "org.freedesktop.PolicyKit1", 0);
  while (r >= 0) {
    r = sd_bus_process(bus, NULL);
    if (r == 0)
      r = sd_bus_wait(bus, UINT64_MAX);
  }
  return 1;
}
