/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making sets: options in, shadow copies out. */
#include "libumbra/condition.h"
#include "libumbra/handles.h"
#include "libumbra/remote.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/strv.h"
#include "view/run.h"
#include "view/view.h"

#include <errno.h>
#include <linux/openat2.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <unistd.h>

int umbra_set_new(struct umbra_client *client, struct umbra_set **ret) {
  /* With umbrad it may turn out that nothing is to be done here. */
  int r = client->remote ? 0 : client_prepare(client);
  if (r < 0)
    return r;
  struct umbra_set *s = calloc(1, sizeof *s);
  if (!s)
    return error_code(&client->error, -ENOMEM, "making a set");
  s->client = client;
  r = set_new(client->coordinator, &s->set, &client->error);
  if (r < 0) {
    free(s);
    return r;
  }
  *ret = s;
  return 0;
}

/* What stays until it is deleted has no owner: its making ends with its release. True while something is under way.
 */
static bool go_on(struct umbra_set *set) {
  struct set *s = set->set;
  if (set_rests(s) && s->state == SET_READY && !s->request.auto_release)
    (void)set_begin_release(s, NULL);
  bool under_way = !set_rests(s);
  if (!under_way)
    set->client->making = NULL;
  return under_way;
}

void umbra_set_free(struct umbra_set *set) {
  if (!set)
    return;
  if (set->client->making == set) {
    umbra_client_cancel(set->client);
    while (go_on(set))
      set_wait(set->set);
  }
  set_free(set->set);
  json_decref(set->options);
  json_decref(set->made);
  free(set->made_text);
  free(set);
}

static int changeable(struct umbra_set *set) {
  error_clear(&set->client->error);
  if (set->set->state != SET_NEW || set->made)
    return error_set(&set->client->error, -EBUSY, UMBRA_REASON_BAD_STATE, "changing a set that is made already");
  return 0;
}

int umbra_set_add_path(struct umbra_set *set, const char *path) {
  int r = changeable(set);
  if (r < 0)
    return r;
  struct umbra_error *err = &set->client->error;
  if (strv_count(set->set->request.paths) >= SET_PATHS_MAX)
    return error_set(err, -E2BIG, UMBRA_REASON_LIMIT, "a set can have at most %d paths", (int)SET_PATHS_MAX);
  /* Absolute: the view may change the working directory's meaning. The last component may be a symlink that is meant.
   */
  CLEANUP_FREE char *absolute = realpath(path, NULL);
  if (!absolute)
    return error_errno(err, "path '%s'", path);
  return strv_append_take(&set->set->request.paths, take_pointer(absolute)) < 0 ? error_code(err, -ENOMEM, "path")
                                                                                : 0;
}

/* ---- options: one function a kind of value, one table ---- */

typedef int (*take_option)(struct set_request *q, const char *value);

static int take_text(char **field, const char *value) {
  char *copy = strdup(value);
  if (!copy)
    return -ENOMEM;
  free(*field);
  *field = copy;
  return 0;
}

static int take_flag(bool *field, const char *value) {
  if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
    return -EINVAL;
  *field = strcmp(value, "yes") == 0;
  return 0;
}

static int take_provider(struct set_request *q, const char *value) { return take_text(&q->provider, value); }
static int take_storage(struct set_request *q, const char *value) { return take_text(&q->storage, value); }
static int take_label(struct set_request *q, const char *value) {
  size_t length = strlen(value);
  return length == 0 || length > SET_LABEL_BYTES_MAX ? -EINVAL : take_text(&q->label, value);
}
static int take_writer(struct set_request *q, const char *value) { return strv_append(&q->writers, value); }
static int take_component(struct set_request *q, const char *value) {
  return *value ? strv_append(&q->wanted, value) : -EINVAL;
}
static int take_partial_files(struct set_request *q, const char *value) {
  return take_flag(&q->partial_files, value);
}
static int take_auto_release(struct set_request *q, const char *value) { return take_flag(&q->auto_release, value); }
static int take_persistent(struct set_request *q, const char *value) { return take_flag(&q->persistent, value); }
static int take_repair(struct set_request *q, const char *value) {
  int r = take_flag(&q->no_repair, value);
  q->no_repair = !q->no_repair;
  return r;
}
static int take_read_write(struct set_request *q, const char *value) { return take_flag(&q->read_write, value); }

static int take_writers(struct set_request *q, const char *value) {
  bool told = true;
  int r = take_flag(&told, value);
  q->no_writers = !told;
  return r;
}

static int take_require(struct set_request *q, const char *value) {
  if (strcmp(value, "instant") == 0) {
    q->require_instant = true;
    return 0;
  }
  for (int level = CONSISTENCY_CRASH; level <= CONSISTENCY_APPLICATION; level++)
    if (strcmp(value, set_consistency_name((enum set_consistency)level)) == 0) {
      q->require = (enum set_consistency)level;
      return 0;
    }
  return -EINVAL;
}

static int take_scope(struct set_request *q, const char *value) {
  if (strcmp(value, "paths") != 0 && strcmp(value, "volume") != 0)
    return -EINVAL;
  q->scope_paths = strcmp(value, "paths") == 0;
  return 0;
}

static int take_backup_type(struct set_request *q, const char *value) {
  static const char *const types[] = {"full", "incremental", "differential", "copy", "log"};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
    if (strcmp(types[i], value) == 0)
      return take_text(&q->backup_type, value);
  return -EINVAL;
}

static int take_components(struct set_request *q, const char *value) {
  json_t *components = NULL;
  int r = json_parse(value, strlen(value), "components", &components, NULL);
  if (r < 0)
    return -EINVAL;
  json_decref(q->components);
  q->components = components;
  return 0;
}

/* "4G", "512M", "10%". */
static int take_storage_max(struct set_request *q, const char *value) {
  char *end;
  errno = 0;
  unsigned long long n = strtoull(value, &end, 10);
  if (errno || end == value || value[0] == '-' || n == 0)
    return -EINVAL;
  if (strcmp(end, "%") == 0) {
    q->storage_percent_max = (unsigned)n;
    return n > 100 ? -EINVAL : 0;
  }
  static const char units[] = "KMGT";
  const char *unit = *end ? strchr(units, *end) : NULL;
  if (*end && (!unit || end[1]))
    return -EINVAL;
  unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
  if (n > UINT64_MAX >> shift)
    return -ERANGE;
  q->storage_bytes_max = (uint64_t)n << shift;
  return 0;
}

static const struct {
  const char *name;
  take_option take;
} options[] = {
    {"provider", take_provider},       {"storage", take_storage},
    {"storage-max", take_storage_max}, {"label", take_label},
    {"require", take_require},         {"writers", take_writers},
    {"writer", take_writer},           {"auto-release", take_auto_release},
    {"persistent", take_persistent},   {"read-write", take_read_write},
    {"repair", take_repair},           {"scope", take_scope},
    {"backup-type", take_backup_type}, {"components", take_components},
    {"component", take_component},     {"partial-files", take_partial_files},
};

/* Kept as it was said, for umbrad. */
static int note_option(struct umbra_set *set, const char *name, const char *value) {
  if (!set->options)
    set->options = json_array();
  return json_array_append_new(set->options, json_pack("[s, s]", name, value)) < 0 ? -EINVAL : 0;
}

int umbra_set_option(struct umbra_set *set, const char *name, const char *value) {
  int r = changeable(set);
  struct umbra_error *err = &set->client->error;
  for (size_t i = 0; r >= 0 && i < sizeof options / sizeof options[0]; i++) {
    if (strcmp(options[i].name, name) != 0)
      continue;
    r = options[i].take(&set->set->request, value);
    if (r >= 0 && set->client->remote)
      r = note_option(set, name, value);
    if (r == -EINVAL || r == -ERANGE)
      return error_set(err, r, UMBRA_REASON_INVALID, "'%s' is no value for option %s", value, name);
    return r < 0 ? error_code(err, r, "option %s", name) : 0;
  }
  return r < 0 ? r : error_set(err, -EINVAL, UMBRA_REASON_INVALID, "there is no option '%s'", name);
}

/* ---- making it: the same steps, with and without waiting ---- */

static int begin(struct umbra_set *set) {
  error_clear(&set->client->error);
  if (set->client->making)
    return error_set(&set->client->error, -EBUSY, UMBRA_REASON_BAD_STATE,
                     "making a set: another one of this client is being made");
  int r = set->made ? changeable(set) : client_prepare(set->client);
  if (r >= 0)
    r = set_begin_create(set->set, &set->client->error);
  if (r >= 0)
    set->client->making = set;
  return r;
}

int umbra_set_create(struct umbra_set *set) {
  const struct set_request *q = &set->set->request;
  if (set->client->remote && !q->auto_release && !set->made &&
      remote_can((const char *const *)q->paths, strv_count(q->paths)))
    return remote_create(set);
  int r = begin(set);
  if (r < 0)
    return r;
  while (go_on(set))
    set_wait(set->set);
  return set_result(set->set, &set->client->error);
}

int umbra_set_create_async(struct umbra_set *set) {
  int r = begin(set);
  /* Once, so that the timers of what has begun are armed when the caller polls. */
  if (r >= 0)
    (void)umbra_client_dispatch(set->client);
  return r;
}

int umbra_set_result(struct umbra_set *set) {
  error_clear(&set->client->error);
  return set->client->making == set ? -EINPROGRESS : set_result(set->set, &set->client->error);
}

int umbra_client_dispatch(struct umbra_client *client) {
  struct umbra_set *set = client->making;
  if (!set)
    return 0;
  set_step(set->set);
  /* The end of its making may begin the end of its ownership, which has steps of its own. */
  while (set_rests(set->set) && go_on(set))
    set_step(set->set);
  return client->making != NULL;
}

int umbra_client_fd(const struct umbra_client *client) { return sd_event_get_fd(client->coordinator->loop); }

const char *umbra_set_id(const struct umbra_set *set) {
  return set->made ? json_get_string_or(json_object_get(set->made, "set"), "id", "") : set->set->id;
}
const char *umbra_set_document(const struct umbra_set *set) { return set->made ? set->made_text : set->set->document_text; }
int umbra_set_degraded(const struct umbra_set *set) {
  return set->made ? set->made_degraded : set->set->degraded;
}
size_t umbra_set_shadow_count(const struct umbra_set *set) {
  return set->made ? json_array_size(json_object_get(json_object_get(set->made, "set"), "shadows")) : set->set->member_count;
}

static bool has_shadows(struct umbra_set *set) {
  return set->set->state == SET_READY || set->set->state == SET_ENDED;
}

/* Nothing in the shadow copy may lead out of it, least of all into the live system. A FIFO would wait for a writer.
 */
static int open_beneath(int root, const char *relative, int flags) {
  struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC | O_NONBLOCK),
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
  struct stat st;
  CLEANUP_CLOSE int fd = (int)syscall(SYS_openat2, root, relative, &how, sizeof how);
  if (fd < 0 || fstat(fd, &st) < 0)
    return -errno;
  return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? take_fd(&fd) : -EINVAL;
}

int client_open_mount_root(struct umbra_client *client, int view_fd, const json_t *record, const char *fs_root,
                           const char *mount_point) {
  bool image = strcmp(json_get_string_or(json_object_get(record, "view"), "kind", ""), "image") == 0;
  if (!image || strcmp(fs_root, "/") == 0)
    return view_fd;
  int fd = open_beneath(view_fd, fs_root + 1, O_RDONLY | O_DIRECTORY);
  int r = fd < 0 ? error_code(&client->error, fd, "opening '%s' in the shadow copy of '%s'", fs_root, mount_point) : fd;
  (void)close(view_fd);
  return r;
}

int umbra_set_open_shadow(struct umbra_set *set, size_t index) {
  struct umbra_error *err = &set->client->error;
  error_clear(err);
  if (set->made && index < umbra_set_shadow_count(set)) {
    const json_t *shadows = json_object_get(json_object_get(set->made, "set"), "shadows");
    return remote_open_shadow(set->client, json_get_string_or(json_array_get(shadows, index), "id", ""));
  }
  if (!has_shadows(set) || index >= set->set->member_count)
    return error_set(err, -EINVAL, UMBRA_REASON_BAD_STATE, "opening a shadow copy that is not there");
  const struct set_member *m = &set->set->members[index];
  struct view_options view = {0};
  int fd = view_open(m->shadow.record, &view, NULL, err);
  if (fd < 0)
    return error_prefix(err, fd, "showing the shadow copy of '%s'", m->shadow.volume->mount_point);
  return client_open_mount_root(set->client, fd, m->shadow.record, m->shadow.volume->fs_root, m->shadow.volume->mount_point);
}

/* Where path lies below directory; "." for itself, NULL: elsewhere. */
static const char *below(const char *path, const char *directory) {
  size_t length = strcmp(directory, "/") == 0 ? 0 : strlen(directory);
  if (strncmp(path, directory, length) != 0 || (path[length] != '/' && path[length] != 0))
    return NULL;
  return path[length] && path[length + 1] ? path + length + 1 : ".";
}

/*
 * The volume that holds path now, or would hold it, and path as it is reached through its mount point: what has been
 * deleted since is what is asked for most.
 */
static int find_path(const struct set *s, const char *path, const struct volume **ret, char **ret_real,
                     struct umbra_error *err) {
  CLEANUP_FREE char *at = strdup(path), *real = NULL;
  size_t length = at ? strlen(at) : 0;
  int r = at ? volume_table_lookup(s->volumes, at, ret, &real, err) : error_code(err, -ENOMEM, "opening '%s'", path);
  while (r == -ENOENT && length > 1) {
    do
      length--;
    while (length > 1 && at[length] != '/');
    at[length] = 0;
    r = volume_table_lookup(s->volumes, at, ret, &real, NULL);
  }
  if (r < 0)
    return r;
  if (asprintf(ret_real, "%s%s", strcmp(real, "/") == 0 ? "" : real, path + length) < 0) {
    *ret_real = NULL;
    return error_code(err, -ENOMEM, "opening '%s'", path);
  }
  error_clear(err);
  return 0;
}

int umbra_set_open_path(struct umbra_set *set, const char *path) {
  struct umbra_error *err = &set->client->error;
  const struct volume *volume = NULL;
  CLEANUP_FREE char *real = NULL;
  error_clear(err);
  if (!has_shadows(set))
    return error_set(err, -EINVAL, UMBRA_REASON_BAD_STATE, "opening a shadow copy that is not there");
  int r = find_path(set->set, path, &volume, &real, err);
  if (r < 0)
    return r;
  size_t i = 0;
  while (i < set->set->member_count && strcmp(set->set->members[i].shadow.volume->key, volume->key) != 0)
    i++;
  if (i == set->set->member_count)
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "'%s' is on volume '%s', which is not in the set", path,
                     volume->mount_point);
  const char *relative = below(real, volume->mount_point);
  if (!relative)
    return error_set(err, -EXDEV, UMBRA_REASON_INVALID, "'%s' is not reached through '%s'", path,
                     volume->mount_point);
  CLEANUP_CLOSE int root = umbra_set_open_shadow(set, i);
  int fd = root < 0 ? root : open_beneath(root, relative, O_RDONLY);
  return root >= 0 && fd < 0
             ? error_code(err, fd, "opening '%s' in the shadow copy of '%s'", path, volume->mount_point)
             : fd;
}

/* Who read a shadow copy that was dropped under him saw nothing but an I/O error. */
static void warn_of_dropped(const struct umbra_set *set) {
  CLEANUP_JSON json_t *made = json_object();
  for (size_t i = 0; i < set->set->member_count; i++) {
    const struct set_member *m = &set->set->members[i];
    (void)json_object_set_new(made, m->shadow.id,
                              json_pack("{s:s, s:O}", "provider", m->provider->name, "record", m->shadow.record));
  }
  CLEANUP_JSON json_t *found = condition_find(made);
  for (size_t i = 0; i < set->set->member_count; i++) {
    const struct shadow *shadow = &set->set->members[i].shadow;
    const json_t *condition = json_object_get(found, shadow->id);
    if (condition && strcmp(json_get_string_or(condition, "state", ""), "unknown") != 0)
      coordinator_warn(set->client->coordinator, "the shadow copy of volume '%s' was not whole to the end (%s: %s)",
                       shadow->volume->mount_point, json_get_string_or(condition, "state", ""),
                       json_get_string_or(condition, "why", ""));
  }
}

int umbra_set_complete(struct umbra_set *set, int succeeded) {
  error_clear(&set->client->error);
  if (has_shadows(set))
    warn_of_dropped(set);
  return set_complete(set->set, succeeded, &set->client->error);
}

int umbra_set_component_succeeded(struct umbra_set *set, const char *component, int succeeded) {
  error_clear(&set->client->error);
  if (set->set->state != SET_READY)
    return error_set(&set->client->error, -EINVAL, UMBRA_REASON_BAD_STATE,
                     "saying how a component's backup went: the set is %s", set_state_name(set->set->state));
  return set_component_outcome(set->set, component, succeeded, &set->client->error);
}

int umbra_set_run(struct umbra_set *set, char *const *arguments, const char *const *keep) {
  struct umbra_error *err = &set->client->error;
  struct view_shadow shadows[SET_VOLUMES_MAX];
  error_clear(err);
  if (!has_shadows(set))
    return error_set(err, -EINVAL, UMBRA_REASON_BAD_STATE, "running a program over a set that is not made");
  if (coordinator_cancelled(set->client->coordinator))
    return error_set(err, -ECANCELED, UMBRA_REASON_CANCELLED, "cancelled");
  for (size_t i = 0; i < set->set->member_count; i++) {
    const struct set_member *m = &set->set->members[i];
    shadows[i] = (struct view_shadow){
        .record = m->shadow.record,
        .mount_point = m->shadow.volume->mount_point,
        .fs_root = m->shadow.volume->fs_root,
        .device = m->shadow.volume->device,
        .paths = m->shadow.paths,
    };
  }
  struct view_run run = {
      .shadows = shadows,
      .shadow_count = set->set->member_count,
      .arguments = arguments,
      .keep = keep,
      .warning = set->client->coordinator->warning,
      .userdata = set->client->coordinator->warning_userdata,
  };
  return view_run(&run, err);
}
