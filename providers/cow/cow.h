/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shadow copies of volumes that are attached to umbra (umbra-attach(8)), by their copy-on-write engine: at once, with
 * storage for what changes later only.  Speaks with the volume's server (cow/serve/client.h).
 */
#ifndef PROVIDERS_COW_COW_H
#define PROVIDERS_COW_COW_H

#include "providers/provider.h"

extern const struct provider cow_provider;

#endif
