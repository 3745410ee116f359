/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Persistent storage of attached volumes, looked at from outside. Writes nothing to it. */
#include "libumbra/handles.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "cow/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { UUID_TEXT_BYTES = 37 };

/* alone: not while a volume with this storage is attached, which would change it meanwhile. */
static int open_storage(struct umbra_client *client, const char *where, bool alone, int *ret_fd) {
  struct stat st;
  if (stat(where, &st) < 0)
    return error_errno(&client->error, "storage '%s'", where);
  if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID, "'%s' is neither a file nor a block device",
                     where);
  CLEANUP_CLOSE int fd = open(where, O_RDONLY | O_CLOEXEC | (alone && S_ISBLK(st.st_mode) ? O_EXCL : 0));
  if (fd >= 0 && alone && S_ISREG(st.st_mode) && flock(fd, LOCK_SH | LOCK_NB) < 0)
    errno = EBUSY;
  else if (fd >= 0) {
    *ret_fd = take_fd(&fd);
    return 0;
  }
  if (errno == EBUSY)
    return error_set(&client->error, -EBUSY, UMBRA_REASON_BUSY, "storage '%s' is in use: detach its volume first",
                     where);
  return error_errno(&client->error, "opening storage '%s'", where);
}

static void note_problem(const char *text, void *problems) {
  (void)json_array_append_new(problems, json_string(text));
}

int umbra_storage_check(struct umbra_client *client, const char *where, char **ret_json) {
  CLEANUP_CLOSE int fd = -1;
  CLEANUP_JSON json_t *problems = json_array();
  struct cow_recovery found;
  error_clear(&client->error);
  int r = open_storage(client, where, true, &fd);
  if (r >= 0) {
    r = cow_inspect_check(fd, note_problem, problems, &found, &client->error);
    if (r < 0)
      (void)error_prefix(&client->error, r, "storage '%s'", where);
  }
  if (r < 0)
    return r;
  json_t *document =
      json_pack("{s:o, s:b, s:O, s:b, s:i, s:i, s:I, s:I, s:I}", "storage", json_path(where), "sound",
                json_array_size(problems) == 0, "problems", problems, "clean", found.super.clean, "live",
                (int)found.live, "dropped", (int)found.dropped, "entries", (json_int_t)found.needed, "left_over",
                (json_int_t)found.unneeded, "unfinished", (json_int_t)found.unfinished);
  return client_return_json(client, document, ret_json);
}

/* ---- dump ---- */

struct dumping {
  umbra_storage_visit visit;
  void *userdata;
};

static const char *name_of(enum cow_disk_found found) { return found == COW_DISK_GOOD ? "good" : "damaged"; }

static int give(const struct dumping *d, json_t *document) {
  char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
  json_decref(document);
  if (!text)
    return -ENOMEM;
  int r = d->visit(d->userdata, text);
  free(text);
  return r == 0 ? 0 : -ECANCELED;
}

static const char *uuid_text(const unsigned char uuid[16], char text[UUID_TEXT_BYTES]) {
  char *to = text;
  for (unsigned i = 0; i < 16; i++)
    to += snprintf(to, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
  return text;
}

/* 64 bits are more than a JSON integer has. */
static json_t *hexadecimal(uint64_t value) { return json_sprintf("%016llx", (unsigned long long)value); }

static json_t *witness_of(const struct cow_disk_super *s) {
  json_t *list = json_array();
  for (unsigned i = 0; i < COW_WITNESS_SECTORS; i++)
    (void)json_array_append_new(list,
                                json_pack("[o, o]", hexadecimal(s->witness[i][0]), hexadecimal(s->witness[i][1])));
  return list;
}

static int dump_super(unsigned index, int code, const struct cow_disk_super *s, void *context) {
  char uuid[UUID_TEXT_BYTES];
  if (code < 0)
    return give(context, json_pack("{s:s, s:i, s:s, s:s}", "kind", "superblock", "index", (int)index, "state",
                                   "damaged", "why", strerror(-code)));
  return give(context,
              json_pack("{s:s, s:i, s:s, s:s, s:I, s:I, s:i, s:I, s:I, s:I, s:i, s:b, s:b, s:I, s:o, s:o}", "kind",
                        "superblock", "index", (int)index, "state", "good", "uuid", uuid_text(s->uuid, uuid),
                        "sequence", (json_int_t)s->sequence, "volume_bytes", (json_int_t)s->volume_bytes,
                        "chunk_bytes", (int)s->chunk_bytes, "slots", (json_int_t)s->slots_max, "holes",
                        (json_int_t)s->holes_max, "durable", (json_int_t)s->durable, "next_number",
                        (int)s->next_number, "clean", s->clean, "witnessed", s->witnessed, "created_ns",
                        (json_int_t)s->created_ns, "identity", json_path(s->identity), "witness", witness_of(s)));
}

static int dump_record(uint32_t index, enum cow_disk_found found, const struct cow_disk_record *r, void *context) {
  static const char *const states[COW_DISK_STATES] = {"gone", "live", "dropped"};
  if (found == COW_DISK_NONE)
    return 0;
  return give(context, json_pack("{s:s, s:i, s:s, s:i, s:s, s:I, s:o, s:o}", "kind", "shadow", "index", (int)index,
                                 "state", found == COW_DISK_GOOD ? states[r->state] : name_of(found), "number",
                                 (int)r->number, "verdict", name_of(found), "created_ns", (json_int_t)r->created_ns,
                                 "id", json_path(r->id), "why", json_path(r->why)));
}

static int dump_cell(uint32_t slot, enum cow_disk_found found, const struct cow_disk_cell *c, void *context) {
  return give(context,
              json_pack("{s:s, s:I, s:s, s:I, s:i, s:I, s:I, s:o}", "kind", "entry", "slot", (json_int_t)slot,
                        "state", name_of(found), "chunk", (json_int_t)cow_key_chunk(c->key), "epoch",
                        (int)cow_key_epoch(c->key), "generation", (json_int_t)c->generation, "durable",
                        (json_int_t)c->durable, "sum", json_sprintf("%08x", c->sum)));
}

int umbra_storage_dump(struct umbra_client *client, const char *where, umbra_storage_visit visit, void *userdata) {
  static const struct cow_inspect_visits visits = {.super = dump_super, .record = dump_record, .cell = dump_cell};
  struct dumping d = {.visit = visit, .userdata = userdata};
  CLEANUP_CLOSE int fd = -1;
  error_clear(&client->error);
  int r = open_storage(client, where, false, &fd);
  if (r < 0)
    return r;
  r = cow_inspect_dump(fd, &visits, &d, &client->error);
  return r < 0 ? error_prefix(&client->error, r, "storage '%s'", where) : 0;
}
