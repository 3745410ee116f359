/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Showing shadow copies of the catalogue in this mount namespace, and removing them.  RUNTIME/mounts/SHADOW-ID holds
 * the directory at which one is mounted; whether it still is, the kernel knows.
 */
#include "libumbra/condition.h"
#include "libumbra/handles.h"
#include "libumbra/remote.h"

#include "coordinator/catalog.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/id.h"
#include "common/json.h"
#include "providers/provider.h"
#include "view/loop.h"
#include "view/view.h"
#include "volume/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_mounts(const struct umbra_client *client) {
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "%s/mounts", client->coordinator->runtime_dir) < 0)
    return -ENOMEM;
  return fd_open_directory(path);
}

/* The id of the mount that directory is the root of, 0 if it is no mount's root. */
static uint64_t mount_root_id(const char *directory) {
  struct statx here;
  if (statx(AT_FDCWD, directory, AT_SYMLINK_NOFOLLOW, STATX_MNT_ID | STATX_TYPE, &here) < 0 ||
      !(here.stx_attributes & STATX_ATTR_MOUNT_ROOT))
    return 0;
  return here.stx_mnt_id;
}

/* What is noted of the shadow copy's mount. 1: it is there, at *ret_directory (the caller's); 0: it is not, or not
 * yet. */
static int look_at_mount(int mounts_fd, const char *shadow_id, char **ret_directory) {
  CLEANUP_JSON json_t *record = NULL;
  CLEANUP_FREE char *directory = NULL;
  int r = json_read_file(mounts_fd, shadow_id, &record, NULL);
  if (r >= 0)
    r = json_path_value(json_object_get(record, "directory"), &directory);
  if (r < 0)
    return r;
  uint64_t id = mount_root_id(directory), noted = (uint64_t)json_get_integer_or(record, "mount_id", 0);
  /* 0 was noted by a command that died just then. */
  if (id == 0 || (noted != 0 && id != noted))
    return 0;
  *ret_directory = take_pointer(directory);
  return 1;
}

static int read_mount(int mounts_fd, const char *shadow_id, char **ret_directory) {
  int r = look_at_mount(mounts_fd, shadow_id, ret_directory);
  /* Whoever is mounting it has noted it first, and holds the lock until it is there. It is ours until mounts_fd is
   * closed. */
  if (r == 0)
    r = flock(mounts_fd, LOCK_EX) < 0 ? -errno : look_at_mount(mounts_fd, shadow_id, ret_directory);
  if (r == 0) {
    /* Unmounted by other means, or of an earlier boot. */
    (void)unlinkat(mounts_fd, shadow_id, 0);
    return -ENOENT;
  }
  return r < 0 ? r : 0;
}

char *mount_directory_of(const struct umbra_client *client, const char *shadow_id) {
  CLEANUP_CLOSE int fd = open_mounts(client);
  char *directory = NULL;
  return fd >= 0 && read_mount(fd, shadow_id, &directory) >= 0 ? directory : NULL;
}

static int find(struct umbra_client *client, const char *text, json_t **ret_entries, json_t **ret_borrowed,
                const char **ret_shadow) {
  int r = catalog_load(client->coordinator->state_dir, ret_entries, NULL, &client->error);
  return r < 0 ? r : catalog_find(*ret_entries, text, ret_borrowed, ret_shadow, &client->error);
}

/* The one shadow copy that is meant: named, or the only one of its set. */
static int pick_shadow(struct umbra_client *client, const json_t *entry, const char *text, const char **shadow_id) {
  const json_t *shadows = json_object_get(json_object_get(entry, "set"), "shadows");
  if (!*shadow_id && json_array_size(shadows) == 1)
    *shadow_id = json_get_string_or(json_array_get(shadows, 0), "id", NULL);
  if (!*shadow_id)
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID,
                     "set '%s' has %zu shadow copies: name one of them (see: umbra show %s)", text,
                     json_array_size(shadows), text);
  return 0;
}

static int default_directory(struct umbra_client *client, const char *shadow_id, char **ret) {
  if (asprintf(ret, "%s/mnt/%s", client->coordinator->runtime_dir, shadow_id) < 0) {
    *ret = NULL;
    return error_code(&client->error, -ENOMEM, "mounting");
  }
  if (mkdir(*ret, 0700) < 0 && errno != EEXIST)
    return error_errno(&client->error, "making '%s'", *ret);
  return 0;
}

static bool wants_read_write(const json_t *record) {
  return json_get_boolean_or(json_object_get(record, "view"), "read_write", false);
}

static int note_mount(struct umbra_client *client, int mounts_fd, const char *shadow_id, const char *directory,
                      uint64_t mount_id) {
  CLEANUP_JSON json_t *note =
      json_pack("{s:o, s:I}", "directory", json_path(directory), "mount_id", (json_int_t)mount_id);
  return json_write_file(mounts_fd, shadow_id, note, 0600, false, &client->error);
}

/* The device that stays with a shadow copy of the set, or NULL. */
static const char *device_of(const json_t *entry, const char *shadow_id) {
  size_t i;
  json_t *shadow;
  json_array_foreach(json_object_get(json_object_get(entry, "set"), "shadows"), i, shadow) {
    if (strcmp(json_get_string_or(shadow, "id", ""), shadow_id) == 0)
      return json_get_string_or(shadow, "device", NULL);
  }
  return NULL;
}

static int mount_at(struct umbra_client *client, const json_t *entry, const char *shadow_id, const char *directory,
                    unsigned flags) {
  const json_t *record = json_object_get(json_object_get(json_object_get(entry, "records"), shadow_id), "record");
  struct view_options options = {.suid = flags & UMBRA_MOUNT_SUID,
                                 .dev = flags & UMBRA_MOUNT_DEV,
                                 .read_write = wants_read_write(record),
                                 .device = device_of(entry, shadow_id)};
  CLEANUP_CLOSE int mounts_fd = open_mounts(client);
  CLEANUP_CLOSE int view_fd = view_open(record, &options, NULL, &client->error);
  int r = view_fd < 0 ? view_fd : mounts_fd < 0 ? mounts_fd : flock(mounts_fd, LOCK_EX) < 0 ? -errno : 0;
  /* Noted before it is attached, and again with what it has become; locked, since what is noted and not there is
   * forgotten. */
  if (r >= 0)
    r = note_mount(client, mounts_fd, shadow_id, directory, 0);
  if (r >= 0)
    r = view_attach(view_fd, directory, &client->error);
  if (r < 0)
    return error_prefix(&client->error, r, "mounting shadow copy %s", shadow_id);
  r = note_mount(client, mounts_fd, shadow_id, directory, mount_root_id(directory));
  if (r < 0)
    (void)view_detach(directory, NULL);
  return r;
}

int umbra_mount(struct umbra_client *client, const char *id, const char *directory, unsigned flags,
                char **ret_directory) {
  CLEANUP_JSON json_t *entries = NULL;
  json_t *entry = NULL;
  const char *shadow_id = NULL;
  CLEANUP_FREE char *where = NULL;
  if (client->remote)
    return remote_mount(client, id, directory, flags, ret_directory);
  int r = client_prepare(client);
  if (r >= 0)
    r = find(client, id, &entries, &entry, &shadow_id);
  if (r >= 0)
    r = pick_shadow(client, entry, id, &shadow_id);
  if (r >= 0)
    r = condition_check(client, json_object_get(json_object_get(entry, "records"), shadow_id), shadow_id);
  if (r < 0)
    return r;
  CLEANUP_FREE char *already = mount_directory_of(client, shadow_id);
  if (already)
    return error_set(&client->error, -EBUSY, UMBRA_REASON_BUSY, "shadow copy %s is mounted at '%s' already",
                     shadow_id, already);
  if (directory) {
    struct stat st;
    where = realpath(directory, NULL);
    if (!where || stat(where, &st) < 0 || (!S_ISDIR(st.st_mode) && (errno = ENOTDIR)))
      r = error_errno(&client->error, "mounting at '%s'", directory);
  } else
    r = default_directory(client, shadow_id, &where);
  if (r >= 0)
    r = mount_at(client, entry, shadow_id, where, flags);
  if (r < 0) {
    if (!directory && where)
      (void)rmdir(where);
    return r;
  }
  *ret_directory = take_pointer(where);
  return 0;
}

/* The bus knows shadow copies by their whole ids. */
static int open_remote(struct umbra_client *client, const char *id) {
  char *text = NULL;
  int r = umbra_show(client, id, &text);
  if (r < 0)
    return r;
  CLEANUP_JSON json_t *document = json_loads(text, 0, NULL);
  free(text);
  const json_t *shadow = json_object_get(document, "shadow");
  const char *shadow_id = json_get_string_or(shadow, "id", NULL);
  r = shadow_id ? 0 : pick_shadow(client, document, id, &shadow_id);
  return r < 0 ? r : remote_open_shadow(client, shadow_id);
}

int umbra_open_shadow(struct umbra_client *client, const char *id) {
  if (client->remote)
    return open_remote(client, id);
  CLEANUP_JSON json_t *entries = NULL;
  json_t *entry = NULL;
  const char *shadow_id = NULL;
  int r = client_prepare(client);
  if (r >= 0)
    r = find(client, id, &entries, &entry, &shadow_id);
  if (r >= 0)
    r = pick_shadow(client, entry, id, &shadow_id);
  if (r < 0)
    return r;
  const json_t *made = json_object_get(json_object_get(entry, "records"), shadow_id),
               *record = json_object_get(made, "record");
  r = condition_check(client, made, shadow_id);
  CLEANUP_FREE char *fs_root = NULL;
  if (r >= 0 && (r = json_path_value(json_object_get(made, "fs_root"), &fs_root)) < 0)
    error_code(&client->error, r, "opening shadow copy %s", shadow_id);
  if (r < 0)
    return r;
  struct view_options options = {0};
  int fd = view_open(record, &options, NULL, &client->error);
  if (fd < 0)
    return error_prefix(&client->error, fd, "opening shadow copy %s", shadow_id);
  return client_open_mount_root(client, fd, record, fs_root, shadow_id);
}

static int unmount_shadow(struct umbra_client *client, int mounts_fd, const char *shadow_id) {
  CLEANUP_FREE char *directory = NULL, *ours = NULL;
  int r = flock(mounts_fd, LOCK_EX) < 0 ? -errno : read_mount(mounts_fd, shadow_id, &directory);
  if (r < 0)
    return r;
  r = view_detach(directory, &client->error);
  if (r < 0)
    return error_prefix(&client->error, r, "unmounting shadow copy %s", shadow_id);
  (void)unlinkat(mounts_fd, shadow_id, 0);
  if (asprintf(&ours, "%s/mnt/%s", client->coordinator->runtime_dir, shadow_id) < 0)
    ours = NULL;
  if (ours && strcmp(ours, directory) == 0)
    (void)rmdir(directory);
  return 0;
}

/* The shadow copy that is mounted at directory; a new string, NULL if none. */
static char *shadow_at(int mounts_fd, const char *directory) {
  CLEANUP_FREE char *wanted = realpath(directory, NULL);
  int copy = openat(mounts_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CLEANUP_CLOSEDIR DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
  struct dirent *file;
  while (wanted && dir && (file = readdir(dir))) {
    CLEANUP_FREE char *there = NULL;
    if (id_valid(file->d_name) && read_mount(mounts_fd, file->d_name, &there) >= 0 && strcmp(there, wanted) == 0)
      return strdup(file->d_name);
  }
  return NULL;
}

int umbra_unmount(struct umbra_client *client, const char *id_or_directory) {
  if (client->remote)
    return remote_unmount(client, id_or_directory);
  int r = client_prepare(client);
  if (r < 0)
    return r;
  CLEANUP_CLOSE int mounts_fd = open_mounts(client);
  if (mounts_fd < 0)
    return error_code(&client->error, mounts_fd, "unmounting '%s'", id_or_directory);
  CLEANUP_FREE char *by_directory = shadow_at(mounts_fd, id_or_directory);
  if (by_directory)
    return unmount_shadow(client, mounts_fd, by_directory);
  CLEANUP_JSON json_t *entries = NULL;
  json_t *entry = NULL;
  const char *shadow_id = NULL;
  r = find(client, id_or_directory, &entries, &entry, &shadow_id);
  if (r == -ENOENT && access(id_or_directory, F_OK) == 0)
    return error_set(&client->error, r, UMBRA_REASON_NOT_FOUND, "no shadow copy is mounted there (see: umbra list)");
  if (r >= 0)
    r = pick_shadow(client, entry, id_or_directory, &shadow_id);
  if (r < 0)
    return r;
  r = unmount_shadow(client, mounts_fd, shadow_id);
  if (r == -ENOENT)
    return error_set(&client->error, r, UMBRA_REASON_NOT_FOUND, "shadow copy %s is not mounted", shadow_id);
  return r;
}

/* ---- deleting ---- */

static int drop_device(const json_t *shadow, const json_t *record, struct umbra_error *err) {
  const char *device = json_get_string_or(shadow, "device", NULL);
  const char *image = json_get_string_or(json_object_get(record, "view"), "path", NULL);
  return device && image ? loop_drop(device, image, err) : 0;
}

/* Whether it is the one that is meant; NULL means all of the set. */
static bool is_meant(const json_t *shadow, const char *only) {
  return !only || strcmp(json_get_string_or(shadow, "id", ""), only) == 0;
}

/* All of them, before anything is removed: a set of which one is in use stays whole. */
static int unmount_all(struct umbra_client *client, const json_t *set, const char *only) {
  CLEANUP_CLOSE int mounts_fd = open_mounts(client);
  size_t i;
  json_t *shadow;
  json_array_foreach(json_object_get(set, "shadows"), i, shadow) {
    const char *shadow_id = json_get_string_or(shadow, "id", "");
    int r = mounts_fd < 0 || !is_meant(shadow, only) ? 0 : unmount_shadow(client, mounts_fd, shadow_id);
    if (r < 0 && r != -ENOENT)
      return error_prefix(&client->error, r, "deleting set %s", json_get_string_or(set, "id", ""));
  }
  return 0;
}

static int remove_shadow(struct umbra_client *client, const json_t *shadow, const json_t *made) {
  const char *shadow_id = json_get_string_or(shadow, "id", ""), *name = json_get_string_or(made, "provider", "");
  const struct provider *p = provider_find(name);
  if (!p)
    return error_set(&client->error, -ENOENT, UMBRA_REASON_NOT_FOUND,
                     "shadow copy %s: its provider '%s' is not there", shadow_id, name);
  const json_t *record = json_object_get(made, "record");
  int r = drop_device(shadow, record, &client->error);
  if (r >= 0)
    r = p->remove(record, &client->error);
  return r < 0 ? error_prefix(&client->error, r, "deleting shadow copy %s", shadow_id) : 0;
}

/* only: the one shadow copy that goes, of several; NULL: the set. */
static int delete_entry(struct umbra_client *client, json_t *entry, const char *only) {
  json_t *set = json_object_get(entry, "set"), *shadows = json_object_get(set, "shadows");
  const char *set_id = json_get_string_or(set, "id", ""), *state_dir = client->coordinator->state_dir;
  json_t *records = json_object_get(entry, "records");
  if (json_array_size(shadows) < 2)
    only = NULL;
  int unmounted = unmount_all(client, set, only);
  if (unmounted < 0)
    return unmounted;
  size_t i, gone = 0;
  json_t *shadow;
  json_array_foreach(shadows, i, shadow) {
    if (!is_meant(shadow, only))
      continue;
    int r = remove_shadow(client, shadow, json_object_get(records, json_get_string_or(shadow, "id", "")));
    if (r < 0)
      return r;
    gone = i;
  }
  if (!only)
    return catalog_remove(state_dir, set_id, &client->error);
  (void)json_object_del(records, only);
  (void)json_array_remove(shadows, gone);
  return catalog_put(state_dir, set_id, entry, &client->error);
}

int umbra_delete(struct umbra_client *client, const char *id) {
  if (client->remote)
    return remote_text(client, "Delete", id, NULL);
  CLEANUP_JSON json_t *entries = NULL;
  json_t *entry = NULL;
  const char *shadow_id = NULL;
  int r = client_prepare(client);
  if (r >= 0)
    r = find(client, id, &entries, &entry, &shadow_id);
  return r < 0 ? r : delete_entry(client, entry, shadow_id);
}

int umbra_delete_all(struct umbra_client *client, char **ret_json) {
  if (client->remote)
    return remote_delete_all(client, ret_json);
  CLEANUP_JSON json_t *entries = NULL, *deleted = json_array();
  int r = client_prepare(client);
  if (r >= 0)
    r = catalog_load(client->coordinator->state_dir, &entries, NULL, &client->error);
  size_t i;
  json_t *entry;
  json_array_foreach(entries, i, entry) {
    CLEANUP_JSON json_t *id = json_incref(json_object_get(json_object_get(entry, "set"), "id"));
    int one = delete_entry(client, entry, NULL);
    if (one < 0)
      r = one;
    else
      (void)json_array_append(deleted, id);
  }
  int told = ret_json ? client_return_json(client, json_pack("{s:O}", "deleted", deleted), ret_json) : 0;
  return r < 0 ? r : told;
}

int umbra_delete_oldest(struct umbra_client *client, const char *path, char **ret_id) {
  CLEANUP_JSON json_t *entries = NULL;
  struct volume_table *table = NULL;
  const struct volume *volume = NULL;
  if (client->remote && remote_can(&path, 1))
    return remote_text(client, "DeleteOldest", path, ret_id);
  int r = client_prepare(client);
  if (r >= 0)
    r = catalog_load(client->coordinator->state_dir, &entries, NULL, &client->error);
  if (r >= 0)
    r = volume_table_load(&table, &client->error);
  if (r >= 0)
    r = volume_table_lookup(table, path, &volume, NULL, &client->error);
  if (r < 0) {
    volume_table_free(table);
    return r;
  }
  r = -ENOENT;
  size_t i;
  json_t *entry;
  CLEANUP_JSON json_t *key = json_path(volume->key);
  json_array_foreach(entries, i, entry) {
    const char *shadow_id;
    json_t *made;
    json_object_foreach(json_object_get(entry, "records"), shadow_id, made) {
      if (r == -ENOENT && json_equal(json_object_get(made, "key"), key)) {
        char *id = strdup(json_get_string_or(json_object_get(entry, "set"), "id", ""));
        r = delete_entry(client, entry, NULL);
        if (r >= 0)
          *ret_id = take_pointer(id);
        free(id);
      }
    }
  }
  if (r == -ENOENT)
    (void)error_set(&client->error, r, UMBRA_REASON_NOT_FOUND, "no shadow copy of volume '%s'", volume->mount_point);
  volume_table_free(table);
  return r;
}
