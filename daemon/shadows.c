/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shadow copies as objects on the bus, /org/umbra/Umbra1/shadow/ID: what the documents of the sets name (sets.h). */
#include "daemon/calls.h"
#include "daemon/sets.h"

#include "common/cleanup.h"
#include "common/id.h"
#include "common/json.h"

#include <errno.h>
#include <string.h>

#define SHADOW_INTERFACE SERVICE_NAME ".Shadow"
#define SHADOW_PREFIX SERVICE_PATH "/shadow"

static struct service *service_of(sd_bus_message *m) {
  return sd_bus_slot_get_userdata(sd_bus_get_current_slot(sd_bus_message_get_bus(m)));
}

/* The set that has it, or NULL. */
static const struct set_object *set_of(const struct service *s, const json_t *shadow) {
  for (const struct set_object *set = s->sets; set; set = set->next) {
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(set->document, "shadows"), i, one) {
      if (strcmp(json_get_string_or(one, "id", ""), json_get_string_or(shadow, "id", "")) == 0)
        return set;
    }
  }
  return NULL;
}

static int find(sd_bus *bus, const char *path, const char *interface, void *context, void **ret_found,
                sd_bus_error *error) {
  (void)bus;
  (void)interface;
  (void)error;
  const struct service *s = context;
  char own[SET_OBJECT_PATH_BYTES];
  for (const struct set_object *set = s->sets; set; set = set->next) {
    size_t i;
    json_t *shadow;
    json_array_foreach(json_object_get(set->document, "shadows"), i, shadow) {
      if (shadow_object_path(json_get_string_or(shadow, "id", ""), own) >= 0 && strcmp(own, path) == 0) {
        *ret_found = shadow;
        return 1;
      }
    }
  }
  return 0;
}

void shadows_added(struct service *s, const json_t *shadow) {
  char path[SET_OBJECT_PATH_BYTES];
  if (shadow_object_path(json_get_string_or(shadow, "id", ""), path) >= 0)
    (void)sd_bus_emit_object_added(s->bus, path);
}

void shadows_removed(struct service *s, const json_t *shadow) {
  char path[SET_OBJECT_PATH_BYTES];
  if (shadow_object_path(json_get_string_or(shadow, "id", ""), path) >= 0)
    (void)sd_bus_emit_interfaces_removed(s->bus, path, SHADOW_INTERFACE, NULL);
}

void shadows_changed(struct service *s, const json_t *before, const json_t *now) {
  (void)before;
  char path[SET_OBJECT_PATH_BYTES];
  if (shadow_object_path(json_get_string_or(now, "id", ""), path) >= 0)
    (void)sd_bus_emit_properties_changed(s->bus, path, SHADOW_INTERFACE, "Device", "Mount", "StorageBytes", "State",
                                         NULL);
}

/* ---- methods ---- */

static int answer_directory(struct call *c, const json_t *result, int fd) {
  (void)fd;
  CLEANUP_FREE char *directory = NULL;
  int r = json_path_value(json_object_get(result, "directory"), &directory);
  if (r < 0 || !c->message)
    return r;
  return sd_bus_reply_method_return(c->message, "s", json_get_string_or(result, "directory", ""));
}

static int answer_descriptor(struct call *c, const json_t *result, int fd) {
  (void)result;
  if (fd < 0)
    return -EBADF;
  return c->message ? sd_bus_reply_method_return(c->message, "h", fd) : 0;
}

static int method_mount(sd_bus_message *m, void *found, sd_bus_error *error) {
  int suid = 0, dev = 0;
  int r = sd_bus_message_read(m, "bb", &suid, &dev);
  if (r < 0)
    return r;
  struct call_options options = {.access = CALL_READER,
                                 .request = json_pack("{s:s, s:s, s:b, s:b}", "do", "mount", "text",
                                                      json_get_string_or(found, "id", ""), "suid", suid, "dev", dev),
                                 .answer = answer_directory};
  return calls_begin(service_of(m), m, &options, NULL, error);
}

/* Is it mounted where access.c mounts for this user? */
static bool is_users_own(const struct service *s, const json_t *shadow, uid_t *ret_user) {
  CLEANUP_FREE char *directory = NULL, *users = NULL;
  unsigned user = 0;
  if (json_path_value(json_object_get(shadow, "mount"), &directory) < 0 ||
      asprintf(&users, "%s/users/", s->directories->runtime_dir) < 0) {
    users = NULL;
    return false;
  }
  size_t length = strlen(users);
  if (strncmp(directory, users, length) != 0 || sscanf(directory + length, "%u/", &user) != 1)
    return false;
  *ret_user = user;
  return true;
}

bool shadows_belong_to(const struct service *s, const char *text, uid_t *ret_user) {
  for (const struct set_object *set = s->sets; set; set = set->next) {
    const json_t *shadows = json_object_get(set->document, "shadows");
    const char *label = json_get_string_or(set->document, "label", NULL);
    bool named = id_matches(set->id, text) || (label && strcmp(label, text) == 0);
    size_t i;
    json_t *shadow;
    json_array_foreach(shadows, i, shadow) {
      if ((named && json_array_size(shadows) == 1) || id_matches(json_get_string_or(shadow, "id", ""), text) ||
          strcmp(json_get_string_or(shadow, "mount", ""), text) == 0)
        return is_users_own(s, shadow, ret_user);
    }
  }
  return false;
}

static int method_unmount(sd_bus_message *m, void *found, sd_bus_error *error) {
  struct service *s = service_of(m);
  uid_t user = 0;
  struct call_options options = {
      .access = is_users_own(s, found, &user) ? CALL_OWNER : CALL_MANAGE,
      .owner = user,
      .request = json_pack("{s:s, s:s}", "do", "unmount", "text", json_get_string_or(found, "id", ""))};
  return calls_begin(s, m, &options, NULL, error);
}

static int method_delete(sd_bus_message *m, void *found, sd_bus_error *error) {
  struct call_options options = {
      .access = CALL_MANAGE,
      .request = json_pack("{s:s, s:s}", "do", "delete", "text", json_get_string_or(found, "id", ""))};
  return calls_begin(service_of(m), m, &options, NULL, error);
}

static int method_open(sd_bus_message *m, void *found, sd_bus_error *error) {
  struct service *s = service_of(m);
  const struct set_object *set = set_of(s, found);
  const struct call *maker = set && set->job ? service_find_call(s, set->job) : NULL;
  struct call_options options = {.access = CALL_READER,
                                 .request =
                                     json_pack("{s:s, s:s}", "do", "open", "id", json_get_string_or(found, "id", "")),
                                 .answer = answer_descriptor};
  /* What is held by a process of ours is in no catalogue: its process opens it, for its user only. */
  if (maker && maker->auto_release) {
    options.to = set->job;
    options.access = CALL_OWNER;
    options.owner = set->user;
  }
  return calls_begin(s, m, &options, NULL, error);
}

/* ---- properties ---- */

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *found, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)error;
  static const char *const keys[][2] = {{"Id", "id"},         {"Volume", "volume"}, {"Provider", "provider"},
                                        {"Device", "device"}, {"Mount", "mount"},   {"State", "state"}};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (strcmp(property, keys[i][0]) == 0)
      return sd_bus_message_append(reply, "s", json_get_string_or(found, keys[i][1], ""));
  return -ENOENT;
}

static int get_storage(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *found, sd_bus_error *error) {
  (void)bus;
  (void)path;
  (void)interface;
  (void)property;
  (void)error;
  return sd_bus_message_append(reply, "t", (uint64_t)json_get_integer_or(found, "storage_bytes", 0));
}

static int get_set(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                   void *found, sd_bus_error *error) {
  (void)path;
  (void)interface;
  (void)property;
  (void)error;
  const struct service *s = sd_bus_slot_get_userdata(sd_bus_get_current_slot(bus));
  const struct set_object *set = s ? set_of(s, found) : NULL;
  return sd_bus_message_append(reply, "o", set ? set->path : "/");
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
static const sd_bus_vtable shadow_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Id", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Set", "o", get_set, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Volume", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Provider", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Device", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("Mount", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("State", "s", get_text, 0, CHANGES),
    SD_BUS_PROPERTY("StorageBytes", "t", get_storage, 0, CHANGES),
    SD_BUS_METHOD_WITH_NAMES("Mount", "bb", SD_BUS_PARAM(suid) SD_BUS_PARAM(dev), "s", SD_BUS_PARAM(directory),
                             method_mount, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Delete", NULL, NULL, method_delete, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Unmount", NULL, NULL, method_unmount, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_NAMES("Open", NULL, , "h", SD_BUS_PARAM(root), method_open, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

int shadows_export(struct service *s) {
  return sd_bus_add_fallback_vtable(s->bus, NULL, SHADOW_PREFIX, SHADOW_INTERFACE, shadow_vtable, find, s);
}
