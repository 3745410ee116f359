/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A cluster while it is copied: the events of a set.  DESIGN.md says which of three ways is gone when.  All functions
 * are callbacks of struct umbra_writer (umbra/writer.h); what is between them is the session's.
 */
#ifndef WRITERS_POSTGRESQL_COPYING_H
#define WRITERS_POSTGRESQL_COPYING_H

#include "umbra/writer.h"

int copying_prepare_backup(struct umbra_writer_session *s);
int copying_prepare_snapshot(struct umbra_writer_session *s);
int copying_freeze(struct umbra_writer_session *s);
int copying_thaw(struct umbra_writer_session *s);
int copying_post_snapshot(struct umbra_writer_session *s);
int copying_end(struct umbra_writer_session *s); /* abort and shutdown */

/* The keys of what is answered, which restoring.c reads again. */
#define ANSWER_WAY "way" /* prepare-snapshot: "stopped", "instant", "backup" */
#define ANSWER_TIMELINE "timeline"
#define ANSWER_SEGMENT_BYTES "segment_bytes"
#define ANSWER_LSN "lsn" /* freeze: all that was committed by then lies before it */
#define ANSWER_START "start_lsn"
#define ANSWER_STOP "stop_lsn" /* thaw, and the two files */
#define ANSWER_LABEL "backup_label"
#define ANSWER_TABLESPACES "tablespace_map"
#define ANSWER_COMPLETE "complete" /* post-snapshot: "yes": both files and the log are in the shadow copy */

#endif
