/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * null: the smallest provider, and the tutorial.  Its "shadow copy" is the live volume itself, shown read-only, so it
 * has no instant of its own and is never chosen unless named.  It takes every step of a real one: it can be used to
 * try writers and to see the whole life of a set without copying a byte.
 *
 * The volume is held all the same, so that `umbra create --provider null` shows what the hold costs here.
 */
#include "providers/null/null.h"

#include "common/json.h"

#include <errno.h>

static int null_can_shadow(const struct volume *volume, const char *config_dir, struct umbra_error *why) {
  (void)config_dir;
  if (!volume->can_freeze)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "%s", volume->freeze_why);
  return 0;
}

static int null_prepare(struct shadow *s, struct umbra_error *err) {
  s->services->progress(s, "copy", 0, 0);
  /* Recorded before anything exists that remove() would have to find. */
  return s->services->save(s, err);
}

static int null_commit(struct shadow *s, struct umbra_error *err) {
  (void)s;
  (void)err;
  return 0;
}

static int null_postcommit(struct shadow *s, struct umbra_error *err) {
  json_t *view = json_pack("{s:s, s:o, s:[]}", "kind", "tree", "path", json_path(s->volume->mount_point), "nested");
  if (!view || json_object_set_new(s->record, "view", view) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the shadow copy");
  s->instant_lost = true;
  return 0;
}

static int null_remove(const json_t *record, struct umbra_error *err) {
  (void)record;
  (void)err;
  return 0;
}

const struct provider null_provider = {
    .name = "null",
    .summary = "no copy at all: the live volume, for trying writers and holds",
    .hold = PROVIDER_HOLD_NEEDED,
    .instant = false,
    .can_persist = true,
    .only_by_name = true,
    .can_shadow = null_can_shadow,
    .prepare = null_prepare,
    .commit = null_commit,
    .postcommit = null_postcommit,
    .remove = null_remove,
};
