/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a fuzzer's target on the files named, without the engine that finds new ones. */
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
  static uint8_t data[1 << 20];
  for (int i = 1; i < argc; i++) {
    FILE *f = fopen(argv[i], "rbe");
    if (!f)
      return 1;
    size_t n = fread(data, 1, sizeof data, f);
    (void)fclose(f);
    (void)LLVMFuzzerTestOneInput(data, n);
  }
  printf("%d inputs\n", argc - 1);
  return argc < 2;
}
