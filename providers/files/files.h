/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PROVIDERS_FILES_FILES_H
#define PROVIDERS_FILES_FILES_H

struct provider;
extern const struct provider files_provider;

#endif
