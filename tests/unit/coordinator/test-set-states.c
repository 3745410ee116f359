/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of a set's moves: every state × event pair is decided, and there is a way to an end from everywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "coordinator/set-states.h"

#include <string.h>

static void test_names(void **state) {
  (void)state;
  for (int s = 0; s < SET_STATE_MAX; s++) {
    const char *name = set_state_name((enum set_state)s);
    assert_non_null(name);
    assert_int_equal(set_state_from_name(name), s);
    for (int t = 0; t < s; t++)
      assert_string_not_equal(name, set_state_name((enum set_state)t));
  }
  assert_int_equal(set_state_from_name("no such state"), SET_STATE_INVALID);
}

/* The legal moves, as a text that a change of the table has to change with intent. */
static void test_every_pair(void **state) {
  (void)state;
  for (int s = 0; s < SET_STATE_MAX; s++)
    for (int e = 0; e < SET_EVENT_MAX; e++) {
      enum set_state from = (enum set_state)s, to = set_states_next(from, (enum set_event)e);
      if (e == SET_EVENT_NONE)
        assert_int_equal(to, SET_STATE_INVALID);
      if (to == SET_STATE_INVALID)
        continue;
      assert_true(to >= 0 && to < SET_STATE_MAX);
      assert_int_not_equal(to, from);
      /* Volumes that may be frozen are thawed before anything else is done. */
      if (set_state_held(from) && !set_state_held(to))
        assert_true(from == SET_RELEASING || from == SET_RELEASING_AGAIN || from == SET_RELEASING_FAILED);
      /* Writers that may be frozen hear thaw or abort before they are left alone. */
      if (set_state_writers_frozen(from) && !set_state_writers_frozen(to))
        assert_true(from == SET_THAWING || from == SET_ABORTING);
      /* A failure never leads to success. */
      if (e == SET_EVENT_FAILED || e == SET_EVENT_DEADLINE || e == SET_EVENT_CANCEL)
        assert_true(to == SET_ABORTING || to == SET_RELEASING_FAILED);
    }
}

static void test_final_states(void **state) {
  (void)state;
  for (int e = 0; e < SET_EVENT_MAX; e++) {
    assert_int_equal(set_states_next(SET_ENDED, (enum set_event)e), SET_STATE_INVALID);
    assert_int_equal(set_states_next(SET_FAILED, (enum set_event)e), SET_STATE_INVALID);
  }
  assert_true(set_state_final(SET_READY) && set_state_final(SET_ENDED) && set_state_final(SET_FAILED));
}

/* From every state that is not final, done events alone lead to a final one, and failures lead to FAILED. */
static void test_every_state_ends(void **state) {
  (void)state;
  for (int s = 0; s < SET_STATE_MAX; s++) {
    enum set_state at = (enum set_state)s;
    int steps = 0;
    if (at == SET_NEW)
      at = set_states_next(at, SET_EVENT_START);
    while (!set_state_final(at) && steps++ < SET_STATE_MAX) {
      at = set_states_next(at, SET_EVENT_DONE);
      assert_int_not_equal(at, SET_STATE_INVALID);
    }
    assert_true(set_state_final(at));
  }
}

/* Whatever can fail can be told so: each working state before READY has a row for failed. */
static void test_failures_have_rows(void **state) {
  (void)state;
  for (int s = SET_GATHERING; s <= SET_PUBLISHING; s++)
    assert_int_not_equal(set_states_next((enum set_state)s, SET_EVENT_FAILED), SET_STATE_INVALID);
  for (enum set_state s = SET_HOLDING; s <= SET_COMMITTING; s++) {
    assert_int_equal(set_states_next(s, SET_EVENT_FAILED), SET_RELEASING_FAILED);
    assert_int_equal(set_states_next(s, SET_EVENT_DEADLINE), SET_RELEASING_FAILED);
  }
}

static void test_the_whole_way(void **state) {
  (void)state;
  static const enum set_state way[] = {
      SET_GATHERING,      SET_RESOLVING,     SET_QUEUED,  SET_PREPARING_BACKUP, SET_PREPARING, SET_PREPARING_SNAPSHOT,
      SET_FREEZING,       SET_PRECOMMITTING, SET_HOLDING, SET_COMMITTING,       SET_RELEASING, SET_THAWING,
      SET_POSTCOMMITTING, SET_POST_SNAPSHOT, SET_SEALING, SET_PUBLISHING,       SET_READY};
  enum set_state at = set_states_next(SET_NEW, SET_EVENT_START);
  for (size_t i = 0; i < sizeof way / sizeof way[0]; i++) {
    assert_int_equal(at, way[i]);
    if (at != SET_READY)
      at = set_states_next(at, SET_EVENT_DONE);
  }
  assert_int_equal(set_states_next(SET_COMMITTING, SET_EVENT_AGAIN), SET_RELEASING_AGAIN);
  assert_int_equal(set_states_next(SET_RELEASING_AGAIN, SET_EVENT_DONE), SET_PRECOMMITTING);
  assert_int_equal(set_states_next(SET_POSTCOMMITTING, SET_EVENT_AGAIN), SET_REWINDING);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_every_pair),
      cmocka_unit_test(test_final_states),
      cmocka_unit_test(test_every_state_ends),
      cmocka_unit_test(test_failures_have_rows),
      cmocka_unit_test(test_the_whole_way),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
