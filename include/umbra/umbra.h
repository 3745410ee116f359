/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libumbra, requester part: how a backup program asks for shadow copies.
 *
 *     struct umbra_client *c;
 *     struct umbra_set *s;
 *     umbra_client_new(&c);
 *     umbra_set_new(c, &s);
 *     umbra_set_add_path(s, "/srv");
 *     umbra_set_option(s, "auto-release", "yes");
 *     if (umbra_set_create(s) < 0) fprintf(stderr, "%s\n", umbra_client_message(c));
 *     int root = umbra_set_open_shadow(s, 0);      // a directory: the volume as it was
 *     …copy from it…
 *     umbra_set_complete(s, 1);
 *     umbra_set_free(s);                            // auto-release: gone
 *     umbra_client_free(c);
 *
 * Results are 0 (or a descriptor, or a count) or a negative errno; the handle keeps the last error's reason
 * (umbra/error.h) and message.  Documents are JSON text that the caller frees with free().  Handles belong to one
 * thread at a time, except umbra_client_cancel().  Unless said otherwise calls block.  Callbacks come on the caller's
 * thread; those that providers work on live as long as a set is being made or removed, and take no signals.
 */
#ifndef UMBRA_UMBRA_H
#define UMBRA_UMBRA_H

#include "umbra/error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct umbra_client;
struct umbra_set;

/* ---- client ---- */
int umbra_client_new(struct umbra_client **ret);
void umbra_client_free(struct umbra_client *client); /* NULL is fine; sets must be freed before */

/* name: "state-dir", "runtime-dir", "config-dir". Before anything else is called; defaults come from UMBRA_*_DIR. */
int umbra_client_set_directory(struct umbra_client *client, const char *name, const char *path);

/*
 * Has umbrad (umbrad(8)) do what concerns the catalogue, if it runs with the same directories in the same mount
 * namespace: umbra_list(), umbra_show(), umbra_doctor(), umbra_delete…(), umbra_mount(), umbra_unmount(),
 * umbra_open_shadow(), umbra_writer_test(), umbra_writer_enable(), and umbra_set_create() (not its async form) of sets
 * that are not auto-release; of those the document has no "documents", and there is no umbra_set_open_path() nor
 * umbra_set_run().  So they work for users who are not root, too, as far as umbrad lets them.  Before anything else is
 * called. 1: so it is; 0: no such umbrad, all is done by this process.
 */
int umbra_client_use_daemon(struct umbra_client *client);

const char *
umbra_client_message(const struct umbra_client *client);    /* of the last failure; "" if none; the client's */
int umbra_client_reason(const struct umbra_client *client); /* enum umbra_reason */

/* progress: volume may be NULL; total_bytes 0 = unknown. Called from within blocking calls, on the caller's thread.
 */
typedef void (*umbra_progress)(void *userdata, const char *phase, const char *volume, uint64_t done_bytes,
                               uint64_t total_bytes);
void umbra_client_on_progress(struct umbra_client *client, umbra_progress callback, void *userdata);

/* warning: things the user should know that are no failure ("writer x failed: …"). Same thread rules. */
typedef void (*umbra_warning)(void *userdata, const char *message);
void umbra_client_on_warning(struct umbra_client *client, umbra_warning callback, void *userdata);

/* Makes the blocking call under way give up (thaw, undo, -ECANCELED). Async-signal-safe, any thread. */
void umbra_client_cancel(struct umbra_client *client);

/* ---- inventory ---- */
/* what: "sets", "shadows", "volumes", "providers", "writers", "components", "storage". → {"WHAT": […]} */
int umbra_list(struct umbra_client *client, const char *what, char **ret_json);
int umbra_show(struct umbra_client *client, const char *id, char **ret_json); /* set or shadow: id, prefix or label */
int umbra_doctor(struct umbra_client *client, const char *const *paths, size_t count, char **ret_json);

/* Removes a set (id, unique prefix or label), or one shadow copy of it (id or unique prefix). */
int umbra_delete(struct umbra_client *client, const char *id);
/* All sets. *ret_json (may be NULL; also when some could not be removed): {"deleted": [ids]}. */
int umbra_delete_all(struct umbra_client *client, char **ret_json);
int umbra_delete_oldest(struct umbra_client *client, const char *path, char **ret_id);

/* Cleans up after coordinators that died: thaws, unmounts, removes. Every other call does so by itself, too. */
int umbra_recover(struct umbra_client *client, size_t *ret_count);

/* ---- showing ---- */
enum { UMBRA_MOUNT_SUID = 1, UMBRA_MOUNT_DEV = 2 };
/* directory NULL: one below the runtime directory. *ret_directory: where it is now. */
int umbra_mount(struct umbra_client *client, const char *id, const char *directory, unsigned flags,
                char **ret_directory);
int umbra_unmount(struct umbra_client *client, const char *id_or_directory);

/* The root directory of a shadow copy of the catalogue (id, prefix; of a set that has one, the set's id or label), as
 * umbra_set_open_shadow() gives it. */
int umbra_open_shadow(struct umbra_client *client, const char *id);

/* ---- sets ---- */
int umbra_set_new(struct umbra_client *client, struct umbra_set **ret);
int umbra_set_add_path(struct umbra_set *set, const char *path);

/*
 * name = value:
 *   "provider"       force one                        "storage"       directory for images and stores
 *   "storage-max"    bytes, with K M G T, or N%       "label"         a name for people
 *   "require"        "application" | "filesystem" | "crash" | "instant" (may be given twice: a level and "instant")
 *   "writers"        "no": none are told
 *   "writer"         only this one counts, all its instances or, NAME/INSTANCE, one; may be given again
 *   "auto-release"   "yes": goes with umbra_set_free or with this process
 *   "persistent"     "yes"                            "read-write"    "yes"
 *   "repair"         "no": writers do not change their files in the shadow copies (default: those that want to do)
 *   "scope"          "paths": only the paths are needed, not their whole volumes
 *   "component"      this component of a writer is backed up ("WRITER:NAME", "WRITER/INSTANCE:NAME"); may be given
 * again. Then writers of whom nothing is selected take no part, and the paths of what is are the set's as if added
 *   "partial-files"  "yes": this requester can save parts of files, as writers answer them (told to writers; default
 * no) "backup-type"    "full" | "incremental" | "differential" | "copy" | "log" (told to writers; default copy)
 *   "components"     JSON, see docs/DOCUMENTS.md: previous backup stamps a writer and component, told to writers
 */
int umbra_set_option(struct umbra_set *set, const char *name, const char *value);

/* Makes the shadow copies. One try. */
int umbra_set_create(struct umbra_set *set);

/* Its id, from umbra_set_new() on. The set's. */
const char *umbra_set_id(const struct umbra_set *set);

/*
 * The same without waiting: starts, and is gone on with by umbra_client_dispatch(), from the caller's own loop and
 * thread.  Dispatch comes back at once, but from the first freeze of a writer to the last thaw, which it waits for:
 * nobody stands still because the caller is slow.  Callbacks come from within dispatch; in them nothing of this
 * client may be called but umbra_client_cancel().  One set at a time a client (-EBUSY).
 */
int umbra_set_create_async(struct umbra_set *set);

/* To poll for input while a set is being made; the client's. Readable: call dispatch. */
int umbra_client_fd(const struct umbra_client *client);

/* Does what there is to do. 1: the set is still being made; 0: it rests, or there is none. */
int umbra_client_dispatch(struct umbra_client *client);

/* What umbra_set_create() would have returned, with the client's message; -EINPROGRESS while it is being made. */
int umbra_set_result(struct umbra_set *set);

/* {"set": {…}} as `umbra create --json` prints it, plus "documents": the writers' metadata documents. The set's. */
const char *umbra_set_document(const struct umbra_set *set);

/* 1 if less consistent than a writer promised (exit status 3), else 0. */
int umbra_set_degraded(const struct umbra_set *set);

size_t umbra_set_shadow_count(const struct umbra_set *set);
/*
 * The root directory of shadow copy index (order as in the document), as what the volume's mount point showed: join
 * it with a path relative to the mount point. A detached mount: private, read-only; the caller closes it.
 */
int umbra_set_open_shadow(struct umbra_set *set, size_t index);

/* The same for one path of the live system, as it was: a file or directory of the set's volumes, open for reading. */
int umbra_set_open_path(struct umbra_set *set, const char *path);

/* How the backup of a selected component went, and of what came with it; the others are as umbra_set_complete() says.
 * Before that. */
int umbra_set_component_succeeded(struct umbra_set *set, const char *component, int succeeded);

/* Tells the writers how the backup went (backup-complete). Once. */
int umbra_set_complete(struct umbra_set *set, int succeeded);

/*
 * Runs a program in a private mount namespace in which the set's shadow copies lie over their volumes, and waits for
 * it. keep: NULL-terminated paths that stay live inside a shadowed volume (may be NULL). Returns the exit status as
 * `umbra run` gives it (0…255, 128+N for signal N, 126, 127), or negative when nothing was started.
 */
int umbra_set_run(struct umbra_set *set, char *const *arguments, const char *const *keep);

/* NULL is fine. Auto-release sets go now; one that is being made is cancelled, and undone before this returns. */
void umbra_set_free(struct umbra_set *set);

/* ---- restore ---- */
/*
 * Tells the writers named in components (JSON, the backup components document of the backup) "pre-restore" or
 * "post-restore". *ret_json (may be NULL): what each answered.  The document's "restore" says what comes back, and
 * where:
 * {"to": ROOT}: not to where it came from; only writers that know of new targets are told.  {"paths": […]}: only
 * these; only writers that have files at, below or above them are told.  {"components": [{"writer", "instance",
 * "name"}]}: only these.
 * {"succeeded": false} at post-restore (also of one of the components); {"more": true}: another restore follows, do
 * not recover yet; {"options": {NAME: text}}.  Who was told pre-restore is owed post-restore, also when another one
 * refused.
 */
int umbra_restore_event(struct umbra_client *client, const char *event, const char *components, char **ret_json);

/* ---- writers and their components ---- */
/*
 * Asks all writers who they are. *ret_json (caller frees): {"writers": [as umbra_list("writers")], "components": […],
 * "missing": […]}, as docs/DOCUMENTS.md has it. components: what is to be selected, by name as option "component"
 * takes it; each component's "selected" then says how it comes in (explicit, implicit, required, dependency), or
 * null. missing: what a selected one depends on and is not there. -ENOENT: there is none of that name; -EINVAL: it
 * cannot be selected by itself.
 */
int umbra_gather(struct umbra_client *client, const char *const *components, size_t count, char **ret_json);

/*
 * The same for a restore: of document, a saved backup components document (its "writers"), without asking anybody.
 * What came into the backup with another component comes back alone only if its writer made it
 * "selectable_for_restore".
 */
int umbra_select_saved(struct umbra_client *client, const char *document, const char *const *components, size_t count,
                       char **ret_json);
/*
 * Leads the instances of a writer through a whole set, of which no shadow copy is made. *ret_json (may be NULL; caller frees):
 * {"hold_ms", "freeze_ms", "writers": [as in umbra_set_document(), with "timings_ms": {EVENT: …}]}. 1: one of them failed.
 */
int umbra_writer_test(struct umbra_client *client, const char *name, char **ret_json);

/* name: of the program in CONFIG/writers.d, or of one that came with umbra. What is disabled is not asked and takes no part. */
int umbra_writer_enable(struct umbra_client *client, const char *name, int enable);

/*
 * How long the program of that name may take for each event, after changes ("EVENT=MS", "EVENT=default"; NULL with count 0) have been made
 * to CONFIG/timeouts.d. *ret_json (may be NULL; caller frees): {"program", "limits": [{"event", "limit_ms", "set": "here" or "machine"}]}.
 */
int umbra_writer_timeouts(struct umbra_client *client, const char *name, const char *const *changes, size_t count, char **ret_json);

/* ---- attached volumes ---- */
/*
 * Attaches block device to umbra as name (letters, digits, "._-", at most 63): the volume is then used through *ret_path (/dev/umbra/NAME;
 * caller frees), and its shadow copies are made at once. The device must not be in use. Nothing on it changes. Takes root. Options:
 *   "storage"  a directory or block device elsewhere for what is overwritten (default: the state directory)
 *   "limit"    bytes of it, decimal (default: a tenth of the device, at least 64 MiB)
 *   "persistent"  "yes": what is made with "persistent" is kept there and comes back with the next attach
 *   "chunk"    bytes that are copied as one: 4096 to 65536, a power of two (default 16384)
 *   "dm"       "auto" (default), "yes" or "no": a device-mapper device, written to directly while there is no shadow copy
 *   "full"     "drop-oldest" (default), "drop-newest" or "stop-writes", when the storage is full
 */
struct umbra_attach_option {
  const char *name, *value;
};
int umbra_attach(struct umbra_client *client, const char *device, const char *name, const struct umbra_attach_option *options,
                 size_t option_count, char **ret_path);

/* Attaches what CONFIG/umbratab lists (umbratab(5)) and is not attached; *ret_count: how many. Goes on after a line that fails: the
 * first failure is returned, others are warnings. */
int umbra_attach_all(struct umbra_client *client, size_t *ret_count);

/* The plain device is there again, byte for byte. -EBUSY while it is mounted or open, or, unless force, has shadow copies. */
int umbra_detach(struct umbra_client *client, const char *name, int force);

/* All that are attached, those that lie on others first; *ret_count: how many went. One that cannot does not keep the others: the first
 * failure is returned, others are warnings. */
int umbra_detach_all(struct umbra_client *client, int force, size_t *ret_count);

/* Starts the programs of an attached volume anew, as after an update. What uses the volume notices a pause. */
int umbra_attached_restart(struct umbra_client *client, const char *name);

/* What changed between shadow copy from and to (NULL: now) of an attached volume, exact to its chunks, as runs of bytes. */
typedef int (*umbra_difference_visit)(void *userdata, uint64_t offset_bytes, uint64_t length_bytes);
int umbra_difference(struct umbra_client *client, const char *from, const char *to, umbra_difference_visit visit, void *userdata);

/* Makes an attached volume what the shadow copy is. It must not be mounted. Can be repeated. */
int umbra_revert(struct umbra_client *client, const char *id, uint64_t *ret_bytes);

/*
 * Looks at persistent storage, a file or device, and writes nothing to it. check reads all of it: *ret_json (caller frees) is
 *   {"storage", "sound", "problems": ["…"], "clean", "live", "dropped", "entries", "left_over", "unfinished"}
 * -EBUSY while its volume is attached. dump gives each superblock, shadow copy and entry as a JSON object; visit() != 0 ends it.
 */
int umbra_storage_check(struct umbra_client *client, const char *where, char **ret_json);
typedef int (*umbra_storage_visit)(void *userdata, const char *json);
int umbra_storage_dump(struct umbra_client *client, const char *where, umbra_storage_visit visit, void *userdata);

#ifdef __cplusplus
}
#endif

#endif
