/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a set leaves to undo, as its journal document:
 *   {"id", "state", "created", "label", "boot_id", "owner": {"pid", "start_ticks"}, "guardian": pid,
 *    "auto_release", "held": [mount points], "expedited_before", "writers": [{"path", "kind", "name", "instance"}],
 *    "shadows": [{"id", "volume", "provider", "record", "device", "repair": where writers have it mounted}], "document": the public one}
 */
#include "coordinator/set.h"

#include "coordinator/recovery.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Frozen last comes first: in this order recovery can thaw them one by one, for an upper volume's thaw writes to the
 * lower. */
static json_t *held_volumes(const struct set *s) {
  json_t *list = json_array();
  /* From the moment before the hold until the moment after. */
  for (unsigned level = SET_VOLUMES_MAX; level-- > 0 && s->state == SET_HOLDING;)
    for (size_t i = 0; i < s->member_count; i++)
      if (s->members[i].hold && s->members[i].level == level)
        (void)json_array_append_new(list, json_path(s->members[i].shadow.volume->mount_point));
  return list;
}

/* The kernel's setting that the guardian changes for the length of the freeze; "" where there is none. */
static const char *expedited_now(char text[2]) {
  CLEANUP_CLOSE int fd = open("/sys/kernel/rcu_expedited", O_RDONLY | O_CLOEXEC);
  text[0] = text[1] = 0;
  if (fd < 0 || read(fd, text, 1) != 1)
    text[0] = 0;
  return text;
}

static json_t *told_writers(const struct set *s) {
  json_t *list = json_array();
  for (size_t i = 0; i < s->writer_count; i++)
    if (s->writers[i]->told)
      (void)json_array_append_new(list, json_pack("{s:o, s:i, s:s, s:s?}", "path", json_path(s->writers[i]->path),
                                                  "kind", (int)s->writers[i]->kind, "name", s->writers[i]->name,
                                                  "instance", s->writers[i]->instance));
  return list;
}

static json_t *shadows(const struct set *s) {
  json_t *list = json_array();
  for (size_t i = 0; i < s->member_count; i++) {
    const struct set_member *m = &s->members[i];
    if (!m->provider)
      continue;
    (void)json_array_append_new(
        list, json_pack("{s:s, s:o, s:s, s:o, s:s?, s:o?}", "id", m->shadow.id, "volume",
                        json_path(m->shadow.volume->mount_point), "provider", m->provider->name, "record",
                        m->saved_record ? json_incref(m->saved_record) : json_object(), "device", m->device, "repair",
                        m->repair_mount ? json_path(m->repair_mount) : NULL));
  }
  return list;
}

int set_journal(struct set *s, struct umbra_error *err) {
  if (!s->journal_open)
    return 0;
  char created[CLOCK_TEXT_BYTES], boot_id[37] = "", expedited[2];
  uint64_t ticks = 0;
  (void)journal_boot_id(boot_id);
  (void)process_start_ticks(getpid(), &ticks);
  pthread_mutex_lock(&s->record_lock);
  json_t *document =
      json_pack("{s:s, s:s, s:s, s:s?, s:s, s:{s:i, s:I}, s:i, s:b, s:o, s:o, s:o}", "id", s->id, "state",
                set_state_name(s->state), "created", clock_format(s->created_ns, created), "label", s->request.label,
                "boot_id", boot_id, "owner", "pid", (int)getpid(), "start_ticks", (json_int_t)ticks, "guardian",
                (int)s->hold.pid, "auto_release", s->request.auto_release, "held", held_volumes(s), "writers",
                told_writers(s), "shadows", shadows(s));
  if (document && s->state == SET_HOLDING)
    (void)json_object_set_new(document, "expedited_before", json_string(expedited_now(expedited)));
  if (document && s->document && s->state >= SET_PUBLISHING)
    (void)json_object_set(document, "document", s->document);
  int r = document ? journal_write(&s->journal, document, err) : error_code(err, -ENOMEM, "writing the journal");
  pthread_mutex_unlock(&s->record_lock);
  json_decref(document);
  return r;
}

/* How long the guardian, or recovery, waits for one writer's abort. */
enum { ABORT_LIMIT_MS = 10000 };

void set_guardian_abort_writers(void *context) {
  const struct set *s = context;
  /* Who is told is what the coordinator has journalled; its memory here is as of the fork, before anybody was told.
   */
  recovery_abort_writers(s->coordinator->runtime_dir, s->id, s->lock_document_fd, ABORT_LIMIT_MS);
}

void set_guardian_clean_up(void *context) {
  struct set *s = context;
  recovery_of_set(s->coordinator->state_dir, s->coordinator->runtime_dir, s->id);
  /* The locks of volumes are this process's, too, since the fork. */
  set_unlock_volumes(s);
}
