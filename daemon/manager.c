/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /org/umbra/Umbra1, interface org.umbra.Umbra1.Manager: what is asked of umbrad as a whole. */
#include "daemon/calls.h"
#include "daemon/sets.h"
#include "daemon/writers.h"

#include "daemon/request.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"

#include <errno.h>
#include <string.h>

#define MANAGER_INTERFACE SERVICE_NAME ".Manager"

/* ---- arguments ---- */

static int wrong(sd_bus_error *error, const char *what, const char *value) {
  char name[BUS_ERROR_BYTES];
  return sd_bus_error_setf(error, bus_error_name(UMBRA_REASON_INVALID, name), "%s '%s'", what, value);
}

static int read_paths(sd_bus_message *m, json_t *paths, sd_bus_error *error) {
  const char *path;
  int r = sd_bus_message_enter_container(m, 'a', "s");
  while (r >= 0 && (r = sd_bus_message_read_basic(m, 's', &path)) > 0) {
    if (path[0] != '/')
      return wrong(error, "no absolute path:", path);
    if (strlen(path) >= PATH_MAX || json_array_size(paths) >= REQUEST_PATHS_MAX)
      return wrong(error, "too many or too long paths, with",
                   json_array_size(paths) >= REQUEST_PATHS_MAX ? path : "one");
    if (json_array_append_new(paths, json_path(path)) < 0)
      return -ENOMEM;
  }
  return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int add_option(json_t *options, const char *name, const char *value, sd_bus_error *error) {
  if (strlen(name) > 64 || strlen(value) > REQUEST_TEXT_BYTES_MAX || json_array_size(options) >= REQUEST_OPTIONS_MAX)
    return wrong(error, "too many or too long options, with", strlen(name) > 64 ? "one" : name);
  return json_array_append_new(options, json_pack("[s, s]", name, value)) < 0 ? -ENOMEM : 0;
}

/* The value of one option: s, b ("yes" or "no") or as (given so often). */
static int read_option(sd_bus_message *m, const char *name, json_t *options, bool *wait, sd_bus_error *error) {
  const char *contents = NULL, *text = NULL;
  int flag = 0;
  int r = sd_bus_message_peek_type(m, NULL, &contents);
  if (r < 0)
    return r;
  if (strcmp(name, "wait") == 0 && strcmp(contents, "b") == 0) {
    r = sd_bus_message_read(m, "v", "b", &flag);
    *wait = flag;
    return r;
  }
  if (strcmp(contents, "s") == 0) {
    r = sd_bus_message_read(m, "v", "s", &text);
    return r < 0 ? r : add_option(options, name, text, error);
  }
  if (strcmp(contents, "b") == 0) {
    r = sd_bus_message_read(m, "v", "b", &flag);
    return r < 0 ? r : add_option(options, name, flag ? "yes" : "no", error);
  }
  if (strcmp(contents, "as") != 0)
    return wrong(error, "a value that is none of s, b, as, of option", name);
  r = sd_bus_message_enter_container(m, 'v', "as");
  if (r >= 0)
    r = sd_bus_message_enter_container(m, 'a', "s");
  while (r >= 0 && (r = sd_bus_message_read_basic(m, 's', &text)) > 0)
    r = add_option(options, name, text, error);
  if (r >= 0)
    r = sd_bus_message_exit_container(m);
  return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_options(sd_bus_message *m, json_t *options, bool *wait, sd_bus_error *error) {
  const char *name;
  int r = sd_bus_message_enter_container(m, 'a', "{sv}");
  while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
    r = sd_bus_message_read_basic(m, 's', &name);
    if (r >= 0)
      r = read_option(m, name, options, wait, error);
    if (r >= 0)
      r = sd_bus_message_exit_container(m);
  }
  return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* ---- sets ---- */

static int answer_made(struct call *c, const json_t *result, int fd) {
  (void)result;
  (void)fd;
  const struct set_object *set = sets_find_id(c->service, c->set_id);
  if (!c->message)
    return 0;
  return set ? sd_bus_reply_method_return(c->message, "o", set->path) : -ENOENT;
}

static int method_create_set(sd_bus_message *m, void *context, sd_bus_error *error) {
  struct service *s = context;
  CLEANUP_JSON json_t *paths = json_array(), *options = json_array();
  bool wait = false;
  struct call *c = NULL;
  int r = read_paths(m, paths, error);
  if (r >= 0)
    r = read_options(m, options, &wait, error);
  if (r < 0)
    return r;
  if (json_array_size(paths) == 0)
    return wrong(error, "no path for a new set, in", "paths");
  struct call_options call = {
      .access = CALL_MANAGE,
      .request = json_pack("{s:s, s:O, s:O}", "do", "create", "paths", paths, "options", options),
      .answer = answer_made,
  };
  r = calls_begin(s, m, &call, &c, error);
  if (r >= 0)
    c->wait = wait;
  return r;
}

static int method_list_sets(sd_bus_message *m, void *context, sd_bus_error *error) {
  (void)error;
  const struct service *s = context;
  sd_bus_message *reply = NULL;
  int r = sd_bus_message_new_method_return(m, &reply);
  if (r >= 0)
    r = sd_bus_message_open_container(reply, 'a', "(so)");
  for (const struct set_object *set = s->sets; set && r >= 0; set = set->next)
    r = sd_bus_message_append(reply, "(so)", set->id, set->path);
  if (r >= 0)
    r = sd_bus_message_close_container(reply);
  if (r >= 0)
    r = sd_bus_send(NULL, reply, NULL);
  sd_bus_message_unref(reply);
  return r;
}

static int method_delete_set(sd_bus_message *m, void *context, sd_bus_error *error) {
  struct service *s = context;
  const char *path;
  char name[BUS_ERROR_BYTES];
  int r = sd_bus_message_read(m, "o", &path);
  if (r < 0)
    return r;
  struct set_object *set = sets_find_path(s, path);
  if (!set)
    return sd_bus_error_setf(error, bus_error_name(UMBRA_REASON_NOT_FOUND, name), "no set '%s'", path);
  return sets_delete(s, set, m, error);
}

/* ---- the others ---- */

static int answer_text(struct call *c, const json_t *result, int fd) {
  (void)fd;
  CLEANUP_FREE char *text = json_dumps(result, JSON_COMPACT);
  if (!text)
    return -ENOMEM;
  return c->message ? sd_bus_reply_method_return(c->message, "s", text) : 0;
}

static int answer_count(struct call *c, const json_t *result, int fd) {
  (void)fd;
  return c->message
             ? sd_bus_reply_method_return(c->message, "u", (uint32_t)json_get_integer_or(result, "recovered", 0))
             : 0;
}

static int send_writers(const struct service *s, sd_bus_message *m) {
  sd_bus_message *reply = NULL;
  int r = sd_bus_message_new_method_return(m, &reply);
  if (r >= 0)
    r = writers_append(s, reply);
  if (r >= 0)
    r = sd_bus_send(NULL, reply, NULL);
  sd_bus_message_unref(reply);
  return r;
}

static int answer_writers(struct call *c, const json_t *result, int fd) {
  (void)fd;
  writers_take_list(c->service, json_object_get(result, "writers"));
  return c->message ? send_writers(c->service, c->message) : 0;
}

/* To list them is to run their programs: for those who may only look it is what was found last. */
static int method_list_writers(sd_bus_message *m, void *context, sd_bus_error *error) {
  struct service *s = context;
  uid_t user;
  bool trusted = false;
  int r = authority_look(s, m, &user, &trusted);
  if (r < 0)
    return r;
  if (!trusted)
    return send_writers(s, m);
  struct call_options options = {.access = CALL_ANYBODY,
                                 .request = json_pack("{s:s, s:s}", "do", "list", "text", "writers"),
                                 .answer = answer_writers};
  return calls_begin(s, m, &options, NULL, error);
}

/* Not longer than the host takes, and not empty. */
static int read_text(sd_bus_message *m, const char **ret, sd_bus_error *error) {
  int r = sd_bus_message_read(m, "s", ret);
  if (r < 0)
    return r;
  if ((*ret)[0] == 0 || strlen(*ret) >= PATH_MAX)
    return wrong(error, "no name:", (*ret)[0] ? "too long" : "");
  return 0;
}

static int begin_text(struct service *s, sd_bus_message *m, const char *verb, enum call_access access,
                      call_answer answer, sd_bus_error *error) {
  const char *text;
  int r = read_text(m, &text, error);
  if (r < 0)
    return r;
  struct call_options options = {
      .access = access, .request = json_pack("{s:s, s:s}", "do", verb, "text", text), .answer = answer};
  return calls_begin(s, m, &options, NULL, error);
}

static int method_test_writer(sd_bus_message *m, void *context, sd_bus_error *error) {
  return begin_text(context, m, "test", CALL_MANAGE, answer_text, error);
}

static int method_show(sd_bus_message *m, void *context, sd_bus_error *error) {
  return begin_text(context, m, "show", CALL_ANYBODY, answer_text, error);
}

/* What of umbra_list() anybody may know; the rest runs writers' programs. */
static bool is_for_anybody(const char *what) {
  static const char *const lists[] = {"sets", "shadows", "volumes", "providers", "storage"};
  for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
    if (strcmp(lists[i], what) == 0)
      return true;
  return false;
}

/* To list writers is to run their programs, so that those who may only look get what was found last. */
static int method_list(sd_bus_message *m, void *context, sd_bus_error *error) {
  struct service *s = context;
  const char *what;
  uid_t user;
  bool trusted = false;
  int r = read_text(m, &what, error);
  if (r < 0)
    return r;
  if (strcmp(what, "writers") == 0) {
    if ((r = authority_look(s, m, &user, &trusted)) < 0)
      return r;
    CLEANUP_JSON json_t *document =
        trusted ? NULL : json_pack("{s:o}", "writers", s->writers ? json_incref(s->writers) : json_array());
    CLEANUP_FREE char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    if (!trusted)
      return text ? sd_bus_reply_method_return(m, "s", text) : -ENOMEM;
  }
  r = sd_bus_message_rewind(m, 1);
  return r < 0 ? r : begin_text(s, m, "list", is_for_anybody(what) ? CALL_ANYBODY : CALL_MANAGE, answer_text, error);
}

static int method_delete(sd_bus_message *m, void *context, sd_bus_error *error) {
  return begin_text(context, m, "delete", CALL_MANAGE, NULL, error);
}

static int answer_id(struct call *c, const json_t *result, int fd) {
  (void)fd;
  return c->message ? sd_bus_reply_method_return(c->message, "s", json_get_string_or(result, "text", "")) : 0;
}

static int method_delete_oldest(sd_bus_message *m, void *context, sd_bus_error *error) {
  return begin_text(context, m, "delete-oldest", CALL_MANAGE, answer_id, error);
}

static int answer_directory(struct call *c, const json_t *result, int fd) {
  (void)fd;
  return c->message ? sd_bus_reply_method_return(c->message, "s", json_get_string_or(result, "directory", "")) : 0;
}

/* Where is root's to say: to mount over what is there is to be root. */
static int method_mount(sd_bus_message *m, void *context, sd_bus_error *error) {
  struct service *s = context;
  const char *id, *place;
  int suid = 0, dev = 0;
  uid_t user = (uid_t)-1;
  bool trusted = false;
  char name[BUS_ERROR_BYTES];
  int r = sd_bus_message_read(m, "ssbb", &id, &place, &suid, &dev);
  if (r >= 0)
    r = authority_look(s, m, &user, &trusted);
  if (r < 0)
    return r;
  if (id[0] == 0 || strlen(id) >= PATH_MAX || (place[0] != 0 && (place[0] != '/' || strlen(place) >= PATH_MAX)))
    return wrong(error, "no shadow copy, or no place for it:", "");
  if (place[0] != 0 && user != 0)
    return sd_bus_error_setf(error, bus_error_name(UMBRA_REASON_ACCESS, name),
                             "only root says where a shadow copy is mounted");
  struct call_options options = {.access = CALL_READER,
                                 .request = json_pack("{s:s, s:s, s:b, s:b, s:s*}", "do", "mount", "text", id, "suid",
                                                      suid, "dev", dev, "place", place[0] ? place : NULL),
                                 .answer = answer_directory};
  return calls_begin(s, m, &options, NULL, error);
}

static int method_unmount(sd_bus_message *m, void *context, sd_bus_error *error) {
  struct service *s = context;
  const char *text;
  uid_t user = 0;
  int r = read_text(m, &text, error);
  if (r < 0)
    return r;
  struct call_options options = {.access = shadows_belong_to(s, text, &user) ? CALL_OWNER : CALL_MANAGE,
                                 .owner = user,
                                 .request = json_pack("{s:s, s:s}", "do", "unmount", "text", text)};
  return calls_begin(s, m, &options, NULL, error);
}

static int answer_enabled(struct call *c, const json_t *result, int fd) {
  (void)result;
  (void)fd;
  service_refresh_writers(c->service);
  return c->message ? sd_bus_reply_method_return(c->message, NULL) : 0;
}

static int method_enable_writer(sd_bus_message *m, void *context, sd_bus_error *error) {
  const char *text;
  int enable = 0;
  int r = read_text(m, &text, error);
  if (r >= 0)
    r = sd_bus_message_read(m, "b", &enable);
  if (r < 0)
    return r;
  struct call_options options = {.access = CALL_MANAGE,
                                 .request =
                                     json_pack("{s:s, s:s, s:b}", "do", "enable", "text", text, "flag", enable),
                                 .answer = answer_enabled};
  return calls_begin(context, m, &options, NULL, error);
}

static int method_doctor(sd_bus_message *m, void *context, sd_bus_error *error) {
  CLEANUP_JSON json_t *paths = json_array();
  int r = read_paths(m, paths, error);
  if (r < 0)
    return r;
  struct call_options options = {.access = CALL_MANAGE,
                                 .request = json_pack("{s:s, s:O}", "do", "doctor", "paths", paths),
                                 .answer = answer_text};
  return calls_begin(context, m, &options, NULL, error);
}

static int method_recover(sd_bus_message *m, void *context, sd_bus_error *error) {
  struct call_options options = {
      .access = CALL_MANAGE, .request = json_pack("{s:s}", "do", "recover"), .answer = answer_count};
  return calls_begin(context, m, &options, NULL, error);
}

static int get_place(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *context, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)error;
  const struct directories *directories = ((const struct service *)context)->directories;
  const char *value = strcmp(property, "StateDirectory") == 0     ? directories->state_dir
                      : strcmp(property, "RuntimeDirectory") == 0 ? directories->runtime_dir
                      : strcmp(property, "ConfigDirectory") == 0  ? directories->config_dir
                                                                  : UMBRA_VERSION;
  return sd_bus_message_append(reply, "s", value);
}

/* Mounts are seen in this namespace: who is in another one does not want them here. */
static int get_mount_namespace(sd_bus *bus, const char *path, const char *interface, const char *property,
                               sd_bus_message *reply, void *context, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)property;
  (void)error;
  return sd_bus_message_append(reply, "t", ((const struct service *)context)->mount_namespace);
}

#define OPEN SD_BUS_VTABLE_UNPRIVILEGED /* calls.c and authority.c say who may */
#define PARAM SD_BUS_PARAM
static const sd_bus_vtable manager_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Version", "s", get_place, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("StateDirectory", "s", get_place, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("RuntimeDirectory", "s", get_place, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("ConfigDirectory", "s", get_place, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("MountNamespace", "t", get_mount_namespace, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_METHOD_WITH_NAMES("CreateSet", "asa{sv}", PARAM(paths) PARAM(options), "o", PARAM(set), method_create_set,
                             OPEN),
    SD_BUS_METHOD_WITH_NAMES("ListSets", NULL, , "a(so)", PARAM(sets), method_list_sets, OPEN),
    SD_BUS_METHOD_WITH_NAMES("DeleteSet", "o", PARAM(set), NULL, , method_delete_set, OPEN),
    SD_BUS_METHOD_WITH_NAMES("List", "s", PARAM(what), "s", PARAM(document), method_list, OPEN),
    SD_BUS_METHOD_WITH_NAMES("Delete", "s", PARAM(id), NULL, , method_delete, OPEN),
    SD_BUS_METHOD_WITH_NAMES("DeleteOldest", "s", PARAM(path), "s", PARAM(id), method_delete_oldest, OPEN),
    SD_BUS_METHOD_WITH_NAMES("Mount", "ssbb", PARAM(id) PARAM(place) PARAM(suid) PARAM(dev), "s", PARAM(directory),
                             method_mount, OPEN),
    SD_BUS_METHOD_WITH_NAMES("Unmount", "s", PARAM(id), NULL, , method_unmount, OPEN),
    SD_BUS_METHOD_WITH_NAMES("Show", "s", PARAM(id), "s", PARAM(document), method_show, OPEN),
    SD_BUS_METHOD_WITH_NAMES("Doctor", "as", PARAM(paths), "s", PARAM(document), method_doctor, OPEN),
    SD_BUS_METHOD_WITH_NAMES("ListWriters", NULL, , "a(ssssss)", PARAM(writers), method_list_writers, OPEN),
    SD_BUS_METHOD_WITH_NAMES("TestWriter", "s", PARAM(name), "s", PARAM(document), method_test_writer, OPEN),
    SD_BUS_METHOD_WITH_NAMES("EnableWriter", "sb", PARAM(name) PARAM(enable), NULL, , method_enable_writer, OPEN),
    SD_BUS_METHOD_WITH_NAMES("Recover", NULL, , "u", PARAM(count), method_recover, OPEN),
    SD_BUS_SIGNAL_WITH_NAMES("SetNew", "so", PARAM(id) PARAM(set), 0),
    SD_BUS_SIGNAL_WITH_NAMES("SetRemoved", "so", PARAM(id) PARAM(set), 0),
    SD_BUS_SIGNAL_WITH_NAMES("Warning", "s", PARAM(message), 0),
    SD_BUS_SIGNAL_WITH_NAMES("LowStorage", "stt", PARAM(directory) PARAM(free_bytes) PARAM(size_bytes), 0),
    SD_BUS_VTABLE_END,
};

static int enumerate(sd_bus *bus, const char *prefix, void *context, char ***ret_nodes, sd_bus_error *error) {
  (void)bus;
  (void)prefix;
  (void)error;
  CLEANUP_STRV char **paths = NULL;
  int r = sets_append_paths(context, &paths);
  if (r >= 0)
    r = writers_append_paths(context, &paths);
  if (r < 0)
    return r;
  *ret_nodes = take_pointer(paths);
  return 0;
}

int manager_export(struct service *s) {
  int r = sd_bus_add_object_manager(s->bus, NULL, SERVICE_PATH);
  if (r >= 0)
    r = sd_bus_add_object_vtable(s->bus, NULL, SERVICE_PATH, MANAGER_INTERFACE, manager_vtable, s);
  return r < 0 ? r : sd_bus_add_node_enumerator(s->bus, NULL, SERVICE_PATH, enumerate, s);
}
