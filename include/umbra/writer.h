/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libumbra, writer part: how an application is told when shadow copies of its data are made.
 *
 * A writer is one struct literal and a program that hands it to umbra_writer_main():
 *
 *     static int freeze(struct umbra_writer_session *s) { …stop changing files…; return 0; }
 *     static int thaw(struct umbra_writer_session *s) { …go on…; return 0; }
 *     static int identify(struct umbra_writer_list *list) {
 *       struct umbra_writer_instance *i = umbra_writer_list_add(list, "main", UMBRA_WRITER_BACK_END);
 *       umbra_writer_instance_add_files(i, "data", "/srv/data", "*", 1);
 *       return 0;
 *     }
 *     static const struct umbra_writer writer = {.name = "mine", .identify = identify, .freeze = freeze, .thaw =
 * thaw}; int main(int argc, char **argv) { return umbra_writer_main(&writer, argc, argv); }
 *
 * The program goes to writers.d (umbra-writers(7)). `PROGRAM identify` lists the instances; for each set one process
 * an instance lives from prepare-backup to shutdown (`PROGRAM session`), so that it can keep a connection, a lock or
 * a transaction from one event to the next.  When umbra is gone, in whatever way, or does not thaw in time, abort()
 * (or thaw(), of a frozen one without) is called by the library itself; a callback that is under way then has ten
 * seconds.  Should that fail, or should there be neither, the process ends.  A session that is in the midst of an
 * event when the set is cancelled, or whose event takes too long, is killed.
 *
 * Callbacks return 0 or a negative errno: -EAGAIN means that trying again may help.  What umbra_writer_fail() said is
 * the failure's message.  They may block: umbra has deadlines, and kills a writer that misses one.  One thread. The
 * counterparts are CVssWriter's On… methods and IVssCreateWriterMetadata.
 */
#ifndef UMBRA_WRITER_H
#define UMBRA_WRITER_H

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct umbra_writer_list;     /* what identify fills */
struct umbra_writer_instance; /* one of it; the list's */
struct umbra_writer_session;  /* one instance in one set, or in one restore */

/* Freezing goes down this list, thawing up. */
enum umbra_writer_level { UMBRA_WRITER_FRONT_END, UMBRA_WRITER_BACK_END, UMBRA_WRITER_SYSTEM };

struct umbra_writer {
  const char *name; /* up to 64 letters, digits and . _ - / @ : */

  /* Adds what there is at the moment; changes nothing. No instance: the writer is not involved in anything. */
  int (*identify)(struct umbra_writer_list *list);

  /* All may be NULL. abort: undo what was begun; may come at any time, more than once, and after thaw. */
  int (*prepare_backup)(struct umbra_writer_session *s);
  int (*prepare_snapshot)(struct umbra_writer_session *s);
  int (*freeze)(struct umbra_writer_session *s);
  int (*thaw)(struct umbra_writer_session *s);
  int (*post_snapshot)(struct umbra_writer_session *s);
  int (*backup_complete)(struct umbra_writer_session *s);
  int (*shutdown)(struct umbra_writer_session *s);
  int (*abort)(struct umbra_writer_session *s);
  int (*pre_restore)(struct umbra_writer_session *s);
  int (*post_restore)(struct umbra_writer_session *s);
};

/* Returns the program's exit status. Standard output is the library's: what callbacks print there goes to stderr. */
int umbra_writer_main(const struct umbra_writer *writer, int argc, char **argv);

/* ---- identify ---- */

/* instance: NULL for the only one. NULL: out of memory, which the list remembers; the functions below take it. */
struct umbra_writer_instance *umbra_writer_list_add(struct umbra_writer_list *list, const char *instance,
                                                    enum umbra_writer_level level);

/*
 * Strings are copied. A component comes to be with the first that is said of it. path is absolute, any bytes.  "a/b"
 * lies below "a", and comes into a backup with it (umbra-writers(7), COMPONENTS).
 */
void umbra_writer_instance_add_files(struct umbra_writer_instance *instance, const char *component, const char *path,
                                     const char *pattern, int recursive);
void umbra_writer_instance_add_exclude(struct umbra_writer_instance *instance, const char *component,
                                       const char *path, const char *pattern);

/* The same of files directly in path, as the one above is of all that is below it. */
void umbra_writer_instance_add_direct_exclude(struct umbra_writer_instance *instance, const char *component,
                                              const char *path, const char *pattern);

/* Files that are not to be in the shadow copy: removed from it after post_snapshot, where it can be repaired; and in
 * no backup. */
void umbra_writer_instance_add_shadow_exclude(struct umbra_writer_instance *instance, const char *component,
                                              const char *path, const char *pattern, int recursive);

/* Whether requesters may choose it by itself: for a backup (default: they may), and for a restore if it came with
 * another one (they may not). */
void umbra_writer_instance_set_selectable(struct umbra_writer_instance *instance, const char *component,
                                          int for_backup, int for_restore);

/* What is useless without another writer's component: both are backed up together. on_instance NULL: of whatever
 * instance. */
void umbra_writer_instance_add_dependency(struct umbra_writer_instance *instance, const char *component,
                                          const char *writer, const char *on_instance, const char *on_component);

/* As umbra_writer_instance_set_restore(), of one component. */
void umbra_writer_instance_set_component_restore(struct umbra_writer_instance *instance, const char *component,
                                                 const char *method);

/* How it is restored: "if-not-there", "stop-restore-start" with the systemd unit that is stopped and started, … */
void umbra_writer_instance_set_restore(struct umbra_writer_instance *instance, const char *method,
                                       const char *service);

/* What runs it, for `umbra writers`: pid 0 and unit (of systemd) NULL: not known, or none. */
void umbra_writer_instance_set_process(struct umbra_writer_instance *instance, pid_t pid, const char *unit);

/* It may change its files in the shadow copy at post_snapshot. */
void umbra_writer_instance_set_repairs(struct umbra_writer_instance *instance);

/*
 * A word that every event of this instance brings back (umbra_writer_key()), e.g. a socket or a data directory. The
 * events of a restore bring the one that the backup was made with.
 */
void umbra_writer_instance_set_key(struct umbra_writer_instance *instance, const char *key);

/* Why an instance cannot take part: it is listed with the words, and fails at identify. */
void umbra_writer_instance_fail(struct umbra_writer_instance *instance, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- events ---- */

const char *umbra_writer_instance_name(const struct umbra_writer_session *s); /* "" for the only one */
const char *umbra_writer_key(const struct umbra_writer_session *s);           /* "" if none was set */
const char *umbra_writer_set_id(const struct umbra_writer_session *s);

/* The present event's document, JSON text; the session's until the next event. */
const char *umbra_writer_document(const struct umbra_writer_session *s);

/*
 * True if all files that identify named are in the set and the set will be of one instant: then a writer whose files
 * survive a crash need not be stopped.
 */
int umbra_writer_set_is_whole(const struct umbra_writer_session *s);

/* "full", "incremental", "differential", "copy", "log": only after full and incremental may a log be cut off (at
 * backup_complete). */
const char *umbra_writer_backup_type(const struct umbra_writer_session *s);

/* Whether a component is to be backed up: all are, unless the requester has chosen. */
int umbra_writer_component_is_selected(const struct umbra_writer_session *s, const char *component);

/*
 * A backup stamp: kept with the backup, given back when another one goes on from it. To be set up to post_snapshot.
 * -ENOMEM.  previous: of the backup that this one goes on from; NULL: none. The session's until the next event.
 */
int umbra_writer_set_stamp(struct umbra_writer_session *s, const char *component, const char *stamp);
const char *umbra_writer_previous_stamp(const struct umbra_writer_session *s, const char *component);

/*
 * If the requester can save parts of files: these ranges ("OFFSET:LENGTH,…", bytes) are all that has to be saved of a
 * file. metadata, for the restore, may be NULL. Up to post_snapshot. -EINVAL, -ENOMEM.
 */
int umbra_writer_partial_files_are_saved(const struct umbra_writer_session *s);
int umbra_writer_add_partial_file(struct umbra_writer_session *s, const char *component, const char *path,
                                  const char *ranges, const char *metadata);

/* At backup_complete: whether this component's backup succeeded. */
int umbra_writer_component_succeeded(const struct umbra_writer_session *s, const char *component);

/*
 * At a restore: whether a component comes back; at post_restore whether it has, as far as the requester says so of
 * each (component NULL: all that was to come back); whether more follows, so that recovery has to wait.
 */
int umbra_writer_restores_component(const struct umbra_writer_session *s, const char *component);
int umbra_writer_restore_succeeded(const struct umbra_writer_session *s, const char *component);
int umbra_writer_more_restores(const struct umbra_writer_session *s);

/* At a restore: an option of the requester's, as "authoritative" or "roll-forward"; NULL: not given. The session's.
 */
const char *umbra_writer_restore_option(const struct umbra_writer_session *s, const char *name);

/* Where a path of the live system is in the shadow copies that are mounted for repairs; NULL: nowhere. free(). */
char *umbra_writer_shadow_path(const struct umbra_writer_session *s, const char *path);

/* Says why the callback is going to fail, and gives code back: return umbra_writer_fail(s, -EIO, "…"). */
int umbra_writer_fail(struct umbra_writer_session *s, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Kept with the backup as the writer's answer to the present event, and there again at a restore. Text is UTF-8. */
void umbra_writer_answer(struct umbra_writer_session *s, const char *key, const char *value);

/* At a restore: what the writer answered at an event ("thaw") of the backup; NULL: nothing. The session's. */
const char *umbra_writer_saved_answer(const struct umbra_writer_session *s, const char *event, const char *key);

/* At a restore: where a path of the backup comes back to; the same path, unless it is restored to a new place.
 * free(). */
char *umbra_writer_restore_path(const struct umbra_writer_session *s, const char *path);

/* At a restore: true if the files come back to another place than they came from, where no service of theirs runs. */
int umbra_writer_restores_elsewhere(const struct umbra_writer_session *s);

void umbra_writer_set_userdata(struct umbra_writer_session *s, void *userdata);
void *umbra_writer_userdata(const struct umbra_writer_session *s);

/* ---- for writers that run as root ---- */

/*
 * For good: becomes the user and group, without supplementary groups but the user's own. The process still ends with
 * umbra. 0 or a negative errno.
 */
int umbra_writer_become(uid_t user, gid_t group);

#ifdef __cplusplus
}
#endif

#endif
