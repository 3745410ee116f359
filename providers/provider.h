/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a provider is: storage that can make a shadow copy of a volume.  Each is one `const struct provider` at the end of
 * its file; providers/registry.c lists them in order of preference.  providers/null/null.c is the tutorial.
 *
 * Life of a shadow copy, as the coordinator drives it (coordinator/DESIGN.md):
 *
 *     prepare → precommit → [hold] commit [release] → postcommit → … → remove
 *
 * and abort from anywhere.  All operations of one shadow copy run one after the other on a thread of its own; shadow
 * copies of one set run in parallel, so a provider keeps no state outside struct shadow.
 *
 * During commit every volume of the set is frozen: allocate nothing, open nothing by path, log nothing but by
 * log_message(), write to no file that could lie on one of the volumes.
 */
#ifndef PROVIDERS_PROVIDER_H
#define PROVIDERS_PROVIDER_H

#include "common/error.h"
#include "volume/volume.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum provider_hold {
  PROVIDER_HOLD_NEEDED, /* commit needs the volume frozen by FIFREEZE */
  PROVIDER_HOLD_SELF,   /* commit needs it unfrozen and makes the instant itself (btrfs, lvm) */
  PROVIDER_HOLD_NONE,   /* nothing to hold (null) */
};

struct shadow;

/* What the coordinator does for a provider; callable from the shadow copy's thread. */
struct shadow_services {
  /*
   * Makes s->record durable in the runtime journal. Call it *before* each action that would leave something behind, with
   * the record already naming it, so that after a crash remove(record) finds it. Never during commit.
   */
  int (*save)(struct shadow *s, struct umbra_error *err);

  /* Tells how far it is. phase is a short word ("copy", "round 3", "write"). Cheap; call it as often as you like. */
  void (*progress)(struct shadow *s, const char *phase, uint64_t done_bytes, uint64_t total_bytes);
};

struct shadow {
  /* Configuration: set by the coordinator before prepare, constant after. */
  char id[37], set_id[37];
  const struct volume *volume;
  int volume_fd;            /* root directory of the volume; the coordinator's */
  char **paths;             /* scope: canonical absolute live paths that are wanted; NULL: the whole volume */
  char *storage_dir;        /* directory for images and stores, exists, chosen by --storage or by default; never NULL */
  bool storage_named;       /* the user named it: what helps the next set (a clone, a file store) may stay there */
  uint64_t storage_bytes_max; /* limit for what this shadow copy may use there; 0: none */
  bool persistent;          /* must survive a reboot */
  bool auto_release;        /* goes when its owner goes: never outlives this process */
  bool read_write;          /* shown writable */
  /*
   * Writers may repair their files in it: writable after postcommit until seal(), then only if read_write. Cleared by prepare
   * where that cannot be, however the provider can in general.
   */
  bool repair;
  const char *runtime_dir, *config_dir;
  const char *as;           /* the name that provider_choose() gave back, or NULL */
  unsigned attempt;         /* 0, or how often postcommit has asked for another try of this shadow copy */
  const struct shadow_services *services;

  /* Set by the coordinator at any time: give up soon and return -ECANCELED (polled at least every 100 ms of work). */
  atomic_bool cancelled;

  /* Results and state: the provider's. */
  void *state;              /* provider's own, NULL before prepare; freed by release_state */
  json_t *record;           /* what remove needs, kept in journal and catalogue; an object, empty before prepare */
  uint64_t storage_bytes;   /* space used, for list and limits */
  bool instant_lost;        /* the result is not one instant (files on a filesystem that cannot freeze, changed meanwhile) */
};

/*
 * After postcommit record["view"] says how the shadow copy is shown (view/view.h reads it):
 *   {"kind": "image", "path": FILE, "filesystem": "ext4", "sector_bytes": 512}      loop device over FILE
 *   {"kind": "tree", "path": DIR, "nested": [{"at": "a/b", "path": DIR2}]}          bind mount; nested ones on top
 * With "read_write": true it is shown writable; with "no_symlinks": true (tree) its paths are not followed through any, because they
 * lead through a directory that a user owns.  For "image" the view's root is the root of the filesystem; for "tree" it is
 * what volume->mount_point shows.
 * An auto-release image may be unlinked: then "path" is "/proc/PID/fd/N" of this process.
 */

struct provider {
  const char *name;
  const char *summary;    /* one line for `umbra list providers` */
  enum provider_hold hold;
  bool instant;           /* false: never one instant by itself */
  bool can_persist;
  bool can_read_write;
  bool not_persistent_and_read_write; /* either, not both */
  /*
   * precommit copies what changed. When several shadow copies are prepared together it is called once more after all have ended,
   * since the first to be ready falls behind while the last still works.
   */
  bool catches_up;
  bool only_by_name;      /* never chosen by itself (null, exec without a match) */
  /*
   * Works on a volume with !can_freeze as well: the coordinator then does not freeze that volume, and commit itself finds out
   * whether the result is one instant (s->instant_lost when not).
   */
  bool without_freeze;
  /*
   * Where its shadow copies lie, in words, for one that does not use storage_dir: then --storage and --storage-max do not concern
   * it, and who gave them is told so. NULL: in storage_dir.
   */
  const char *own_storage;

  /* Can a shadow copy of this volume be made? 0, or negative with the reason in words. Changes nothing. Required. */
  int (*can_shadow)(const struct volume *volume, const char *config_dir, struct umbra_error *why);

  /* Of a provider with can_persist where that depends on the volume: as can_shadow(). Optional. */
  int (*can_persist_on)(const struct volume *volume, struct umbra_error *why);

  /* The long work (a clone's copy, reserving storage): minutes are fine. Required. */
  int (*prepare)(struct shadow *s, struct umbra_error *err);

  /* Right before the hold, writers are frozen: catch up, allocate and lock memory for commit. Optional. */
  int (*precommit)(struct shadow *s, struct umbra_error *err);

  /*
   * The instant. -EAGAIN: too much had changed, release, precommit and hold once more (at most COMMIT_TRIES_MAX times).
   * Required.
   */
  int (*commit)(struct shadow *s, struct umbra_error *err);

  /*
   * Released again: write out, make readable, fill record["view"] and storage_bytes. -EAGAIN: it came to nothing, remove and
   * prepare again (s->attempt counts; at most COMMIT_TRIES_MAX times). Optional.
   */
  int (*postcommit)(struct shadow *s, struct umbra_error *err);

  /*
   * Writers have repaired what they wanted, nobody has it mounted: not writable from now on, unless read_write.
   * record["view"] says so. Only of one with s->repair. Optional: without it s->repair is never set.
   */
  int (*seal)(struct shadow *s, struct umbra_error *err);

  /* Frees s->state (NULL is fine), closes descriptors, detaches tracking that need not stay. Leaves what is recorded. */
  void (*release_state)(struct shadow *s);

  /*
   * Removes everything that record names, half-made or whole, also from another process after a crash. Idempotent; what is
   * not there counts as removed. -EBUSY if in use. Required. The coordinator calls it for abort, delete and recovery.
   */
  int (*remove)(const json_t *record, struct umbra_error *err);

  /*
   * What has become of shadow copies that were whole. records: {id: record}. found gets those that are not as they were:
   * {id: {"state", "why": "…"}}, state being
   *   "dropped"  its storage gave it up; remove() takes away what is left
   *   "lost"     what kept it is gone; remove() succeeds
   *   "detached" what keeps it is not attached; it comes back with it
   *   "unknown"  who keeps it does not answer
   * Changes nothing; may ask others, for seconds. Optional: without it they are as they were.
   */
  void (*look)(const json_t *records, json_t *found);

  /*
   * For a provider that stands for several (exec): can_shadow() of the one called name. -ENOENT if there is none of that name.
   * Optional.
   */
  int (*can_shadow_as)(const struct volume *volume, const char *config_dir, const char *name, struct umbra_error *why);
};

enum { COMMIT_TRIES_MAX = 5 };

/* Between postcommit and its end somebody may write to it: what it holds is then not what it was copied from. */
static inline bool shadow_is_changed(const struct shadow *s) { return s->read_write || s->repair; }

/* seal() for one that is writable by its view alone. */
int shadow_seal_view(struct shadow *s, struct umbra_error *err);

/* providers/registry.c: in order of preference. */
extern const struct provider *const providers[];
extern const size_t providers_count;
const struct provider *provider_find(const char *name); /* NULL if none */

/* What a shadow copy has to be able to do. */
struct provider_needs {
  bool persistent, read_write;
};

/* Whether it can make persistent ones of this volume. Waits for whom it has to ask. */
bool provider_persists(const struct provider *provider, const struct volume *volume);

/* can_shadow(), and whether what it makes serves the needs. */
int provider_suits(const struct provider *provider, const struct provider_needs *needs, const struct volume *volume,
                   const char *config_dir, struct umbra_error *why);

/*
 * Who makes the shadow copy of volume. name NULL: the first that can and is not only_by_name. Otherwise that provider, or the
 * executable of that name in CONFIG/providers.d; *ret_as is then name (borrowed), for struct shadow, else NULL.  NULL with
 * the reasons of all that were asked in *why.  Runs programs of third parties: seconds.
 */
const struct provider *provider_choose(const char *name, const struct provider_needs *needs,
                                       const struct volume *volume, const char *config_dir, const char **ret_as,
                                       struct umbra_error *why);

/*
 * Who would have made the shadow copy instead of chosen, but for the needs: tell() gets each with the reason. Runs programs of
 * third parties: seconds.
 */
void provider_passed_over(const struct provider *chosen, const struct provider_needs *needs, const struct volume *volume,
                          const char *config_dir,
                          void (*tell)(const struct provider *provider, const char *why, void *context), void *context);

/*
 * providers/examine.c: everything an admin wants to know of a volume, as one JSON object (the caller's; NULL: out of memory).
 * `umbra doctor --json` shows it as it is:
 *
 *   {"mount_point", "filesystem", "source", "fs_root", "read_only", "device": "/dev/vda1" or null, "size_bytes",
 *    "lies_on": "partition 1 of virtio disk /dev/vda" or null,
 *    "freeze": {"can": true, "why": null},           why: in words, when it cannot
 *    "tracking": {"can": true, "why": null},         changed blocks (track/)
 *    "provider": "clone" or null,                    the one that would be chosen
 *    "providers": [{"name", "can", "why", "only_by_name", "persistent", "read_write"}],
 *    "attached": {…} or null,                        of a volume that is attached (cow_client_describe())
 *    "notes": ["…"]}                                 what else is good to know
 *
 * Runs exec providers' `can`. Changes nothing.
 */
json_t *provider_examine(const struct volume *volume, const char *config_dir);

#endif
