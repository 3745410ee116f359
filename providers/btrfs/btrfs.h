/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* btrfs: shadow copies as snapshots of subvolumes. See DESIGN.md beside this file. */
#ifndef PROVIDERS_BTRFS_BTRFS_H
#define PROVIDERS_BTRFS_BTRFS_H

#include "providers/provider.h"

extern const struct provider btrfs_provider;

#endif
