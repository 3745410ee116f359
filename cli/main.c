/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

int main(void) {
  fputs("umbra: nothing here yet\n", stderr);
  return 2;
}
