/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the fuzzers of the engine's parts take a run apart, and say what must not be. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is left of the input; when nothing is, zeros come. */
struct input {
  const uint8_t *at;
  size_t left;
};

static inline unsigned take(struct input *in) {
  if (in->left == 0)
    return 0;
  in->left--;
  return *in->at++;
}

static inline void take_bytes(struct input *in, unsigned char *to, size_t count) {
  size_t n = count < in->left ? count : in->left;
  memcpy(to, in->at, n);
  in->at += n;
  in->left -= n;
}

static inline void must(bool holds, const char *what) {
  if (holds)
    return;
  (void)fprintf(stderr, "%s\n", what);
  abort();
}

#endif
