/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A cluster whose files come back: callbacks of struct umbra_writer. DESIGN.md says what they do, and what they leave
 * alone. */
#ifndef WRITERS_POSTGRESQL_RESTORING_H
#define WRITERS_POSTGRESQL_RESTORING_H

#include "umbra/writer.h"

int restoring_pre_restore(struct umbra_writer_session *s);
int restoring_post_restore(struct umbra_writer_session *s);

#endif
