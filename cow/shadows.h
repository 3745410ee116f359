/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shadow copies of one engine: a table in the arena, moved by events (DESIGN.md, "Shadow copy states").
 */
#ifndef COW_SHADOWS_H
#define COW_SHADOWS_H

#include "cow/arena.h"

#include <stdbool.h>
#include <stddef.h>

enum cow_shadow_event {
  COW_SHADOW_EVENT_BEGIN,
  COW_SHADOW_EVENT_COMMIT,
  COW_SHADOW_EVENT_ABORT,
  COW_SHADOW_EVENT_DROP,
  COW_SHADOW_EVENT_DELETE,
  COW_SHADOW_EVENT_RECLAIMED,
  COW_SHADOW_EVENTS,
};

/* The state after event, or -EINVAL for a move that the table does not have. Changes nothing. */
int cow_shadow_next(enum cow_shadow_state state, enum cow_shadow_event event);

/* Makes the move in one store. -EINVAL as above. */
int cow_shadow_move(struct cow_arena_shadow *s, enum cow_shadow_event event);

static inline enum cow_shadow_state cow_shadow_state_of(const struct cow_arena_shadow *s) {
  return (enum cow_shadow_state)atomic_load_explicit(&((struct cow_arena_shadow *)s)->state, memory_order_acquire);
}

/* By id, or NULL. Not the free ones. */
struct cow_arena_shadow *cow_shadows_find(struct cow_arena_header *h, const char *id);
struct cow_arena_shadow *cow_shadows_find_free(struct cow_arena_header *h);

/* The live one with the least (oldest) or greatest number but this one (0: of all), or NULL. */
struct cow_arena_shadow *cow_shadows_oldest(struct cow_arena_header *h, uint32_t but);
struct cow_arena_shadow *cow_shadows_newest(struct cow_arena_header *h, uint32_t but);

/* Numbers of the live ones and of one that is about to be, in ascending order; returns how many. */
size_t cow_shadows_needing(struct cow_arena_header *h, uint32_t numbers[COW_SHADOWS_MAX]);

/* Is a live number in (after, upto]? */
bool cow_shadows_any_between(const uint32_t *numbers, size_t count, uint32_t after, uint32_t upto);

const char *cow_shadow_state_name(enum cow_shadow_state state);

#endif
