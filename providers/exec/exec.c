/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * exec: shadow copies made by an executable in CONFIG/providers.d, for hardware, clouds and whatever else can copy a
 * volume (DESIGN.md; the protocol is in umbra-exec-provider(7)).  One struct provider stands for all of them.
 *
 * Starting a program needs memory and reads files, so none is started while volumes are held: `NAME commit` is
 * started before, has its document and waits for the word.
 */
#include "providers/exec/exec.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/strv.h"
#include "providers/exec/exec-call.h"
#include "providers/exec/exec-program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

enum {
  PROTOCOL_VERSION = 1,
  CAN_MS_MAX = 10 * 1000,
  PREPARE_MS_MAX = 600 * 1000,
  PRECOMMIT_MS_MAX = 60 * 1000,
  COMMIT_MS_MAX = 10 * 1000,
  POSTCOMMIT_MS_MAX = 600 * 1000,
  REMOVE_MS_MAX = 60 * 1000,
};

struct exec_state {
  char *path;               /* of the executable */
  struct exec_call *commit; /* `NAME commit`, waiting for the word */
};

/* ---- documents ---- */

static json_t *device_text(dev_t device) {
  return device == 0 ? json_null() : json_sprintf("%u:%u", major(device), minor(device));
}

static json_t *describe_volume(const struct volume *v) {
  return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:i, s:b, s:b}", "mount_point",
                   json_path(v->mount_point), "filesystem", v->fs_type, "fs_root", json_path(v->fs_root), "source",
                   json_path(v->source), "device", device_text(v->device), "block_device",
                   device_text(v->block_device), "block_path", v->block_path ? json_path(v->block_path) : json_null(),
                   "block_bytes", (json_int_t)v->block_bytes, "sector_bytes", (int)v->sector_bytes, "read_only",
                   v->read_only, "can_freeze", v->can_freeze);
}

static json_t *describe_paths(char *const *paths) {
  if (!paths)
    return json_null();
  json_t *list = json_array();
  for (size_t i = 0; list && paths[i]; i++)
    if (json_array_append_new(list, json_path(paths[i])) < 0) {
      json_decref(list);
      return NULL;
    }
  return list;
}

/* What every verb after `can` gets. The program's own record goes with it. */
static int describe_shadow(const struct shadow *s, const char *verb, json_t **ret, struct umbra_error *err) {
  json_t *own = json_object_get(s->record, "data");
  *ret = json_pack("{s:i, s:s, s:s, s:s, s:O, s:o, s:{s:o, s:b, s:I}, s:b, s:b, s:b, s:s, s:O}", "version",
                   PROTOCOL_VERSION, "verb", verb, "id", s->id, "set", s->set_id, "volume",
                   json_object_get(s->record, "volume"), "paths", describe_paths(s->paths), "storage", "directory",
                   json_path(s->storage_dir), "named", s->storage_named, "bytes_max",
                   (json_int_t)s->storage_bytes_max, "persistent", s->persistent, "auto_release", s->auto_release,
                   "read_write", s->read_write, "runtime_dir", s->runtime_dir ? s->runtime_dir : "", "record", own);
  return *ret ? 0 : error_code(err, -ENOMEM, "describing the shadow copy");
}

/* ---- which one ---- */

/* Asks one executable. 0: it can. */
static int ask(const struct volume *volume, const char *config_dir, const char *name, struct umbra_error *why) {
  CLEANUP_FREE char *path = NULL;
  CLEANUP(cleanup_exec_call) struct exec_call *call = NULL;
  CLEANUP_JSON json_t *input = NULL, *output = NULL;
  int r = exec_program_path(config_dir, name, &path, why);
  if (r < 0)
    return r;
  input = json_pack("{s:i, s:s, s:o}", "version", PROTOCOL_VERSION, "verb", "can", "volume", describe_volume(volume));
  if (!input)
    return error_code(why, -ENOMEM, "asking provider '%s'", name);
  r = exec_call_start(path, "can", input, false, &call, why);
  if (r >= 0)
    r = exec_call_wait(call, CAN_MS_MAX, NULL, why);
  if (r >= 0)
    r = exec_call_output(call, &output, why);
  if (r < 0)
    /* Its own errno must not be taken for "there is none of that name". */
    return r == -ENOENT ? -EIO : r;
  if (json_is_true(json_object_get(output, "can")))
    return 0;
  return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "%s says: %s", name,
                   json_get_string_or(output, "why", "no, without a reason"));
}

/* The first that can. *ret_name is the caller's. */
static int ask_all(const struct volume *volume, const char *config_dir, char **ret_name, struct umbra_error *why) {
  CLEANUP_STRV char **names = NULL;
  char reasons[ERROR_MESSAGE_BYTES_MAX] = "";
  int r = exec_program_list(config_dir, &names, why);
  if (r < 0)
    return r;
  for (size_t i = 0; names && names[i]; i++) {
    struct umbra_error one = {0};
    if (ask(volume, config_dir, names[i], &one) >= 0) {
      *ret_name = strdup(names[i]);
      return *ret_name ? 0 : error_code(why, -ENOMEM, "choosing a provider");
    }
    if (reasons[0])
      (void)strncat(reasons, ", ", sizeof reasons - strlen(reasons) - 1);
    (void)strncat(reasons, one.message, sizeof reasons - strlen(reasons) - 1);
  }
  return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "%s",
                   reasons[0] ? reasons : "no executable in the configuration's providers.d");
}

static int exec_can_shadow(const struct volume *volume, const char *config_dir, struct umbra_error *why) {
  CLEANUP_FREE char *name = NULL;
  return ask_all(volume, config_dir, &name, why);
}

static int exec_can_shadow_as(const struct volume *volume, const char *config_dir, const char *name,
                              struct umbra_error *why) {
  return ask(volume, config_dir, name, why);
}

/* ---- the steps ---- */

/* Takes over what the program wants to be remembered. */
static int keep_record(struct shadow *s, json_t *output, struct umbra_error *err) {
  json_t *own = json_object_get(output, "record");
  if (!own)
    return 0;
  if (!json_is_object(own))
    return error_set(err, -EBADMSG, UMBRA_REASON_PROVIDER, "the provider's \"record\" is no JSON object");
  return json_object_set(s->record, "data", own) < 0 ? error_code(err, -ENOMEM, "keeping the provider's record") : 0;
}

/* Runs one verb from beginning to end. */
static int run_verb(struct shadow *s, const char *verb, int timeout_ms, json_t **ret_output,
                    struct umbra_error *err) {
  const struct exec_state *state = s->state;
  CLEANUP(cleanup_exec_call) struct exec_call *call = NULL;
  CLEANUP_JSON json_t *input = NULL, *output = NULL;
  int r = describe_shadow(s, verb, &input, err);
  if (r >= 0)
    r = exec_call_start(state->path, verb, input, false, &call, err);
  if (r >= 0)
    r = exec_call_wait(call, timeout_ms, &s->cancelled, err);
  if (r >= 0)
    r = exec_call_output(call, &output, err);
  if (r >= 0)
    r = keep_record(s, output, err);
  if (r < 0)
    return r;
  if (ret_output)
    *ret_output = take_pointer(output);
  return 0;
}

static int fill_record(struct shadow *s, const char *name, struct umbra_error *err) {
  CLEANUP_JSON json_t *values =
      json_pack("{s:s, s:o, s:s, s:s, s:o, s:{}}", "executable", name, "config_dir", json_path(s->config_dir), "id",
                s->id, "set", s->set_id, "volume", describe_volume(s->volume), "data");
  if (!values || json_object_update(s->record, values) < 0)
    return error_code(err, -ENOMEM, "recording the shadow copy");
  return 0;
}

static int exec_prepare(struct shadow *s, struct umbra_error *err) {
  CLEANUP_FREE char *name = s->as ? strdup(s->as) : NULL;
  struct exec_state *state = calloc(1, sizeof *state);
  s->state = state;
  if (!state || (s->as && !name))
    return error_code(err, -ENOMEM, "preparing a shadow copy");
  int r = name ? 0 : ask_all(s->volume, s->config_dir, &name, err);
  if (r >= 0)
    r = exec_program_path(s->config_dir, name, &state->path, err);
  if (r >= 0)
    r = fill_record(s, name, err);
  if (r >= 0)
    r = s->services->save(s, err);
  if (r < 0)
    return r;
  s->services->progress(s, "prepare", 0, 0);
  r = run_verb(s, "prepare", PREPARE_MS_MAX, NULL, err);
  return r < 0 ? r : s->services->save(s, err);
}

static int exec_precommit(struct shadow *s, struct umbra_error *err) {
  struct exec_state *state = s->state;
  CLEANUP_JSON json_t *input = NULL;
  exec_call_free(state->commit);
  state->commit = NULL;
  int r = run_verb(s, "precommit", PRECOMMIT_MS_MAX, NULL, err);
  if (r >= 0)
    r = s->services->save(s, err);
  if (r >= 0)
    r = describe_shadow(s, "commit", &input, err);
  return r < 0 ? r : exec_call_start(state->path, "commit", input, true, &state->commit, err);
}

static int exec_commit(struct shadow *s, struct umbra_error *err) {
  struct exec_state *state = s->state;
  int r = exec_call_tell(state->commit, "held", err);
  return r < 0 ? r : exec_call_wait(state->commit, COMMIT_MS_MAX, &s->cancelled, err);
}

static int check_view(const json_t *view, struct umbra_error *err) {
  CLEANUP_FREE char *path = NULL;
  const char *kind = json_get_string_or(view, "kind", "");
  if ((strcmp(kind, "image") != 0 && strcmp(kind, "tree") != 0) ||
      json_path_value(json_object_get(view, "path"), &path) < 0 || path[0] != '/')
    return error_set(
        err, -EBADMSG, UMBRA_REASON_PROVIDER,
        "the provider's postcommit gave no \"view\" with \"kind\" (image or tree) and an absolute \"path\"");
  return 0;
}

static int exec_postcommit(struct shadow *s, struct umbra_error *err) {
  struct exec_state *state = s->state;
  CLEANUP_JSON json_t *committed = NULL, *output = NULL;
  int r = exec_call_output(state->commit, &committed, err);
  if (r >= 0)
    r = keep_record(s, committed, err);
  if (r >= 0)
    r = s->services->save(s, err);
  if (r >= 0)
    r = run_verb(s, "postcommit", POSTCOMMIT_MS_MAX, &output, err);
  json_t *view = r < 0 ? NULL : json_object_get(output, "view");
  if (r >= 0)
    r = check_view(view, err);
  if (r < 0)
    return r;
  /* A volume that was not frozen is one instant only if the program vouches for it. */
  s->instant_lost = !json_get_boolean_or(committed, "instant", s->volume->can_freeze);
  if (json_object_set_new(view, "read_write", json_boolean(s->read_write)) < 0)
    return error_code(err, -ENOMEM, "describing the shadow copy");
  json_int_t storage_bytes = json_get_integer_or(output, "storage_bytes", 0);
  s->storage_bytes = storage_bytes > 0 ? (uint64_t)storage_bytes : 0;
  return json_object_set(s->record, "view", view) < 0 ? error_code(err, -ENOMEM, "describing the shadow copy") : 0;
}

static void exec_release_state(struct shadow *s) {
  struct exec_state *state = s->state;
  if (!state)
    return;
  exec_call_free(state->commit);
  free(state->path);
  free(state);
  s->state = NULL;
}

static int exec_remove(const json_t *record, struct umbra_error *err) {
  /* Nothing was recorded, so nothing was started. */
  if (!json_object_get(record, "executable"))
    return 0;
  CLEANUP_FREE char *path = NULL, *config_dir = NULL;
  CLEANUP(cleanup_exec_call) struct exec_call *call = NULL;
  const char *name, *id;
  int r = json_get_string(record, "executable", &name, err);
  if (r >= 0)
    r = json_get_string(record, "id", &id, err);
  if (r < 0)
    return error_prefix(err, r, "the shadow copy's record");
  if (json_path_value(json_object_get(record, "config_dir"), &config_dir) < 0)
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "the shadow copy's record says not who made it");
  r = exec_program_path(config_dir, name, &path, err);
  if (r < 0)
    return error_prefix(err, r, "the provider that made the shadow copy is needed to remove it");
  CLEANUP_JSON json_t *input =
      json_pack("{s:i, s:s, s:s, s:s, s:O?, s:O?}", "version", PROTOCOL_VERSION, "verb", "remove", "id", id, "set",
                json_get_string_or(record, "set", ""), "volume", json_object_get(record, "volume"), "record",
                json_object_get(record, "data"));
  if (!input)
    return error_code(err, -ENOMEM, "removing a shadow copy");
  r = exec_call_start(path, "remove", input, false, &call, err);
  if (r >= 0)
    r = exec_call_wait(call, REMOVE_MS_MAX, NULL, err);
  return r == -EAGAIN ? -EBUSY : r;
}

const struct provider exec_provider = {
    .name = "exec",
    .summary = "an executable in providers.d: storage of third parties, called by its name",
    .hold = PROVIDER_HOLD_NEEDED,
    .instant = true,
    .can_persist = true,
    .can_read_write = true,
    .without_freeze = true,
    .can_shadow = exec_can_shadow,
    .can_shadow_as = exec_can_shadow_as,
    .prepare = exec_prepare,
    .precommit = exec_precommit,
    .commit = exec_commit,
    .postcommit = exec_postcommit,
    .release_state = exec_release_state,
    .remove = exec_remove,
};
