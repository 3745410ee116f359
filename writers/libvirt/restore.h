/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain's images that come back: it does not run meanwhile, and is defined as it was, or beside itself. */
#ifndef WRITERS_LIBVIRT_RESTORE_H
#define WRITERS_LIBVIRT_RESTORE_H

#include "umbra/writer.h"
#include "writers/libvirt/domain.h"

/* What prepare-backup answers: the domain's documents. */
#define RESTORE_PERSISTENT "document" /* to be defined again; none of a domain that is transient */
#define RESTORE_RUNNING "running"     /* as it ran, with its backing chains */

/* -EBUSY: it runs. Nobody but its owner may end a machine. */
int restore_begin(struct umbra_writer_session *s, const struct domain *d);

/* Defines it: in place as it was; elsewhere as NAME-restored, with the images there. Says what it did. */
int restore_end(struct umbra_writer_session *s, const struct domain *d);

#endif
