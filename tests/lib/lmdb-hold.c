/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lmdb-hold DIRECTORY: begins a write transaction in the LMDB environment there, says so, and never ends it. */
#include <lmdb.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
  MDB_env *env;
  MDB_txn *transaction;
  if (argc != 2 || mdb_env_create(&env) != 0 || mdb_env_open(env, argv[1], 0, 0600) != 0 ||
      mdb_txn_begin(env, NULL, 0, &transaction) != 0)
    return 1;
  (void)puts("begun");
  (void)fflush(stdout);
  for (;;)
    (void)pause();
}
