/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The provider that copies nothing: see null.c. */
#ifndef PROVIDERS_NULL_NULL_H
#define PROVIDERS_NULL_NULL_H

#include "providers/provider.h"

extern const struct provider null_provider;

#endif
