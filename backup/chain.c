/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which backups belong together. See chain.h. */
#include "backup/chain.h"

#include <errno.h>

int chain_init(struct chain *c, const struct set_directory *d, const struct backup_entry *backup,
               struct umbra_error *err) {
  size_t count = json_array_size(backup->manifest.chain);
  *c = (struct chain){.directory = d, .entries = calloc(count, sizeof(struct backup_entry *))};
  if (!c->entries)
    return error_code(err, -ENOMEM, "following the chain of '%s'", backup->name);
  for (size_t i = 0; i < count; i++) {
    const char *id = json_string_value(json_array_get(backup->manifest.chain, i));
    c->entries[i] = set_directory_by_id(d, id);
    if (!c->entries[i]) {
      chain_done(c);
      return error_set(err, -ENOENT, UMBRA_REASON_DAMAGED,
                       "backup '%s' stands on backup %s, which is missing or damaged in '%s'", backup->name, id,
                       d->path);
    }
    c->count++;
  }
  return 0;
}

void chain_done(struct chain *c) {
  free(c->entries);
  *c = (struct chain){0};
}

int chain_open_index(const struct chain *c, size_t position, struct chain_index *ret, struct umbra_error *err) {
  const struct backup_entry *e = c->entries[position];
  char name[SET_DIRECTORY_NAME_BYTES + 16];
  *ret = (struct chain_index){.fd = set_directory_open_file(c->directory, e, MANIFEST_INDEX_NAME, err)};
  if (ret->fd < 0)
    return ret->fd;
  (void)snprintf(name, sizeof name, "%s/%s", e->name, MANIFEST_INDEX_NAME);
  int r = index_reader_open(ret->fd, name, &ret->reader, err);
  if (r == 0 && index_reader_header(ret->reader)->position != position)
    r = error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "index '%s' belongs to another place in the chain", name);
  if (r < 0)
    chain_close_index(ret);
  return r;
}

void chain_close_index(struct chain_index *i) {
  index_reader_free(i->reader);
  if (i->fd >= 0)
    (void)close(i->fd);
  *i = (struct chain_index){.fd = -1};
}
