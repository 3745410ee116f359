/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came of a set, told honestly: consistency, instant, the public document, the catalogue entry. */
#include "coordinator/set.h"

#include "coordinator/catalog.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/strv.h"
#include "view/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const consistency_names[] = {
    [CONSISTENCY_CRASH] = "crash",
    [CONSISTENCY_FILESYSTEM] = "filesystem",
    [CONSISTENCY_APPLICATION] = "application",
};

const char *set_consistency_name(enum set_consistency consistency) { return consistency_names[consistency]; }

void set_judge(struct set *s) {
  size_t apart = 0, involved = 0;
  bool flushed = true, lost = false;
  for (size_t i = 0; i < s->member_count; i++) {
    const struct set_member *m = &s->members[i];
    if (m->provider->hold == PROVIDER_HOLD_NONE || (m->provider->hold == PROVIDER_HOLD_NEEDED && !m->hold))
      flushed = false;
    if (m->shadow.instant_lost || !m->provider->instant)
      lost = true;
    apart += m->commits_alone && s->member_count > 1;
  }
  for (size_t i = 0; i < s->writer_count; i++)
    involved += s->writers[i]->involved;
  /* Without a writer nobody has promised more than the filesystem can. */
  s->consistency = !flushed                       ? CONSISTENCY_CRASH
                   : involved > 0 && !s->degraded ? CONSISTENCY_APPLICATION
                                                  : CONSISTENCY_FILESYSTEM;
  s->instant = lost ? "none" : apart > 0 ? "per-volume" : "set";
}

static double freeze_ms(const struct set *s) {
  return s->freeze_ended_ns > s->freeze_began_ns ? clock_ns_to_ms(s->freeze_ended_ns - s->freeze_began_ns) : 0;
}

static json_t *shadow_document(const struct set_member *m) {
  const struct volume *v = m->shadow.volume;
  json_t *paths = NULL;
  if (m->shadow.paths) {
    paths = json_array();
    for (char **path = m->shadow.paths; *path; path++)
      (void)json_array_append_new(paths, json_path(*path));
  }
  return json_pack("{s:s, s:o, s:s, s:o, s:s, s:s?, s:o?, s:b, s:I, s:b, s:o?}", "id", m->shadow.id, "volume",
                   json_path(v->mount_point), "filesystem", v->fs_type, "source", json_path(v->source), "provider",
                   m->shadow.as ? m->shadow.as : m->provider->name, "device", m->device, "mount",
                   m->repair_mount ? json_path(m->repair_mount) : NULL, "writable",
                   m->repair_mount || m->shadow.read_write, "storage_bytes", (json_int_t)m->shadow.storage_bytes,
                   "held", m->hold, "paths", paths);
}

static int memory_file(const char *text, struct umbra_error *err) {
  CLEANUP_CLOSE int fd = memfd_create("umbra-set", MFD_CLOEXEC);
  int r = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
  return r < 0 ? error_code(err, r, "making the document for writers") : take_fd(&fd);
}

/* A new file each time: a writer may still be reading the old one. */
static int write_memory_file(struct set *s, struct umbra_error *err) {
  int fd = memory_file(s->document_text, err);
  if (fd < 0)
    return fd;
  if (s->document_fd >= 0 && s->document_fd != s->lock_document_fd)
    (void)close(s->document_fd);
  s->document_fd = fd;
  /* The first one is the guardian's, which forks later and keeps it. */
  if (s->lock_document_fd < 0)
    s->lock_document_fd = s->document_fd;
  return 0;
}

/* Without the writers: a thousand sessions that each read of all the others would take minutes. */
static int write_session_file(struct set *s, struct umbra_error *err) {
  CLEANUP_JSON json_t *lean = json_copy(s->document), *set = json_copy(json_object_get(s->document, "set"));
  (void)json_object_del(set, "writers");
  (void)json_object_del(lean, "documents");
  (void)json_object_set(lean, "set", set);
  CLEANUP_FREE char *text = lean && set ? json_dumps(lean, JSON_COMPACT) : NULL;
  int fd = text ? memory_file(text, err) : error_code(err, -ENOMEM, "making the document for writers");
  if (fd < 0)
    return fd;
  cleanup_close_fd(&s->session_document_fd);
  s->session_document_fd = fd;
  return 0;
}

static json_t *writers_document(const struct set *s, bool with_metadata) {
  json_t *list = json_array();
  for (size_t i = 0; i < s->writer_count; i++) {
    const struct writer *w = s->writers[i];
    if (!w->involved && (w->metadata || !writer_failed(w)))
      continue;
    if (!set_is_chosen(s, w))
      continue;
    json_t *one = writer_describe(w);
    if (with_metadata) {
      if (w->metadata)
        (void)json_object_set(one, "metadata", w->metadata);
      (void)json_object_set(one, "answers", w->answers);
    }
    (void)json_array_append_new(list, one);
  }
  return list;
}

int set_document_build(struct set *s, struct umbra_error *err) {
  char created[CLOCK_TEXT_BYTES];
  set_judge(s);
  json_t *shadows = json_array();
  for (size_t i = 0; i < s->member_count; i++)
    (void)json_array_append_new(shadows, shadow_document(&s->members[i]));
  json_t *document = json_pack(
      "{s:{s:s, s:s?, s:s, s:s, s:s, s:b, s:b, s:f, s:f, s:s, s:b, s:b, s:o, s:o}, s:o, s:O?}", "set", "id", s->id,
      "label", s->request.label, "created", clock_format(s->instant_ns > 0 ? s->instant_ns : s->created_ns, created),
      "consistency", set_consistency_name(s->consistency), "instant", s->instant, "persistent", s->request.persistent,
      "auto_release", s->request.auto_release, "hold_ms", clock_ns_to_ms(s->hold_ns), "freeze_ms", freeze_ms(s),
      "backup_type", s->request.backup_type ? s->request.backup_type : "copy", "partial_files",
      s->request.partial_files, "succeeded", s->backup_succeeded, "shadows", shadows, "writers",
      writers_document(s, false), "documents", writers_document(s, true), "components", s->request.components);
  char *text = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
  if (!text) {
    json_decref(document);
    return error_code(err, -ENOMEM, "describing the set");
  }
  json_decref(s->document);
  free(s->document_text);
  s->document = document;
  s->document_text = text;
  int r = write_memory_file(s, err);
  return r < 0 ? r : write_session_file(s, err);
}

/* What --require asks for, against what has become. */
static int check_required(const struct set *s, struct umbra_error *err) {
  if (s->consistency < s->request.require)
    return error_set(err, -EIO, UMBRA_REASON_CONSISTENCY, "--require %s: the set is only %s-consistent%s",
                     set_consistency_name(s->request.require), set_consistency_name(s->consistency),
                     s->degraded ? " (see the writers' failures)" : " (no writer took part)");
  if (s->request.require_instant && strcmp(s->instant, "set") != 0)
    return error_set(err, -EIO, UMBRA_REASON_CONSISTENCY,
                     "--require instant: the volumes do not show one instant (%s)", s->instant);
  return 0;
}

/* The image of a shadow copy that is one, else NULL. */
static const char *image_of(const struct set_member *m) {
  const json_t *view = json_object_get(m->shadow.record, "view");
  return strcmp(json_get_string_or(view, "kind", ""), "image") == 0 ? json_get_string_or(view, "path", NULL) : NULL;
}

/* The journal gets the finished records: who cleans up has to know by which view and device they are in use. */
static int save_records(struct set *s, struct umbra_error *err) {
  int r = 0;
  for (size_t i = 0; i < s->member_count && r >= 0; i++)
    r = s->members[i].shadow.services->save(&s->members[i].shadow, err);
  return r;
}

/*
 * A set that stays has its images at hand as devices, for programs that read devices.  Until the journal names it a
 * device goes by itself with its descriptor, after that recovery finds it.
 */
static int attach_devices(struct set *s, struct umbra_error *err) {
  int fds[SET_VOLUMES_MAX], r = 0;
  for (size_t i = 0; i < s->member_count; i++) {
    struct set_member *m = &s->members[i];
    const char *image = image_of(m);
    fds[i] = -1;
    if (image && r >= 0)
      r = loop_open(image,
                    (unsigned)json_get_integer_or(json_object_get(m->shadow.record, "view"), "sector_bytes", 512),
                    m->shadow.read_write, &fds[i], &m->device, err);
  }
  if (r >= 0)
    r = save_records(s, err);
  for (size_t i = 0; i < s->member_count; i++) {
    if (fds[i] >= 0 && r >= 0)
      r = loop_keep(fds[i], err);
    if (fds[i] >= 0)
      (void)close(fds[i]);
  }
  return r;
}

void set_drop_devices(struct set *s) {
  for (size_t i = 0; i < s->member_count; i++)
    if (s->members[i].device && image_of(&s->members[i]))
      (void)loop_drop(s->members[i].device, image_of(&s->members[i]), NULL);
}

static json_t *catalogue_entry(const struct set *s) {
  char boot_id[37] = "";
  (void)journal_boot_id(boot_id);
  json_t *records = json_object();
  for (size_t i = 0; i < s->member_count; i++) {
    const struct set_member *m = &s->members[i];
    (void)json_object_set_new(records, m->shadow.id,
                              json_pack("{s:s, s:O, s:o, s:o, s:o?}", "provider", m->provider->name, "record",
                                        m->shadow.record, "key", json_path(m->shadow.volume->key), "fs_root",
                                        json_path(m->shadow.volume->fs_root), "storage",
                                        m->provider->own_storage ? NULL : json_path(m->shadow.storage_dir)));
  }
  return json_pack("{s:O, s:o, s:O, s:b, s:s}", "set", json_object_get(s->document, "set"), "records", records,
                   "documents", json_object_get(s->document, "documents"), "persistent", s->request.persistent,
                   "boot_id", boot_id);
}

enum set_event set_publish(struct set *s) {
  struct umbra_error *err = set_error(s);
  if (!s->request.auto_release && attach_devices(s, err) < 0)
    return SET_EVENT_FAILED;
  if (set_document_build(s, err) < 0 || check_required(s, err) < 0)
    return SET_EVENT_FAILED;
  if (s->request.auto_release && save_records(s, err) < 0)
    return SET_EVENT_FAILED;
  if (!s->request.auto_release) {
    CLEANUP_JSON json_t *entry = catalogue_entry(s);
    int r = entry ? catalog_put(s->coordinator->state_dir, s->id, entry, err)
                  : error_code(err, -ENOMEM, "describing the set");
    if (r < 0)
      return SET_EVENT_FAILED;
  }
  set_unlock_volumes(s);
  set_rest_workers(s);
  return SET_EVENT_DONE;
}
