/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program on the bus that asks umbrad for what busctl cannot: to keep a connection, to take a descriptor, to be a
 * nuisance.
 *
 *   bus-client hold PROVIDER PATH...        an auto-release set; its path is printed. Then commands from standard
 * input, until its end: "open SHADOW FILE" prints the file, "complete", "delete" bus-client open SHADOW FILE prints a
 * file of a shadow copy; status 1 with the error's name when it is refused bus-client flood COUNT PROVIDER PATH    so
 * many CreateSet calls at once: "made N limit N other N", when all are answered bus-client leave COUNT PROVIDER PATH
 * the same, but leaves without hearing any answer bus-client connections COUNT            so many connections, each
 * of which lists the sets: "answered N" bus-client garbage COUNT SEED           calls of all sorts that mean nothing:
 * "answered N refused N"
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define NAME "org.umbra.Umbra1"
#define ROOT "/org/umbra/Umbra1"
#define LIMIT_US (100 * UINT64_C(1000000))
enum { CONNECTIONS_MAX = 4000 };

#define CLEANUP_ERROR __attribute__((cleanup(sd_bus_error_free))) sd_bus_error
#define CLEANUP_MESSAGE __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message

static int complain(const char *what, const sd_bus_error *error, int r) {
  (void)fprintf(stderr, "%s: %s: %s\n", what, error && error->name ? error->name : "",
                error && error->message ? error->message : strerror(-r));
  return 1;
}

static int append_create(sd_bus_message *m, const char *provider, char *const *paths, int auto_release) {
  int r = sd_bus_message_append_strv(m, (char **)(uintptr_t)paths);
  return r < 0 ? r
               : sd_bus_message_append(m, "a{sv}", 3, "provider", "s", provider, "auto-release", "b", auto_release,
                                       "wait", "b", 1);
}

static int create_message(sd_bus *bus, sd_bus_message **ret, const char *provider, char *const *paths,
                          int auto_release) {
  int r = sd_bus_message_new_method_call(bus, ret, NAME, ROOT, NAME ".Manager", "CreateSet");
  return r < 0 ? r : append_create(*ret, provider, paths, auto_release);
}

static int open_shadow(sd_bus *bus, const char *shadow, const char *file) {
  CLEANUP_ERROR error = SD_BUS_ERROR_NULL;
  CLEANUP_MESSAGE *reply = NULL;
  int root = -1;
  int r = sd_bus_call_method(bus, NAME, shadow, NAME ".Shadow", "Open", &error, &reply, "");
  if (r >= 0)
    r = sd_bus_message_read(reply, "h", &root);
  if (r < 0)
    return complain("open", &error, r);
  int fd = openat(root, file, O_RDONLY | O_CLOEXEC);
  char chunk[4096];
  ssize_t n = fd < 0 ? -1 : read(fd, chunk, sizeof chunk);
  if (n < 0)
    return complain(file, NULL, -errno);
  (void)fwrite(chunk, 1, (size_t)n, stdout);
  (void)fflush(stdout);
  (void)close(fd);
  return 0;
}

static int hold(sd_bus *bus, const char *provider, char *const *paths) {
  CLEANUP_ERROR error = SD_BUS_ERROR_NULL;
  CLEANUP_MESSAGE *call = NULL, *reply = NULL;
  const char *set;
  char line[1024], shadow[512], file[512];
  int r = create_message(bus, &call, provider, paths, 1);
  if (r >= 0)
    r = sd_bus_call(bus, call, LIMIT_US, &error, &reply);
  if (r >= 0)
    r = sd_bus_message_read(reply, "o", &set);
  if (r < 0)
    return complain("hold", &error, r);
  printf("%s\n", set);
  (void)fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    sd_bus_error_free(&error);
    if (sscanf(line, "open %500s %500s", shadow, file) == 2)
      r = open_shadow(bus, shadow, file);
    else if (strncmp(line, "complete", 8) == 0)
      r = sd_bus_call_method(bus, NAME, set, NAME ".Set", "Complete", &error, NULL, "b", 1);
    else
      r = sd_bus_call_method(bus, NAME, set, NAME ".Set", "Delete", &error, NULL, "");
    printf("%s\n", r < 0 ? error.name : r > 0 ? "done" : "");
    (void)fflush(stdout);
  }
  return 0;
}

struct count {
  int made, limit, other, open;
};

static int on_reply(sd_bus_message *m, void *context, sd_bus_error *error) {
  (void)error;
  struct count *count = context;
  const sd_bus_error *e = sd_bus_message_get_error(m);
  if (!e)
    count->made++;
  else if (strcmp(e->name, NAME ".Error.Limit") == 0)
    count->limit++;
  else {
    (void)fprintf(stderr, "%s: %s\n", e->name, e->message);
    count->other++;
  }
  count->open--;
  return 1;
}

static int flood(sd_bus *bus, int calls, const char *provider, char *const *paths, int leave) {
  struct count count = {0};
  for (int i = 0; i < calls; i++) {
    sd_bus_message *m = NULL;
    int r = create_message(bus, &m, provider, paths, leave);
    if (r >= 0)
      r = sd_bus_call_async(bus, NULL, m, on_reply, &count, LIMIT_US);
    if (r < 0)
      return complain("flood", NULL, r);
    sd_bus_message_unref(m);
    count.open++;
  }
  if (leave)
    return sd_bus_flush(bus) < 0;
  while (count.open > 0) {
    int r = sd_bus_process(bus, NULL);
    if (r < 0 || (r == 0 && (r = sd_bus_wait(bus, UINT64_MAX)) < 0))
      return complain("flood", NULL, r);
  }
  printf("made %d limit %d other %d\n", count.made, count.limit, count.other);
  return 0;
}

static int connections(int wanted) {
  static sd_bus *all[CONNECTIONS_MAX];
  int answered = 0;
  for (int i = 0; i < wanted && i < CONNECTIONS_MAX; i++) {
    sd_bus_message *reply = NULL;
    if (sd_bus_open_system(&all[i]) >= 0 &&
        sd_bus_call_method(all[i], NAME, ROOT, NAME ".Manager", "ListSets", NULL, &reply, "") >= 0)
      answered++;
    sd_bus_message_unref(reply);
  }
  printf("answered %d\n", answered);
  (void)fflush(stdout);
  (void)getchar();
  return 0;
}

/* Basic values, and containers of them, as they come. */
static int append_garbage(sd_bus_message *m, int depth) {
  static const char *const texts[] = {"",    "/", "../../etc", "ÿ", "%s%n", "/org/umbra/Umbra1/set/0", "auto-release",
                                      "\x01"};
  const char *text = texts[rand() % 8];
  switch (rand() % (depth > 3 ? 6 : 9)) {
  case 0:
    return sd_bus_message_append(m, "s", text);
  case 1:
    return sd_bus_message_append(m, "u", (unsigned)rand());
  case 2:
    return sd_bus_message_append(m, "b", rand() % 2);
  case 3:
    return sd_bus_message_append(m, "o", ROOT);
  case 4:
    return sd_bus_message_append(m, "as", 2, text, text);
  case 5:
    return sd_bus_message_append(m, "a{sv}", 2, text, "t", UINT64_MAX, "wait", "s", text);
  case 6:
    return sd_bus_message_append(m, "v", "v", "s", text);
  case 7:
    return sd_bus_message_append(m, "h", STDIN_FILENO);
  default:
    return append_garbage(m, depth + 1) < 0 ? -EIO : append_garbage(m, depth + 1);
  }
}

static int garbage(sd_bus *bus, int calls, unsigned seed) {
  static const char *const paths[] = {
      ROOT, ROOT "/set", ROOT "/set/x", ROOT "/shadow/00000000000000000000000000000000", "/", ROOT "/writer/_2f"};
  static const char *const interfaces[] = {NAME ".Manager", NAME ".Set", NAME ".Shadow",
                                           "org.freedesktop.DBus.Properties", NAME ".None"};
  static const char *const members[] = {"CreateSet", "DeleteSet", "Show",   "Doctor",  "TestWriter", "EnableWriter",
                                        "Recover",   "Wait",      "Mount",  "Open",    "Complete",   "Delete",
                                        "Get",       "Set",       "GetAll", "ListSets"};
  int answered = 0, refused = 0;
  srand(seed);
  for (int i = 0; i < calls; i++) {
    sd_bus_message *m = NULL;
    int r = sd_bus_message_new_method_call(bus, &m, NAME, paths[rand() % 6], interfaces[rand() % 5],
                                           members[rand() % 16]);
    for (int n = rand() % 4; r >= 0 && n > 0; n--)
      r = append_garbage(m, 0);
    if (r >= 0) {
      r = sd_bus_call(bus, m, LIMIT_US, NULL, NULL);
      answered += r >= 0;
      refused += r < 0 && r != -ETIMEDOUT && r != -ENOTCONN && r != -ECONNRESET;
    } else
      refused++; /* it could not be said at all */
    sd_bus_message_unref(m);
  }
  printf("answered %d refused %d\n", answered, refused);
  return answered + refused != calls;
}

int main(int argc, char **argv) {
  sd_bus *bus = NULL;
  const char *verb = argc > 2 ? argv[1] : "";
  if (strcmp(verb, "connections") == 0)
    return connections(atoi(argv[2]));
  int r = sd_bus_open_system(&bus);
  if (r < 0)
    return complain("the bus", NULL, r);
  int status = 2;
  if (strcmp(verb, "hold") == 0 && argc > 3)
    status = hold(bus, argv[2], argv + 3);
  else if (strcmp(verb, "open") == 0 && argc == 4)
    status = open_shadow(bus, argv[2], argv[3]);
  else if ((strcmp(verb, "flood") == 0 || strcmp(verb, "leave") == 0) && argc > 4)
    status = flood(bus, atoi(argv[2]), argv[3], argv + 4, strcmp(verb, "leave") == 0);
  else if (strcmp(verb, "garbage") == 0 && argc == 4)
    status = garbage(bus, atoi(argv[2]), (unsigned)atoi(argv[3]));
  sd_bus_unref(bus);
  return status;
}
