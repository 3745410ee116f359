/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libumbra/remote.h"

#include "libumbra/handles.h"

#include "common/bus-error.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define NAME "org.umbra.Umbra1"
#define ROOT "/org/umbra/Umbra1"
#define MANAGER NAME ".Manager"

struct remote {
  sd_bus *bus;
  char *unique; /* name of umbrad's connection: anybody may send signals that look like its */
  char *set;    /* the object of the set that is being made; NULL */
};

static void unref_message(sd_bus_message **m) { sd_bus_message_unref(*m); }
#define CLEANUP_MESSAGE CLEANUP(unref_message) sd_bus_message

/* ---- finding it ---- */

static bool same_text(sd_bus *bus, const char *property, const char *wanted) {
  CLEANUP_FREE char *value = NULL, *here = realpath(wanted, NULL), *there = NULL;
  if (sd_bus_get_property_string(bus, NAME, ROOT, MANAGER, property, NULL, &value) < 0)
    return false;
  there = realpath(value, NULL);
  return strcmp(value, wanted) == 0 || (here && there && strcmp(here, there) == 0);
}

/* Where it mounts, we see it. */
static bool same_mounts(sd_bus *bus) {
  uint64_t theirs = 0;
  struct stat ours;
  return sd_bus_get_property_trivial(bus, NAME, ROOT, MANAGER, "MountNamespace", NULL, 't', &theirs) >= 0 &&
         stat("/proc/self/ns/mnt", &ours) == 0 && ours.st_ino == theirs;
}

/* Without waking it: who did not start umbrad did not ask for it. */
static bool runs(sd_bus *bus) {
  CLEANUP_MESSAGE *reply = NULL;
  int there = 0;
  return sd_bus_call_method(bus, "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", NULL, &reply,
                            "s", NAME) >= 0 &&
         sd_bus_message_read(reply, "b", &there) >= 0 && there;
}

static int on_signal(sd_bus_message *m, void *context, sd_bus_error *error) {
  (void)error;
  struct umbra_client *client = context;
  const struct coordinator *c = client->coordinator;
  const char *path = sd_bus_message_get_path(m), *phase, *text;
  uint64_t done = 0, total = 0;
  const char *sender = sd_bus_message_get_sender(m);
  if (!client->remote || !sender || strcmp(sender, client->remote->unique) != 0)
    return 0;
  bool ours = client->remote && client->remote->set && path && strcmp(path, client->remote->set) == 0;
  if (sd_bus_message_is_signal(m, MANAGER, "Warning") ||
      (ours && sd_bus_message_is_signal(m, NAME ".Set", "Warning"))) {
    if (sd_bus_message_read(m, "s", &text) >= 0)
      coordinator_warn(c, "%s", text);
  } else if (ours && sd_bus_message_is_signal(m, NAME ".Set", "Progress") && c->progress &&
             sd_bus_message_read(m, "sstt", &phase, &text, &done, &total) >= 0)
    c->progress(c->progress_userdata, phase, *text ? text : NULL, done, total);
  return 0;
}

/* NULL: it has none, or there is no memory. */
static char *unique_name(sd_bus *bus) {
  sd_bus_creds *creds = NULL;
  const char *name = NULL;
  char *copy = sd_bus_get_name_creds(bus, NAME, SD_BUS_CREDS_UNIQUE_NAME, &creds) >= 0 &&
                       sd_bus_creds_get_unique_name(creds, &name) >= 0
                   ? strdup(name)
                   : NULL;
  sd_bus_creds_unref(creds);
  return copy;
}

int remote_open(struct umbra_client *client, struct remote **ret) {
  struct remote *r = calloc(1, sizeof *r);
  *ret = NULL;
  if (!r)
    return error_code(&client->error, -ENOMEM, "connecting to umbrad");
  const struct coordinator *c = client->coordinator;
  if (sd_bus_open_system(&r->bus) < 0 || !runs(r->bus) || !same_text(r->bus, "StateDirectory", c->state_dir) ||
      !same_text(r->bus, "RuntimeDirectory", c->runtime_dir) ||
      !same_text(r->bus, "ConfigDirectory", c->config_dir) || !same_mounts(r->bus) ||
      !(r->unique = unique_name(r->bus)) || sd_bus_add_filter(r->bus, NULL, on_signal, client) < 0) {
    remote_free(r);
    return 0;
  }
  *ret = r;
  return 0;
}

void remote_free(struct remote *remote) {
  if (!remote)
    return;
  sd_bus_flush_close_unref(remote->bus);
  free(remote->set);
  free(remote->unique);
  free(remote);
}

/* ---- calling it ---- */

static bool is_text(const char *text) {
  json_t *string = json_string(text);
  json_decref(string);
  return string != NULL;
}

bool remote_can(const char *const *paths, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (paths[i][0] != '/' || !is_text(paths[i]))
      return false;
  return true;
}

static int on_reply(sd_bus_message *m, void *context, sd_bus_error *error) {
  (void)error;
  *(sd_bus_message **)context = sd_bus_message_ref(m);
  return 1;
}

/* Until something comes over the bus, or the client is cancelled. */
static int wait_for_more(struct umbra_client *client, bool heed_cancel) {
  struct pollfd fds[] = {
      {.fd = sd_bus_get_fd(client->remote->bus), .events = (short)sd_bus_get_events(client->remote->bus)},
      {.fd = heed_cancel ? client->coordinator->cancel_event : -1, .events = POLLIN}};
  if (poll(fds, 2, -1) < 0 && errno != EINTR)
    return -errno;
  return fds[1].revents & POLLIN ? -ECANCELED : 0;
}

/* A set that is being made is cancelled, and its end awaited; of the rest umbrad learns by our leaving. */
static int cancel(struct umbra_client *client) {
  struct remote *remote = client->remote;
  return remote->set
             ? sd_bus_call_method_async(remote->bus, NULL, NAME, remote->set, NAME ".Set", "Cancel", NULL, NULL, "")
             : -ECANCELED;
}

static int read_error(struct umbra_client *client, sd_bus_message *reply) {
  const sd_bus_error *e = sd_bus_message_get_error(reply);
  int code = -EIO;
  enum umbra_reason reason = bus_error_reason(e->name, &code);
  return error_set(&client->error, code, reason, "%s", e->message);
}

/* m: taken. *ret (the caller's): the reply. */
static int call(struct umbra_client *client, sd_bus_message *m_taken, bool heed_cancel, sd_bus_message **ret) {
  CLEANUP_MESSAGE *m = m_taken, *reply = NULL;
  struct remote *remote = client->remote;
  sd_bus_slot *slot = NULL;
  int r = sd_bus_call_async(remote->bus, &slot, m, on_reply, &reply, UINT64_MAX);
  while (r >= 0 && !reply) {
    r = sd_bus_process(remote->bus, NULL);
    if (r == 0 && (r = wait_for_more(client, heed_cancel)) == -ECANCELED) {
      heed_cancel = false;
      r = cancel(client);
    }
  }
  /* An answer that comes after we have gone away would be put where nobody's is any more. */
  sd_bus_slot_unref(slot);
  if (r == -ECANCELED)
    return error_set(&client->error, r, UMBRA_REASON_CANCELLED, "cancelled");
  if (r < 0)
    return error_code(&client->error, r, "asking umbrad");
  if (sd_bus_message_is_method_error(reply, NULL))
    return read_error(client, reply);
  *ret = take_pointer(reply);
  return 0;
}

static int new_call(struct umbra_client *client, sd_bus_message **ret, const char *path, const char *interface,
                    const char *method) {
  error_clear(&client->error);
  int r = sd_bus_message_new_method_call(client->remote->bus, ret, NAME, path, interface, method);
  if (r >= 0)
    r = sd_bus_message_set_allow_interactive_authorization(*ret, isatty(STDIN_FILENO));
  return r < 0 ? error_code(&client->error, r, "asking umbrad") : 0;
}

/* Sends it and reads a string out of the reply; ret NULL: there is none. */
static int call_for_text(struct umbra_client *client, sd_bus_message *m_taken, char **ret) {
  CLEANUP_MESSAGE *reply = NULL;
  const char *text = NULL;
  int r = call(client, m_taken, true, &reply);
  if (r < 0 || !ret)
    return r;
  if ((r = sd_bus_message_read(reply, "s", &text)) < 0)
    return error_code(&client->error, r, "reading umbrad's answer");
  *ret = strdup(text);
  return *ret ? 0 : error_code(&client->error, -ENOMEM, "reading umbrad's answer");
}

int remote_text(struct umbra_client *client, const char *method, const char *argument, char **ret) {
  CLEANUP_MESSAGE *m = NULL;
  if (argument && !is_text(argument))
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID, "'%s' is no text", argument);
  int r = new_call(client, &m, ROOT, MANAGER, method);
  if (r >= 0 && argument && (r = sd_bus_message_append(m, "s", argument)) < 0)
    r = error_code(&client->error, r, "asking umbrad");
  return r < 0 ? r : call_for_text(client, take_pointer(m), ret);
}

/* ---- the calls ---- */

int remote_doctor(struct umbra_client *client, const char *const *paths, size_t count, char **ret_json) {
  CLEANUP_MESSAGE *m = NULL;
  int r = new_call(client, &m, ROOT, MANAGER, "Doctor");
  if (r >= 0)
    r = sd_bus_message_open_container(m, 'a', "s");
  for (size_t i = 0; i < count && r >= 0; i++)
    r = sd_bus_message_append(m, "s", paths[i]);
  if (r >= 0)
    r = sd_bus_message_close_container(m);
  return r < 0 ? error_code(&client->error, r, "asking umbrad") : call_for_text(client, take_pointer(m), ret_json);
}

static json_t *parse_and_free(char *text) {
  json_t *document = NULL;
  if (text)
    (void)json_parse(text, strlen(text), "umbrad's answer", &document, NULL);
  free(text);
  return document;
}

int remote_delete_all(struct umbra_client *client, char **ret_json) {
  CLEANUP_JSON json_t *deleted = json_array(), *listed = NULL;
  struct umbra_error first = {0};
  char *text = NULL;
  int result = remote_text(client, "List", "sets", &text);
  if (result < 0)
    return result;
  listed = parse_and_free(text);
  size_t i;
  json_t *set;
  json_array_foreach(json_object_get(listed, "sets"), i, set) {
    /* What belongs to a running program is not of the catalogue. */
    if (json_object_get(set, "owner"))
      continue;
    int r = remote_text(client, "Delete", json_get_string_or(set, "id", ""), NULL);
    if (r >= 0)
      (void)json_array_append(deleted, json_object_get(set, "id"));
    else {
      result = r;
      first = client->error;
    }
    if (r == -ECANCELED)
      break;
  }
  int told = ret_json ? client_return_json(client, json_pack("{s:O}", "deleted", deleted), ret_json) : 0;
  if (result < 0)
    client->error = first;
  return result < 0 ? result : told;
}

/* As umbrad finds it, which has another working directory. What is not there umbrad says. The caller's. */
static char *absolute(const char *directory) {
  CLEANUP_FREE char *here = NULL;
  char *path = realpath(directory, NULL);
  if (path || directory[0] == '/')
    return path ? path : strdup(directory);
  here = getcwd(NULL, 0);
  return here && asprintf(&path, "%s/%s", here, directory) >= 0 ? path : NULL;
}

int remote_mount(struct umbra_client *client, const char *id, const char *directory, unsigned flags,
                 char **ret_directory) {
  CLEANUP_MESSAGE *m = NULL;
  CLEANUP_FREE char *where = directory ? absolute(directory) : strdup("");
  if (!where)
    return error_errno(&client->error, "mounting at '%s'", directory ? directory : "");
  int r = new_call(client, &m, ROOT, MANAGER, "Mount");
  if (r >= 0 && (r = sd_bus_message_append(m, "ssbb", id, where, (flags & UMBRA_MOUNT_SUID) != 0,
                                           (flags & UMBRA_MOUNT_DEV) != 0)) < 0)
    r = error_code(&client->error, r, "asking umbrad");
  CLEANUP_FREE char *text = NULL;
  if (r >= 0)
    r = call_for_text(client, take_pointer(m), &text);
  CLEANUP_JSON json_t *path = r >= 0 ? json_string(text) : NULL;
  return r < 0 ? r : json_path_value(path, ret_directory);
}

int remote_open_shadow(struct umbra_client *client, const char *id) {
  CLEANUP_MESSAGE *m = NULL, *reply = NULL;
  char path[sizeof ROOT "/shadow/" + 64];
  size_t used = (size_t)snprintf(path, sizeof path, ROOT "/shadow/");
  for (const char *at = id; *at && used + 1 < sizeof path; at++)
    if (*at != '-')
      path[used++] = *at;
  path[used] = 0;
  int root = -1;
  int r = new_call(client, &m, path, NAME ".Shadow", "Open");
  if (r >= 0)
    r = call(client, take_pointer(m), true, &reply);
  if (r < 0)
    return r;
  /* The message's own goes with it. */
  r = sd_bus_message_read(reply, "h", &root);
  if (r >= 0 && (r = fcntl(root, F_DUPFD_CLOEXEC, 3)) < 0)
    r = -errno;
  return r < 0 ? error_code(&client->error, r, "reading umbrad's answer") : r;
}

int remote_unmount(struct umbra_client *client, const char *id_or_directory) {
  CLEANUP_FREE char *real = strchr(id_or_directory, '/') ? realpath(id_or_directory, NULL) : NULL;
  return remote_text(client, "Unmount", real ? real : id_or_directory, NULL);
}

int remote_writer_test(struct umbra_client *client, const char *name, char **ret_json) {
  char *text = NULL;
  int r = remote_text(client, "TestWriter", name, &text);
  if (r < 0)
    return r;
  CLEANUP_JSON json_t *document = parse_and_free(text);
  bool degraded = json_get_boolean_or(document, "degraded", false);
  (void)json_object_del(document, "degraded");
  if (ret_json)
    r = client_return_json(client, json_incref(document), ret_json);
  return r < 0 ? r : degraded;
}

int remote_writer_enable(struct umbra_client *client, const char *name, int enable) {
  CLEANUP_MESSAGE *m = NULL;
  int r = new_call(client, &m, ROOT, MANAGER, "EnableWriter");
  if (r >= 0 && (r = sd_bus_message_append(m, "sb", name, enable != 0)) < 0)
    r = error_code(&client->error, r, "asking umbrad");
  return r < 0 ? r : call_for_text(client, take_pointer(m), NULL);
}

/* ---- making a set ---- */

static int append_request(sd_bus_message *m, const struct umbra_set *set) {
  size_t i;
  json_t *pair;
  int r = sd_bus_message_append_strv(m, set->set->request.paths);
  if (r >= 0)
    r = sd_bus_message_open_container(m, 'a', "{sv}");
  json_array_foreach(set->options, i, pair) {
    if (r >= 0)
      r = sd_bus_message_append(m, "{sv}", json_string_value(json_array_get(pair, 0)), "s",
                                json_string_value(json_array_get(pair, 1)));
  }
  return r < 0 ? r : sd_bus_message_close_container(m);
}

/* The set's object; its end is told by Wait. */
static int begin_set(struct umbra_set *set) {
  struct umbra_client *client = set->client;
  CLEANUP_MESSAGE *m = NULL, *reply = NULL;
  const char *path = NULL;
  int r = new_call(client, &m, ROOT, MANAGER, "CreateSet");
  if (r >= 0 && (r = append_request(m, set)) < 0)
    r = error_code(&client->error, r, "asking umbrad");
  if (r >= 0)
    /* Answered once the set has its name, by which it is cancelled then. */
    r = call(client, take_pointer(m), false, &reply);
  if (r < 0)
    return r;
  if (sd_bus_message_read(reply, "o", &path) < 0 || !(client->remote->set = strdup(path)))
    return error_code(&client->error, -ENOMEM, "reading umbrad's answer");
  return 0;
}

static int wait_for_set(struct umbra_set *set) {
  struct umbra_client *client = set->client;
  CLEANUP_MESSAGE *m = NULL, *reply = NULL;
  CLEANUP_FREE char *text = NULL;
  int r = new_call(client, &m, client->remote->set, NAME ".Set", "Wait");
  if (r >= 0)
    r = call(client, take_pointer(m), true, &reply);
  if (r < 0)
    return r;
  r = sd_bus_get_property_string(client->remote->bus, NAME, client->remote->set, NAME ".Set", "Result", NULL, &text);
  if (r < 0)
    return error_code(&client->error, r, "reading umbrad's answer");
  return json_parse(text, strlen(text), "umbrad's answer", &set->made, &client->error);
}

/* One that failed has been told of: its object goes. */
static void forget_set(struct umbra_client *client) {
  struct umbra_error kept = client->error;
  CLEANUP_MESSAGE *m = NULL, *reply = NULL;
  if (new_call(client, &m, client->remote->set, NAME ".Set", "Delete") >= 0)
    (void)call(client, take_pointer(m), false, &reply);
  client->error = kept;
}

int remote_create(struct umbra_set *set) {
  struct umbra_client *client = set->client;
  sd_bus_slot *signals = NULL;
  coordinator_clear_cancel(client->coordinator);
  int r = sd_bus_match_signal(client->remote->bus, &signals, NAME, NULL, NAME ".Set", NULL, NULL, NULL);
  if (r < 0)
    return error_code(&client->error, r, "asking umbrad");
  r = begin_set(set);
  if (r >= 0 && (r = wait_for_set(set)) < 0)
    forget_set(client);
  sd_bus_slot_unref(signals);
  free(take_pointer(client->remote->set));
  if (r < 0)
    return r;
  set->made_degraded = json_get_boolean_or(set->made, "degraded", false);
  (void)json_object_del(set->made, "degraded");
  free(set->made_text);
  set->made_text = json_dumps(set->made, JSON_INDENT(2));
  return set->made_text ? 0 : error_code(&client->error, -ENOMEM, "reading umbrad's answer");
}
