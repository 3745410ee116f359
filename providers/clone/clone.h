/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The provider `clone`: copies a volume's block device while it is in use. DESIGN.md says how and why it is whole. */
#ifndef PROVIDERS_CLONE_CLONE_H
#define PROVIDERS_CLONE_CLONE_H

#include "providers/provider.h"

extern const struct provider clone_provider;

#endif
