/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a backup, bringing it back, checking and listing it: what the commands backup, restore, verify and ls do,
 * and what any other front end could.  Nothing here makes shadow copies: who does hands their root directories over.
 *
 *     backup_new(&options, &b, err);           // takes the target's lock, finds the base
 *     …shadow copies are made…
 *     backup_save(b, volumes, count, began, err);
 *     backup_commit(b, set_document, &totals, err); // from here on it is a whole backup
 *     backup_free(b);                          // without a commit: nothing is left of it
 */
#ifndef BACKUP_BACKUP_H
#define BACKUP_BACKUP_H

#include "backup/set-directory.h"

#include <time.h>

/* total_bytes 0: unknown. */
typedef void (*backup_progress)(void *userdata, const char *phase, uint64_t done_bytes, uint64_t total_bytes);
/* Something the user should know that is no failure. */
typedef void (*backup_warning)(void *userdata, const char *message);

/* True when the user wants it to stop. Asked often. */
typedef bool (*backup_cancelled)(void *userdata);

/* Who listens; any of it may be NULL. Called on the caller's thread. */
struct backup_listener {
  backup_progress progress;
  backup_warning warning;
  backup_cancelled cancelled;
  void *userdata;
};

/* ---- saving ---- */
struct backup;

struct backup_options {
  const char *target;
  enum manifest_type type;
  const char *label;     /* or NULL */
  char *const *sources;  /* absolute paths without links but in the last place; NULL-terminated */
  char *const *excludes; /* patterns (excludes.h); NULL-terminated, or NULL */
  int level;             /* of zstd; 0: the default */
};

struct backup_volume {
  const char *mount_point; /* absolute */
  int root_fd;             /* its root as it was at the instant; the caller's */
  bool copied;             /* file by file: their file flags are not the volume's, and not saved */
};

struct backup_totals {
  uint64_t files, directories, links, hard_links, others; /* in the tree */
  uint64_t bytes;                                         /* of all files */
  uint64_t stored, stored_bytes;                          /* members in this archive, contents in them */
  uint64_t deleted;                                       /* since the base */
  uint64_t sockets;                                       /* passed over */
  uint64_t archive_bytes, index_bytes;
};

/*
 * Takes the lock, makes the partial folder.  An incremental or differential backup without a base of the same sources
 * becomes a full one (backup_type() tells).  -EBUSY: somebody else makes one there.
 */
int backup_new(const struct backup_options *options, struct backup **ret, struct umbra_error *err);
enum manifest_type backup_type(const struct backup *b);
const struct manifest *backup_base(const struct backup *b); /* NULL: none */
const char *backup_name(const struct backup *b);            /* of the folder */
void backup_listen(struct backup *b, const struct backup_listener *listener);

/* Leaves out what a writer excludes: the files of a directory that match a pattern. Before backup_save(). */
int backup_exclude_file_set(struct backup *b, const char *directory, const char *pattern, bool recursive);

/* The same, of its files only: a directory that matches is saved. Before backup_save(). */
int backup_exclude_files(struct backup *b, const char *directory, const char *pattern, bool recursive);

/*
 * Of the sources only what is in one of the file sets given so: the files of a directory that match a pattern,
 * directly in it or, recursive, below it, too, with the directories that these are in; or directory itself, if it is
 * a file. Before backup_save().
 */
int backup_only_file_set(struct backup *b, const char *directory, const char *pattern, bool recursive);

/*
 * Saves the sources. began: realtime before the instant: files changed later than that are looked at once more by the
 * next backup.  Each source must lie on one of the volumes.
 */
int backup_save(struct backup *b, const struct backup_volume *volumes, size_t count, int64_t began_ns,
                struct umbra_error *err);

/*
 * Makes the backup whole: writes backup.json, syncs all, gives the folder its name.  document: keys to add to
 * backup.json (set, documents, components, left_out, …), borrowed.
 */
int backup_commit(struct backup *b, const json_t *document, struct backup_totals *ret, struct umbra_error *err);
void backup_free(struct backup *b);

/* ---- bringing back ---- */
struct restore_options {
  const struct set_directory *directory;
  const struct backup_entry *backup;
  const char *root;   /* where / of the backup goes; "/" for the original place */
  char *const *paths; /* absolute; only these and what is below them; NULL or empty: all */
  /* of what is at or below paths: wanted(path) says whether it is; may be NULL. Directories are there all the same.
   */
  bool (*wanted)(void *userdata, const char *path);
  void *wanted_userdata;
  /* file sets of writers that are not to be replaced where they exist: keep_existing(path) says so; may be NULL */
  bool (*keep_existing)(void *userdata, const char *path);
  void *keep_userdata;
};

struct restore_totals {
  uint64_t files, directories, others, bytes;
  uint64_t removed; /* what was deleted in between */
  uint64_t kept;    /* not replaced, as a writer wants it */
  uint64_t failed;  /* named by the warnings */
  uint64_t skipped_attributes;
};

/* -EBADMSG with failed > 0: part of it could not be brought back, each named in a warning; the rest was. */
int backup_restore(const struct restore_options *options, const struct backup_listener *listener,
                   struct restore_totals *ret, struct umbra_error *err);

/* ---- checking ---- */
struct verify_totals {
  uint64_t files, bytes;
  uint64_t bad; /* each named in a warning */
};

/* Checks one backup: its own files and members, and that what its chain must hold is there by the indexes. 0 or
 * -EBADMSG. */
int backup_verify(const struct set_directory *d, const struct backup_entry *backup,
                  const struct backup_listener *listener, struct verify_totals *ret, struct umbra_error *err);

#endif
