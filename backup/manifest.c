/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads and writes backup.json. See manifest.h. */
#include "backup/manifest.h"

#include "common/clock.h"
#include "common/id.h"

#include <assert.h>
#include <errno.h>

static const char *const type_names[] = {
    [MANIFEST_FULL] = "full",
    [MANIFEST_INCREMENTAL] = "incremental",
    [MANIFEST_DIFFERENTIAL] = "differential",
    [MANIFEST_COPY] = "copy",
};
static_assert(sizeof type_names / sizeof *type_names == MANIFEST_TYPE_MAX, "every type has a name");

const char *manifest_type_name(enum manifest_type type) { return type_names[type]; }

int manifest_type_parse(const char *name, enum manifest_type *ret) {
  for (size_t i = 0; i < MANIFEST_TYPE_MAX; i++)
    if (strcmp(name, type_names[i]) == 0) {
      *ret = (enum manifest_type)i;
      return 0;
    }
  return -EINVAL;
}

json_t *manifest_file_json(const struct manifest_file *file) {
  char text[DIGEST_TEXT_BYTES];
  return json_pack("{s:I, s:s}", "bytes", (json_int_t)file->bytes, "xxh3_128", digest_format(&file->digest, text));
}

static int checksum(const json_t *json, struct digest *ret) {
  CLEANUP_JSON json_t *without = json_copy((json_t *)json);
  if (!without)
    return -ENOMEM;
  (void)json_object_del(without, "checksum");
  CLEANUP_FREE char *text = json_dumps(without, JSON_COMPACT | JSON_SORT_KEYS);
  if (!text)
    return -ENOMEM;
  *ret = digest_of(text, strlen(text));
  return 0;
}

int manifest_write(int dir_fd, json_t *json, struct umbra_error *err) {
  struct digest d;
  char text[DIGEST_TEXT_BYTES];
  int r = checksum(json, &d);
  if (r == 0 && json_object_set_new(json, "checksum", json_string(digest_format(&d, text))) < 0)
    r = -ENOMEM;
  if (r < 0)
    return error_code(err, r, "writing '%s'", MANIFEST_NAME);
  return json_write_file(dir_fd, MANIFEST_NAME, json, 0600, true, err);
}

static int check(const json_t *json, struct umbra_error *err) {
  const char *written = NULL;
  struct digest is, should;
  int r = json_get_string(json, "checksum", &written, err);
  if (r < 0)
    return r;
  r = checksum(json, &is);
  if (r < 0)
    return error_code(err, r, "checking it");
  if (digest_parse(written, &should) < 0 || !digest_equal(&is, &should))
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "its checksum does not fit");
  return 0;
}

static int take_file(const json_t *json, const char *name, struct manifest_file *ret, struct umbra_error *err) {
  const json_t *file = json_object_get(json_object_get(json, "files"), name);
  json_int_t bytes = 0;
  const char *text = NULL;
  int r = json_get_integer(file, "bytes", &bytes, err);
  if (r == 0)
    r = json_get_string(file, "xxh3_128", &text, err);
  if (r < 0)
    return error_prefix(err, r, "its entry of '%s'", name);
  if (bytes < 0 || digest_parse(text, &ret->digest) < 0)
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "its entry of '%s' makes no sense", name);
  ret->bytes = (uint64_t)bytes;
  return 0;
}

static bool chain_valid(const struct manifest *m) {
  size_t n = json_array_size(m->chain);
  if (n == 0 || n > MANIFEST_CHAIN_MAX)
    return false;
  for (size_t i = 0; i < n; i++) {
    const char *id = json_string_value(json_array_get(m->chain, i));
    if (!id || !id_valid(id))
      return false;
  }
  bool based = m->type == MANIFEST_INCREMENTAL || m->type == MANIFEST_DIFFERENTIAL;
  if (strcmp(json_string_value(json_array_get(m->chain, n - 1)), m->id) != 0 || based != (n > 1))
    return false;
  return !based || (m->base && strcmp(json_string_value(json_array_get(m->chain, n - 2)), m->base) == 0);
}

static int take(struct manifest *m, struct umbra_error *err) {
  json_int_t format = 0;
  const char *type = NULL;
  int64_t time_ns = 0;
  int r = json_get_integer(m->json, "format", &format, err);
  if (r == 0 && format != MANIFEST_FORMAT)
    return error_set(err, -EPROTONOSUPPORT, UMBRA_REASON_INVALID, "its format is %d, this program reads %d",
                     (int)format, MANIFEST_FORMAT);
  if (r == 0)
    r = check(m->json, err);
  if (r == 0)
    r = json_get_string(m->json, "id", &m->id, err);
  if (r == 0)
    r = json_get_string(m->json, "type", &type, err);
  if (r == 0)
    r = json_get_string(m->json, "time", &m->time, err);
  if (r == 0)
    r = take_file(m->json, MANIFEST_ARCHIVE_NAME, &m->archive, err);
  if (r == 0)
    r = take_file(m->json, MANIFEST_INDEX_NAME, &m->index, err);
  if (r < 0)
    return r;
  m->label = json_get_string_or(m->json, "label", NULL);
  m->base = json_get_string_or(m->json, "base", NULL);
  m->consistency = json_get_string_or(m->json, "consistency", "crash");
  m->chain = json_object_get(m->json, "chain");
  m->sources = json_object_get(m->json, "sources");
  if (!id_valid(m->id) || manifest_type_parse(type, &m->type) < 0 || clock_parse(m->time, &time_ns) < 0 ||
      !chain_valid(m) || !json_is_array(m->sources))
    return error_set(err, -EBADMSG, UMBRA_REASON_DAMAGED, "its id, type, time, chain or sources make no sense");
  return 0;
}

int manifest_read(int dir_fd, const char *name, struct manifest *ret, struct umbra_error *err) {
  struct manifest m = {0};
  int r = json_read_file(dir_fd, MANIFEST_NAME, &m.json, err);
  if (r == 0)
    r = take(&m, err);
  if (r < 0) {
    manifest_done(&m);
    return error_prefix(err, r, "'%s/%s'", name, MANIFEST_NAME);
  }
  *ret = m;
  return 0;
}

void manifest_done(struct manifest *m) {
  json_decref(m->json);
  *m = (struct manifest){0};
}
