/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* exec: shadow copies made by an executable of somebody else. See DESIGN.md beside this file. */
#ifndef PROVIDERS_EXEC_EXEC_H
#define PROVIDERS_EXEC_EXEC_H

#include "providers/provider.h"

extern const struct provider exec_provider;

#endif
