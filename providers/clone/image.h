/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file that becomes a shadow copy: sparse, as large as the device, in the storage folder; and what it takes from
 * that folder's filesystem, which may be the very volume that is copied.
 */
#ifndef PROVIDERS_CLONE_IMAGE_H
#define PROVIDERS_CLONE_IMAGE_H

#include "common/bitmap.h"
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct image {
  int fd;
  char *path;              /* NULL: it has no name */
  const char *storage_dir; /* borrowed */
  bool on_volume;          /* lies on the volume that is copied */
  uint64_t bytes_max;      /* limit for what it may take; 0: none */
  unsigned granule_shift;
  struct bitmap have; /* granules that are in it, or have space in it */
  struct bitmap own;  /* on_volume: granules of the device that hold nothing but it */
};

/* An empty one. Before image_create() and image_open(). */
void image_init(struct image *image);
void image_done(struct image *image);

/*
 * Makes it: at path, which must not exist, or without a name when path is NULL.  The caller has set storage_dir,
 * bytes_max and granule_shift; volume_device tells on_volume; granules: of the device.  path is copied.
 */
int image_create(struct image *image, const char *path, uint64_t device_bytes, uint64_t granules, dev_t volume_device,
                 struct umbra_error *err);

/* The same for one that is there, made for a device of this size. */
int image_open(struct image *image, const char *path, uint64_t device_bytes, uint64_t granules, dev_t volume_device,
               struct umbra_error *err);

/*
 * Makes room for the granules in *wanted: checks the limit and the free space, and on the volume itself allocates
 * them and learns where they lie. -ENOSPC says what is needed and what there is.
 */
int image_reserve(struct image *image, const struct bitmap *wanted, struct umbra_error *err);

uint64_t image_storage_bytes(const struct image *image);

#endif
