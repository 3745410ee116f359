/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/shadows.h"

#include <errno.h>
#include <string.h>

static const char *const state_names[COW_SHADOW_STATES] = {"free", "begun", "live", "dropped", "deleting"};

static const struct move {
  enum cow_shadow_state from;
  enum cow_shadow_event event;
  enum cow_shadow_state to;
} moves[] = {
    {COW_SHADOW_FREE, COW_SHADOW_EVENT_BEGIN, COW_SHADOW_BEGUN},
    {COW_SHADOW_BEGUN, COW_SHADOW_EVENT_COMMIT, COW_SHADOW_LIVE},
    {COW_SHADOW_BEGUN, COW_SHADOW_EVENT_ABORT, COW_SHADOW_FREE},
    {COW_SHADOW_LIVE, COW_SHADOW_EVENT_DROP, COW_SHADOW_DROPPED},
    {COW_SHADOW_LIVE, COW_SHADOW_EVENT_DELETE, COW_SHADOW_DELETING},
    {COW_SHADOW_DROPPED, COW_SHADOW_EVENT_DELETE, COW_SHADOW_DELETING},
    {COW_SHADOW_DELETING, COW_SHADOW_EVENT_RECLAIMED, COW_SHADOW_FREE},
};

int cow_shadow_next(enum cow_shadow_state state, enum cow_shadow_event event) {
  for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++)
    if (moves[i].from == state && moves[i].event == event)
      return (int)moves[i].to;
  return -EINVAL;
}

int cow_shadow_move(struct cow_arena_shadow *s, enum cow_shadow_event event) {
  int to = cow_shadow_next(cow_shadow_state_of(s), event);
  if (to < 0)
    return to;
  atomic_store_explicit(&s->state, (uint32_t)to, memory_order_release);
  return 0;
}

struct cow_arena_shadow *cow_shadows_find(struct cow_arena_header *h, const char *id) {
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++)
    if (cow_shadow_state_of(&h->shadows[i]) != COW_SHADOW_FREE && strcmp(h->shadows[i].id, id) == 0)
      return &h->shadows[i];
  return NULL;
}

struct cow_arena_shadow *cow_shadows_find_free(struct cow_arena_header *h) {
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++)
    if (cow_shadow_state_of(&h->shadows[i]) == COW_SHADOW_FREE)
      return &h->shadows[i];
  return NULL;
}

static struct cow_arena_shadow *extreme(struct cow_arena_header *h, uint32_t but, bool newest) {
  struct cow_arena_shadow *found = NULL;
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    struct cow_arena_shadow *s = &h->shadows[i];
    if (cow_shadow_state_of(s) == COW_SHADOW_LIVE && s->number != but &&
        (!found || (s->number > found->number) == newest))
      found = s;
  }
  return found;
}

struct cow_arena_shadow *cow_shadows_oldest(struct cow_arena_header *h, uint32_t but) {
  return extreme(h, but, false);
}
struct cow_arena_shadow *cow_shadows_newest(struct cow_arena_header *h, uint32_t but) {
  return extreme(h, but, true);
}

/* What is at root goes down to where both below it are less: heapsort. qsort() may get memory, on the way of a write.
 */
static void sift(uint32_t *numbers, size_t root, size_t count) {
  uint32_t moving = numbers[root];
  for (size_t below; (below = 2 * root + 1) < count; root = below) {
    below += below + 1 < count && numbers[below + 1] > numbers[below];
    if (numbers[below] <= moving)
      break;
    numbers[root] = numbers[below];
  }
  numbers[root] = moving;
}

static void sort(uint32_t *numbers, size_t count) {
  for (size_t i = count / 2; i > 0; i--)
    sift(numbers, i - 1, count);
  for (size_t end = count; end > 1; end--) {
    uint32_t greatest = numbers[0];
    numbers[0] = numbers[end - 1];
    numbers[end - 1] = greatest;
    sift(numbers, 0, end - 1);
  }
}

size_t cow_shadows_needing(struct cow_arena_header *h, uint32_t numbers[COW_SHADOWS_MAX]) {
  size_t count = 0;
  for (size_t i = 0; i < COW_SHADOWS_MAX; i++) {
    enum cow_shadow_state state = cow_shadow_state_of(&h->shadows[i]);
    if (state == COW_SHADOW_LIVE || state == COW_SHADOW_BEGUN)
      numbers[count++] = h->shadows[i].number;
  }
  sort(numbers, count);
  return count;
}

bool cow_shadows_any_between(const uint32_t *numbers, size_t count, uint32_t after, uint32_t upto) {
  size_t low = 0, high = count; /* the first number > after */
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (numbers[middle] > after)
      high = middle;
    else
      low = middle + 1;
  }
  return low < count && numbers[low] <= upto;
}

const char *cow_shadow_state_name(enum cow_shadow_state state) {
  return (unsigned)state < COW_SHADOW_STATES ? state_names[state] : "unknown";
}
