/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One volume, examined for `umbra doctor`: who could make a shadow copy of it, and why the others could not.  The
 * words are for an admin at night, so each says what is wrong and, where there is one, the way out.
 */
#include "providers/provider.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "cow/serve/client.h"
#include "track/track.h"

#include <errno.h>
#include <string.h>

static json_t *answer(int r, const char *why) {
  return r >= 0 ? json_pack("{s:b, s:n}", "can", true, "why") : json_pack("{s:b, s:s}", "can", false, "why", why);
}

static json_t *examine_tracking(const struct volume *volume) {
  struct umbra_error why = {0};
  if (volume->block_device == 0)
    return answer(-ENODEV, "the volume does not lie on one block device");
  int r = track_possible(volume->block_device, &why);
  return answer(r, why.message);
}

/* Every provider's answer; *ret_chosen: the first that would be taken without being named. */
static json_t *examine_providers(const struct volume *volume, const char *config_dir, const char **ret_chosen) {
  CLEANUP_JSON json_t *list = json_array();
  *ret_chosen = NULL;
  for (size_t i = 0; list && i < providers_count; i++) {
    const struct provider *p = providers[i];
    struct umbra_error why = {0};
    const struct provider_needs needs = {0};
    int r = provider_suits(p, &needs, volume, config_dir, &why);
    json_t *one = answer(r, why.message);
    if (!one || json_object_set_new(one, "name", json_string(p->name)) < 0 ||
        json_object_set_new(one, "only_by_name", json_boolean(p->only_by_name)) < 0 ||
        json_object_set_new(one, "persistent", json_boolean(provider_persists(p, volume))) < 0 ||
        json_object_set_new(one, "read_write", json_boolean(p->can_read_write)) < 0 ||
        json_array_append_new(list, one) < 0)
      return NULL;
    if (r >= 0 && !p->only_by_name && !*ret_chosen)
      *ret_chosen = p->name;
  }
  return take_pointer(list);
}

static json_t *notes(const struct volume *volume, const char *chosen) {
  json_t *list = json_array();
  int r = list ? 0 : -1;
  if (r >= 0 && chosen && strcmp(chosen, "btrfs") == 0)
    r = json_array_append_new(list,
                              json_string("a btrfs snapshot holds all that was fsynced before it, in order; writes "
                                          "without fsync may be in it out of order"));
  if (r >= 0 && volume->image_why && volume->block_device != 0)
    r = json_array_append_new(list, json_string(volume->image_why));
  if (r >= 0 && !volume->can_freeze && chosen && strcmp(chosen, "files") == 0)
    r = json_array_append_new(list,
                              json_string("it cannot be frozen, so a copy is one instant only if nothing changes "
                                          "meanwhile; --require instant refuses it otherwise"));
  if (r >= 0 && volume->can_freeze && volume->read_only)
    r = json_array_append_new(list, json_string("it is read-only: freezing it does nothing and costs nothing"));
  if (r >= 0 && !chosen)
    r = json_array_append_new(list,
                              json_string("no shadow copy can be made of this volume: see the providers' reasons"));
  if (r >= 0)
    return list;
  json_decref(list);
  return NULL;
}

json_t *provider_examine(const struct volume *volume, const char *config_dir) {
  const char *chosen;
  CLEANUP_FREE char *lies_on = NULL;
  json_t *answers = examine_providers(volume, config_dir, &chosen);
  (void)volume_describe_device(volume, &lies_on);
  json_t *attached = volume->block_device != 0 ? cow_client_describe(volume->block_device) : NULL;
  /* json_pack() releases what it was given when it fails. */
  return json_pack("{s:o, s:s, s:o, s:o, s:b, s:o, s:I, s:s?, s:o, s:o, s:s?, s:o, s:o, s:o}", "mount_point",
                   json_path(volume->mount_point), "filesystem", volume->fs_type, "source", json_path(volume->source),
                   "fs_root", json_path(volume->fs_root), "read_only", volume->read_only, "device",
                   volume->block_path ? json_path(volume->block_path) : json_null(), "size_bytes",
                   (json_int_t)volume->block_bytes, "lies_on", lies_on, "freeze",
                   answer(volume->can_freeze ? 0 : -EOPNOTSUPP, volume->freeze_why), "tracking",
                   examine_tracking(volume), "provider", chosen, "providers", answers, "notes", notes(volume, chosen),
                   "attached", attached ? attached : json_null());
}
