/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Uses the library as a stranger does: library-use PATH makes a set of PATH's volume and prints how many threads this
 * process has then, while it is there, and after it.  It is ISO C99.
 */
#include <umbra/umbra.h>
#include <umbra/writer.h>

#include <dirent.h>
#include <stdio.h>

static int threads(void) {
  DIR *tasks = opendir("/proc/self/task");
  int count = 0;
  if (!tasks)
    return -1;
  for (struct dirent *one = readdir(tasks); one; one = readdir(tasks))
    count += one->d_name[0] != '.';
  (void)closedir(tasks);
  return count;
}

int main(int argc, char **argv) {
  struct umbra_client *client = NULL;
  struct umbra_set *set = NULL;
  if (argc != 2 || umbra_client_new(&client) < 0)
    return 2;
  int r = umbra_set_new(client, &set);
  if (r >= 0)
    r = umbra_set_option(set, "auto-release", "yes");
  if (r >= 0)
    r = umbra_set_option(set, "provider", "files");
  if (r >= 0)
    r = umbra_set_add_path(set, argv[1]);
  if (r >= 0)
    r = umbra_set_create(set);
  if (r < 0)
    (void)fprintf(stderr, "library-use: %s\n", umbra_client_message(client));
  else
    (void)printf("threads %d\n", threads());
  umbra_set_free(set);
  if (r >= 0)
    (void)printf("threads %d\n", threads());
  umbra_client_free(client);
  return r < 0;
}
