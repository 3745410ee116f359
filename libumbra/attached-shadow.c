/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What only shadow copies of attached volumes can: what changed since, and going back. */
#include "libumbra/attached.h"
#include "libumbra/condition.h"
#include "libumbra/handles.h"
#include "libumbra/reverting.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "coordinator/catalog.h"
#include "cow/serve/client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
  CALL_TIMEOUT_MS = 60000,
  REVERT_TIMEOUT_MS = 24 * 3600 * 1000,
  REVERT_SERVERS_MAX = 100, /* that die in the middle of one revert */
};

/* A shadow copy of an attached volume, as its server knows it. */
struct attached_shadow {
  char *directory, *id;
};

static void attached_shadow_done(struct attached_shadow *s) {
  free(s->directory);
  free(s->id);
}
#define CLEANUP_SHADOW CLEANUP(attached_shadow_done)

static int record_of(struct umbra_client *client, const json_t *entry, const char *shadow_id,
                     struct attached_shadow *ret) {
  json_t *made;
  const char *id;
  json_object_foreach(json_object_get(entry, "records"), id, made) {
    const json_t *record = json_object_get(made, "record");
    if (strcmp(json_get_string_or(made, "provider", ""), "cow") != 0 || (shadow_id && strcmp(id, shadow_id) != 0))
      continue;
    int r = condition_check(client, made, id);
    if (r < 0)
      return r;
    ret->id = strdup(id);
    return ret->id && json_path_value(json_object_get(record, "directory"), &ret->directory) >= 0
               ? 0
               : error_set(&client->error, -EBADMSG, UMBRA_REASON_DAMAGED, "the catalogue's record of shadow copy %s",
                           id);
  }
  return error_set(&client->error, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                   "it is no shadow copy of an attached volume (provider cow, see umbra-attach(8))");
}

/* text: a shadow copy, or a set that has one. */
static int find_shadow(struct umbra_client *client, const char *text, struct attached_shadow *ret) {
  CLEANUP_JSON json_t *entries = NULL;
  json_t *entry = NULL;
  const char *shadow_id = NULL;
  int r = catalog_load(client->coordinator->state_dir, &entries, NULL, &client->error);
  if (r >= 0)
    r = catalog_find(entries, text, &entry, &shadow_id, &client->error);
  if (r >= 0 && !shadow_id && json_object_size(json_object_get(entry, "records")) > 1)
    r = error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID,
                  "set '%s' has several shadow copies: name one of them", text);
  return r < 0 ? r : record_of(client, entry, shadow_id, ret);
}

static int ask_ranges(struct umbra_client *client, int fd, const struct attached_shadow *from,
                      const struct attached_shadow *to, uint64_t start_bytes, json_t **ret) {
  json_t *request = json_pack("{s:s, s:s, s:s*, s:I}", "do", "diff", "from", from->id, "to", to->id, "start_bytes",
                              (json_int_t)start_bytes);
  return cow_client_call(fd, request, CALL_TIMEOUT_MS, ret, &client->error);
}

int umbra_difference(struct umbra_client *client, const char *from_text, const char *to_text,
                     umbra_difference_visit visit, void *userdata) {
  CLEANUP_SHADOW struct attached_shadow from = {0}, to = {0};
  CLEANUP_CLOSE int fd = -1;
  error_clear(&client->error);
  int r = find_shadow(client, from_text, &from);
  if (r >= 0 && to_text)
    r = find_shadow(client, to_text, &to);
  if (r >= 0 && to_text && strcmp(from.directory, to.directory) != 0)
    r = error_set(&client->error, -EXDEV, UMBRA_REASON_INVALID, "they are shadow copies of different volumes");
  if (r >= 0)
    r = cow_client_connect(from.directory, &fd, &client->error);
  bool more = true;
  for (uint64_t start = 0; r >= 0 && more;) {
    CLEANUP_JSON json_t *reply = NULL;
    const json_t *range;
    size_t i;
    r = ask_ranges(client, fd, &from, &to, start, &reply);
    more = json_is_true(json_object_get(reply, "more"));
    json_array_foreach(json_object_get(reply, "ranges"), i, range) {
      uint64_t offset = (uint64_t)json_integer_value(json_array_get(range, 0));
      uint64_t length = (uint64_t)json_integer_value(json_array_get(range, 1));
      if (r >= 0 && visit(userdata, offset, length) != 0)
        r = error_set(&client->error, -ECANCELED, UMBRA_REASON_CANCELLED, "stopped by who asked");
      start = offset + length;
    }
  }
  return r;
}

/* The volume's device must be nobody's while it changes below. */
static int take_device(struct umbra_client *client, int fd, int *ret) {
  CLEANUP_JSON json_t *status = NULL;
  int r = cow_client_call(fd, json_pack("{s:s}", "do", "status"), CALL_TIMEOUT_MS, &status, &client->error);
  return r < 0 ? r : attached_open_alone(client, json_get_string_or(status, "device", ""), O_RDWR, ret);
}

/*
 * A server that dies takes its request along, but not what it has put back: the next one goes on. Its socket is the
 * same, and the supervisor keeps it open meanwhile.
 */
static int put_back(struct umbra_client *client, const struct attached_shadow *shadow, int *fd, json_t **ret) {
  int r = 0;
  for (int servers = 0; servers < REVERT_SERVERS_MAX; servers++) {
    error_clear(&client->error);
    r = *fd >= 0 ? 0 : cow_client_connect(shadow->directory, fd, &client->error);
    if (r >= 0)
      r = cow_client_call(*fd, json_pack("{s:s, s:s}", "do", "revert", "id", shadow->id), REVERT_TIMEOUT_MS, ret,
                          &client->error);
    if (r != -EPIPE && r != -ECONNRESET)
      break;
    cleanup_close_fd(fd);
    *fd = -1;
  }
  /* Stopped by a signal: the device stays ours until the server has stopped, too. */
  if (r == -EINTR)
    cow_client_hang_up(*fd, CALL_TIMEOUT_MS);
  return r;
}

static int say_half_reverted(struct umbra_client *client, int r, const char *name, const char *id) {
  struct umbra_error why = client->error;
  return error_set(&client->error, r, why.reason,
                   "%s: the volume '%s' is half reverted: do not use it, and do it again (umbra revert %.8s)",
                   why.message, name, id);
}

int umbra_revert(struct umbra_client *client, const char *text, uint64_t *ret_bytes) {
  CLEANUP_SHADOW struct attached_shadow shadow = {0};
  CLEANUP_CLOSE int fd = -1, device = -1;
  CLEANUP_JSON json_t *reply = NULL;
  int r = client_prepare(client);
  if (r >= 0)
    r = find_shadow(client, text, &shadow);
  if (r >= 0)
    r = cow_client_connect(shadow.directory, &fd, &client->error);
  if (r >= 0)
    r = take_device(client, fd, &device);
  const char *name = r >= 0 ? strrchr(shadow.directory, '/') + 1 : "";
  CLEANUP_FREE char *half = r >= 0 ? reverting_to(client, name) : NULL;
  if (r >= 0)
    r = reverting_begin(client, name, shadow.id);
  if (r < 0)
    return r;
  r = put_back(client, &shadow, &fd, &reply);
  /* Refused: nothing was put back. */
  if ((r == -EBUSY || r == -ENOENT) && !half) {
    struct umbra_error why = client->error;
    (void)reverting_end(client, name);
    client->error = why;
    return r;
  }
  /* What of it the page cache of the device holds is from before. */
  if (r >= 0 && ioctl(device, BLKFLSBUF, 0) < 0)
    r = error_errno(&client->error, "forgetting what was cached of the volume");
  if (r < 0)
    return say_half_reverted(client, r, name, shadow.id);
  if (ret_bytes)
    *ret_bytes = (uint64_t)json_integer_value(json_object_get(reply, "bytes"));
  return reverting_end(client, name);
}
