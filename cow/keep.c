/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shadow copies that outlive the machine's run: what the engine does for them at each step (E13 to E17). */
#include "cow/engine-state.h"

#include <errno.h>
#include <string.h>

int cow_engine_keep(struct cow_engine *e, const char *id, struct umbra_error *err) {
  int r = 0;
  pthread_mutex_lock(&e->control);
  struct cow_arena_shadow *s = cow_shadows_find(e->arena->header, id);
  if (!e->ledger)
    r = error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                  "the volume's storage is not persistent (umbra attach --persistent)");
  else if (atomic_load(&e->arena->header->ledger_failed))
    r = error_set(err, -EIO, UMBRA_REASON_STORAGE, "the volume's storage has failed");
  else if (!s || cow_shadow_state_of(s) != COW_SHADOW_BEGUN)
    r = error_set(err, -EINVAL, UMBRA_REASON_BAD_STATE, "shadow copy %s is not begun", id);
  else if (atomic_load(&s->writable))
    r = error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED,
                  "what is written to shadow copy %s does not outlive the machine's run: it cannot be persistent",
                  id);
  else
    atomic_store(&s->kept, COW_KEPT_WANTED);
  pthread_mutex_unlock(&e->control);
  return r;
}

/* Live and to be kept; under reclaim. */
static int check_settle(const struct cow_arena_shadow *s, const char *id, struct umbra_error *err) {
  if (!s)
    return error_set(err, -ENOENT, UMBRA_REASON_NOT_FOUND, "the volume has no shadow copy %s", id);
  if (cow_shadow_state_of(s) == COW_SHADOW_DROPPED)
    return error_set(err, -EIO, UMBRA_REASON_STORAGE, "shadow copy %s was dropped: %s", id, s->why);
  if (cow_shadow_state_of(s) != COW_SHADOW_LIVE || atomic_load(&s->kept) == COW_KEPT_NOT)
    return error_set(err, -EINVAL, UMBRA_REASON_BAD_STATE, "shadow copy %s is none to be kept", id);
  return 0;
}

int cow_engine_settle(struct cow_engine *e, const char *id, struct umbra_error *err) {
  if (!e->ledger)
    return error_set(err, -EOPNOTSUPP, UMBRA_REASON_VOLUME_NOT_SUPPORTED, "the volume's storage is not persistent");
  /* What was written before the instant must not get lost where nothing was overwritten since (E15). */
  int r = cow_engine_flush(e);
  if (r < 0)
    return error_code(err, r, "flushing the volume");
  r = cow_witness_settle(e->ledger);
  if (r < 0)
    return error_code(err, r, "writing to the volume's storage");
  pthread_mutex_lock(&e->reclaim);
  struct cow_arena_shadow *s = cow_shadows_find(e->arena->header, id);
  r = check_settle(s, id, err);
  if (r == 0 && atomic_load(&s->kept) == COW_KEPT_WANTED) {
    r = cow_ledger_record(e->ledger, (size_t)(s - e->arena->header->shadows), COW_DISK_LIVE);
    if (r < 0)
      (void)error_code(err, r, "writing to the volume's storage");
    else
      atomic_store(&s->kept, COW_KEPT_RECORDED);
  }
  pthread_mutex_unlock(&e->reclaim);
  return r;
}

int cow_keep_stored(struct cow_engine *e, const struct cow_stored *stored, size_t count) {
  return e->ledger ? cow_ledger_commit(e->ledger, cow_epoch_now(e), stored, count, atomic_load(&e->kept_count) > 0)
                   : 0;
}

int cow_keep_record(struct cow_engine *e, const struct cow_arena_shadow *s, enum cow_disk_state state) {
  if (atomic_load(&s->kept) != COW_KEPT_RECORDED)
    return 0;
  return cow_ledger_record(e->ledger, (size_t)(s - e->arena->header->shadows), state);
}

bool cow_keep_before_writes(struct cow_engine *e, const struct cow_witness_write *writes, size_t count) {
  bool touches = false;
  for (size_t i = 0; e->ledger && i < count; i++)
    touches = touches || cow_witness_touches(writes[i].offset_bytes, writes[i].length_bytes);
  if (touches)
    cow_witness_before(e->ledger, writes, count, atomic_load(&e->kept_count) > 0);
  return touches;
}

/* One slot, or a part of it. */
static int read_slot(struct cow_engine *e, uint32_t slot, uint64_t offset_bytes, unsigned char *to, size_t length) {
  _Alignas(COW_BUFFER_ALIGNMENT) unsigned char whole[COW_CHUNK_BYTES_MAX];
  const uint32_t chunk_bytes = e->geometry.chunk_bytes;
  unsigned char *at = length == chunk_bytes ? to : whole;
  int r = cow_storage_read(e->storage, slot, 0, at, chunk_bytes);
  if (r < 0)
    return r;
  if (!cow_ledger_verify(e->ledger, slot, at))
    return -EIO;
  if (at == whole)
    memcpy(to, whole + offset_bytes, length);
  return 0;
}

int cow_keep_read(struct cow_engine *e, uint32_t slot, uint64_t offset_bytes, void *buffer, size_t length_bytes) {
  const uint32_t chunk_bytes = e->geometry.chunk_bytes;
  int r = 0;
  if (!e->ledger)
    return cow_storage_read(e->storage, slot, offset_bytes, buffer, length_bytes);
  for (size_t done = 0; done < length_bytes && r >= 0; slot++, offset_bytes = 0) {
    size_t rest = chunk_bytes - offset_bytes, left = length_bytes - done, part = left < rest ? left : rest;
    r = read_slot(e, slot, offset_bytes, (unsigned char *)buffer + done, part);
    done += part;
  }
  return r;
}
