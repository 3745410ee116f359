/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The providers there are, best first. A new one is one line here and one in meson.build (tools/new-provider). */
#include "providers/provider.h"

#include "providers/btrfs/btrfs.h"
#include "providers/clone/clone.h"
#include "providers/cow/cow.h"
#include "providers/exec/exec.h"
#include "providers/files/files.h"
#include "providers/null/null.h"

#include <errno.h>
#include <string.h>

const struct provider *const providers[] = {
    &exec_provider, &btrfs_provider, &cow_provider, &clone_provider, &null_provider, &files_provider,
};
const size_t providers_count = sizeof providers / sizeof providers[0];

const struct provider *provider_find(const char *name) {
  for (size_t i = 0; i < providers_count; i++)
    if (strcmp(providers[i]->name, name) == 0)
      return providers[i];
  return NULL;
}

static void append(char reasons[ERROR_MESSAGE_BYTES_MAX], const char *text) {
  (void)strncat(reasons, text, ERROR_MESSAGE_BYTES_MAX - strlen(reasons) - 1);
}

int shadow_seal_view(struct shadow *s, struct umbra_error *err) {
  if (json_object_set_new(json_object_get(s->record, "view"), "read_write", json_boolean(s->read_write)) < 0)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the shadow copy");
  return 0;
}

bool provider_persists(const struct provider *p, const struct volume *volume) {
  return p->can_persist && (!p->can_persist_on || p->can_persist_on(volume, NULL) >= 0);
}

/* The needs first: most cost nothing to compare. */
static int serves(const struct provider *p, const struct provider_needs *needs, const struct volume *volume,
                  struct umbra_error *why) {
  if (needs->persistent && !p->can_persist)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "its shadow copies are not persistent");
  if (needs->read_write && !p->can_read_write)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "its shadow copies are not writable");
  if (needs->persistent && needs->read_write && p->not_persistent_and_read_write)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                     "its shadow copies are persistent or writable, not both");
  if (p->hold == PROVIDER_HOLD_NEEDED && !volume->can_freeze && !p->without_freeze)
    return error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "%s",
                     volume->freeze_why ? volume->freeze_why : "the filesystem cannot freeze");
  return needs->persistent && p->can_persist_on ? p->can_persist_on(volume, why) : 0;
}

int provider_suits(const struct provider *p, const struct provider_needs *needs, const struct volume *volume,
                   const char *config_dir, struct umbra_error *why) {
  int r = serves(p, needs, volume, why);
  return r < 0 ? r : p->can_shadow(volume, config_dir, why);
}

void provider_passed_over(const struct provider *chosen, const struct provider_needs *needs,
                          const struct volume *volume, const char *config_dir,
                          void (*tell)(const struct provider *provider, const char *why, void *context),
                          void *context) {
  const struct provider_needs none = {0};
  for (size_t i = 0; i < providers_count && providers[i] != chosen; i++) {
    struct umbra_error why = {0}, other = {0};
    if (!providers[i]->only_by_name && serves(providers[i], needs, volume, &why) < 0 &&
        provider_suits(providers[i], &none, volume, config_dir, &other) >= 0)
      tell(providers[i], why.message, context);
  }
}

static const struct provider *choose_named(const char *name, const struct provider_needs *needs,
                                           const struct volume *volume, const char *config_dir, const char **ret_as,
                                           struct umbra_error *why) {
  const struct provider *provider = provider_find(name);
  if (provider) {
    int r = provider_suits(provider, needs, volume, config_dir, why);
    if (r >= 0)
      return provider;
    (void)error_prefix(why, r, "provider %s cannot make a shadow copy of '%s'", name, volume->mount_point);
    return NULL;
  }
  for (size_t i = 0; i < providers_count; i++) {
    if (!providers[i]->can_shadow_as)
      continue;
    int r = providers[i]->can_shadow_as(volume, config_dir, name, why);
    if (r >= 0)
      r = serves(providers[i], needs, volume, why);
    if (r >= 0) {
      *ret_as = name;
      return providers[i];
    }
    if (r == -ENOENT)
      continue;
    (void)error_prefix(why, r, "provider %s cannot make a shadow copy of '%s'", name, volume->mount_point);
    return NULL;
  }
  (void)error_set(why, -ENOENT, UMBRA_REASON_NOT_FOUND,
                  "there is no provider '%s', and no executable of that name in '%s/providers.d'", name, config_dir);
  return NULL;
}

const struct provider *provider_choose(const char *name, const struct provider_needs *needs,
                                       const struct volume *volume, const char *config_dir, const char **ret_as,
                                       struct umbra_error *why) {
  *ret_as = NULL;
  if (name)
    return choose_named(name, needs, volume, config_dir, ret_as, why);
  char reasons[ERROR_MESSAGE_BYTES_MAX] = "";
  for (size_t i = 0; i < providers_count; i++) {
    if (providers[i]->only_by_name)
      continue;
    struct umbra_error one = {0};
    if (provider_suits(providers[i], needs, volume, config_dir, &one) >= 0)
      return providers[i];
    if (reasons[0])
      append(reasons, "; ");
    append(reasons, providers[i]->name);
    append(reasons, ": ");
    append(reasons, one.message);
  }
  (void)error_set(why, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                  "no provider can make a shadow copy of '%s' (%s): %s", volume->mount_point, volume->fs_type,
                  reasons);
  return NULL;
}
