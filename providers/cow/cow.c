/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "providers/cow/cow.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "cow/front/fuse.h"
#include "cow/serve/client.h"
#include "providers/cow/inside.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  CALL_TIMEOUT_MS = 60000,
  COMMIT_TIMEOUT_MS = 8000,
  CLOSED_WAIT_MS = 10000,
  CLOSED_POLL_MS = 20,
  SETTLE_TRIES_MAX = 3
};

struct cow {
  int fd; /* to the volume's server: what it began and did not commit goes with it */
  char *directory;
  bool committed; /* in a hold that may have been of no use to the set: it is then made again in the next */
};

static int cow_can_shadow(const struct volume *volume, const char *config_dir, struct umbra_error *why) {
  (void)config_dir;
  CLEANUP_FREE char *directory = NULL;
  CLEANUP_CLOSE int fd = -1;
  int r = cow_attached_directory(volume->block_device, &directory, why);
  if (r >= 0 && volume->image_why)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "%s", volume->image_why);
  if (r >= 0)
    r = cow_client_connect(directory, &fd, why);
  if (r == -ENOENT)
    return error_set(why, r, UMBRA_REASON_NOT_FOUND,
                     "it was attached as '%s', but both its programs are gone: attach it again (with front fuse, unmount it first)",
                     strrchr(directory, '/') + 1);
  return r;
}

/* What the server says of its volume. *ret is the caller's. */
static int ask_status(int fd, json_t **ret, struct umbra_error *err) {
  return cow_client_call(fd, json_pack("{s:s}", "do", "status"), CALL_TIMEOUT_MS, ret, err);
}

static int cow_can_persist_on(const struct volume *volume, struct umbra_error *why) {
  CLEANUP_FREE char *directory = NULL;
  CLEANUP_CLOSE int fd = -1;
  CLEANUP_JSON json_t *status = NULL;
  int r = cow_attached_directory(volume->block_device, &directory, why);
  if (r >= 0)
    r = cow_client_connect(directory, &fd, why);
  if (r >= 0)
    r = ask_status(fd, &status, why);
  if (r >= 0 && !json_get_boolean_or(status, "persistent", false))
    r = error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                  "its shadow copies are not persistent: the volume was attached without --persistent");
  return r;
}

/* Its id is free again a moment after another one of this name was deleted. */
static int begin(struct shadow *s, struct umbra_error *err) {
  struct cow *c = s->state;
  for (unsigned waited_ms = 0;; waited_ms += CLOSED_POLL_MS) {
    int r = cow_client_call(c->fd,
                            json_pack("{s:s, s:s, s:b, s:b}", "do", "begin", "id", s->id, "keep", s->persistent,
                                      "writable", shadow_is_changed(s)),
                            CALL_TIMEOUT_MS, NULL, err);
    if (r != -EEXIST || waited_ms >= CLOSED_WAIT_MS)
      return r;
    (void)poll(NULL, 0, CLOSED_POLL_MS);
  }
}

/* A loop device that was let go closes its file a moment later, by itself. */
static int delete_when_closed(int fd, const char *id, struct umbra_error *err) {
  for (unsigned waited_ms = 0;; waited_ms += CLOSED_POLL_MS) {
    int r = cow_client_call(fd, json_pack("{s:s, s:s}", "do", "delete", "id", id), CALL_TIMEOUT_MS, NULL, err);
    if (r != -EBUSY || waited_ms >= CLOSED_WAIT_MS)
      return r;
    (void)poll(NULL, 0, CLOSED_POLL_MS);
  }
}

/* Of storage inside the volume: that it is there, and where it was. After begin, from which on no write passes. */
static int look_at_storage(struct shadow *s, struct umbra_error *err) {
  struct cow *c = s->state;
  CLEANUP_JSON json_t *status = NULL;
  int r = ask_status(c->fd, &status, err);
  if (r < 0 || !json_get_boolean_or(status, "inside", false))
    return r;
  uint64_t bytes = (uint64_t)json_get_integer_or(status, "wanted_bytes", 0);
  bool fresh = !json_get_boolean_or(status, "has_ranges", false);
  r = cow_inside_prepare(c->fd, s->volume, s->volume_fd, fresh, bytes, CALL_TIMEOUT_MS, err);
  if (r != -ESTALE || fresh)
    return r;
  /* It was dropped with all it held; once more from nothing. */
  log_warning("the storage inside volume '%s' was removed or moved: its shadow copies were dropped",
              s->volume->mount_point);
  error_clear(err);
  return cow_inside_prepare(c->fd, s->volume, s->volume_fd, true, bytes, CALL_TIMEOUT_MS, err);
}

static int begin_on_storage(struct shadow *s, struct umbra_error *err) {
  int r = begin(s, err);
  return r < 0 ? r : look_at_storage(s, err);
}

static int cow_prepare(struct shadow *s, struct umbra_error *err) {
  struct cow *c = calloc(1, sizeof *c);
  if (!c)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "preparing a shadow copy");
  c->fd = -1;
  s->state = c;
  s->repair = s->repair && !s->persistent; /* what is written to a shadow copy does not outlive the run */
  int r = cow_attached_directory(s->volume->block_device, &c->directory, err);
  if (r >= 0)
    r = cow_client_connect(c->directory, &c->fd, err);
  if (r < 0)
    return r;
  /* Recorded before it exists: after a crash remove() finds what became of it. */
  if (json_object_set_new(s->record, "directory", json_path(c->directory)) < 0 ||
      json_object_set_new(s->record, "id", json_string(s->id)) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "preparing a shadow copy");
  r = s->services->save(s, err);
  return r < 0 ? r : begin_on_storage(s, err);
}

/* Before each hold. What the last one made shows an instant that was not the set's. */
static int cow_precommit(struct shadow *s, struct umbra_error *err) {
  struct cow *c = s->state;
  if (!c->committed)
    return 0;
  int r = delete_when_closed(c->fd, s->id, err);
  if (r < 0 && r != -ENOENT)
    return r;
  c->committed = false;
  return begin_on_storage(s, err);
}

static int cow_commit(struct shadow *s, struct umbra_error *err) {
  struct cow *c = s->state;
  /* PROVIDER_HOLD_NEEDED: frozen, or this is not called. */
  int r = cow_client_commit(c->fd, s->id, s->volume->can_freeze, COMMIT_TIMEOUT_MS);
  if (r < 0)
    return error_code(err, r, "the server of the attached volume '%s'", c->directory);
  c->committed = true;
  return 0;
}

/*
 * From here on it outlives the server, both programs, the machine's run. A server that dies meanwhile is replaced:
 * the next one is asked again. Recorded before: remove() then does not take it for gone while the volume is not
 * attached.
 */
static int settle(struct shadow *s, struct umbra_error *err) {
  struct cow *c = s->state;
  CLEANUP_JSON json_t *status = NULL;
  int r = ask_status(c->fd, &status, err);
  if (r >= 0 && json_object_set(s->record, "kept_in", json_object_get(status, "storage")) < 0)
    r = error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the shadow copy");
  if (r >= 0)
    r = s->services->save(s, err);
  for (unsigned tries = 0; r >= 0; tries++) {
    r = cow_client_call(c->fd, json_pack("{s:s, s:s}", "do", "settle", "id", s->id), CALL_TIMEOUT_MS, NULL, err);
    if ((r != -EPIPE && r != -ECONNRESET) || tries == SETTLE_TRIES_MAX)
      break;
    cleanup_close_fd(&c->fd);
    c->fd = -1;
    r = cow_client_connect(c->directory, &c->fd, err);
  }
  return r;
}

static int cow_postcommit(struct shadow *s, struct umbra_error *err) {
  struct cow *c = s->state;
  if (s->persistent) {
    int r = settle(s, err);
    if (r < 0)
      return r;
  }
  CLEANUP_FREE char *path = NULL;
  if (asprintf(&path, "%s/mnt/" FUSE_FRONT_SHADOW "%s", c->directory, s->id) < 0)
    path = NULL;
  json_t *view = path ? json_pack("{s:s, s:o, s:s, s:I, s:b}", "kind", "image", "path", json_path(path), "filesystem",
                                  s->volume->fs_type, "sector_bytes", (json_int_t)s->volume->sector_bytes,
                                  "read_write", shadow_is_changed(s))
                      : NULL;
  if (!view || json_object_set_new(s->record, "view", view) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the shadow copy");
  return 0;
}

static int cow_seal(struct shadow *s, struct umbra_error *err) {
  struct cow *c = s->state;
  int r = s->read_write ? 0
                        : cow_client_call(c->fd, json_pack("{s:s, s:s}", "do", "seal", "id", s->id), CALL_TIMEOUT_MS,
                                          NULL, err);
  return r < 0 ? r : shadow_seal_view(s, err);
}

static void cow_release_state(struct shadow *s) {
  struct cow *c = s->state;
  if (!c)
    return;
  cleanup_close_fd(&c->fd);
  free(c->directory);
  free(c);
  s->state = NULL;
}

/* Of a persistent one whose volume is not attached: it goes with its storage, if that has gone. */
static int remove_detached(const json_t *record, const char *directory, struct umbra_error *err) {
  const char *storage = json_get_string_or(record, "kept_in", NULL);
  if (!storage || (access(storage, F_OK) < 0 && errno == ENOENT))
    return -ENOENT;
  return error_set(err, -EBUSY, UMBRA_REASON_BUSY,
                   "it is kept in '%s', and its volume '%s' is not attached: attach it first", storage,
                   strrchr(directory, '/') + 1);
}

/*
 * A volume that was detached took its shadow copies with it, but for persistent ones. One that was begun goes with
 * its connection: that may take a moment.
 */
static int cow_remove(const json_t *record, struct umbra_error *err) {
  CLEANUP_FREE char *directory = NULL;
  const char *id = json_string_value(json_object_get(record, "id"));
  CLEANUP_CLOSE int fd = -1;
  if (!id || json_path_value(json_object_get(record, "directory"), &directory) < 0)
    return 0;
  int r = cow_client_connect(directory, &fd, err);
  if (r >= 0)
    r = delete_when_closed(fd, id, err);
  else if (r == -ENOENT)
    r = remove_detached(record, directory, err);
  if (r == -ENOENT || r == -EINVAL) {
    error_clear(err);
    return 0;
  }
  return r;
}

/* What the server of one volume has: {"shadows": {id: …}}, or what is then to be said of all of the volume's. */
static json_t *ask_volume(const char *directory) {
  struct umbra_error why = {0};
  json_t *shadows = NULL;
  int r = cow_client_list(directory, &shadows, &why);
  if (r == -ENOENT) {
    const char *slash = strrchr(directory, '/');
    (void)error_set(&why, r, UMBRA_REASON_NOT_FOUND,
                    "its volume '%s' is not attached any more, and its shadow copies went with it",
                    slash ? slash + 1 : directory);
  }
  return r >= 0 ? json_pack("{s:o}", "shadows", shadows)
                : json_pack("{s:s, s:s}", "state", r == -ENOENT ? "lost" : "unknown", "why", why.message);
}

/* What is to be said of one, NULL: nothing, it is live. */
static json_t *judge(const json_t *volume, const char *id) {
  if (!json_object_get(volume, "shadows"))
    return json_deep_copy(volume);
  const json_t *shadow = json_object_get(json_object_get(volume, "shadows"), id);
  const char *state = json_get_string_or(shadow, "state", "");
  if (strcmp(state, "live") == 0)
    return NULL;
  if (strcmp(state, "dropped") == 0)
    return json_pack("{s:s, s:s}", "state", state, "why", json_get_string_or(shadow, "why", ""));
  return json_pack(
      "{s:s, s:s}", "state", "lost", "why",
      "the volume's server does not have it: it was deleted there, or the volume was attached anew since");
}

static void cow_look(const json_t *records, json_t *found) {
  CLEANUP_JSON json_t *volumes = json_object();
  const char *id;
  json_t *record;
  json_object_foreach((json_t *)records, id, record) {
    CLEANUP_FREE char *directory = NULL;
    const char *key = json_get_string_or(record, "directory", "");
    if (json_path_value(json_object_get(record, "directory"), &directory) < 0)
      continue;
    if (!json_object_get(volumes, key))
      (void)json_object_set_new(volumes, key, ask_volume(directory));
    json_t *answer = judge(json_object_get(volumes, key), id);
    /* Not lost if it is persistent: it comes back with the volume. */
    if (json_object_get(record, "kept_in") && !json_object_get(json_object_get(volumes, key), "shadows") &&
        strcmp(json_get_string_or(answer, "state", ""), "lost") == 0)
      (void)json_object_update_new(answer, json_pack("{s:s, s:s}", "state", "detached", "why",
                                                     "its volume is not attached (umbra-attach(8))"));
    if (answer)
      (void)json_object_set_new(found, id, answer);
  }
}

const struct provider cow_provider = {
    .name = "cow",
    .summary = "copy-on-write of a volume that is attached to umbra: at once, with storage for what changes",
    .hold = PROVIDER_HOLD_NEEDED,
    .instant = true,
    .can_persist = true,
    .can_read_write = true,
    .not_persistent_and_read_write = true,
    .can_shadow = cow_can_shadow,
    .can_persist_on = cow_can_persist_on,
    .prepare = cow_prepare,
    .precommit = cow_precommit,
    .commit = cow_commit,
    .postcommit = cow_postcommit,
    .seal = cow_seal,
    .release_state = cow_release_state,
    .remove = cow_remove,
    .own_storage = "in the storage that was chosen when the volume was attached (umbra-attach(8))",
    .look = cow_look,
};
