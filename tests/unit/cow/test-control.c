/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The protocol between commands and the server of an attached volume: every limit of cow/serve/client.h is reached,
 * and one more is refused, cut or told to go on, never lost without a word.
 */
#include "common/cleanup.h"
#include "common/json.h"
#include "cow/serve/control.h"
#include "tests/unit/cow/engine-rig.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

enum { TIMEOUT_MS = 60000 };

struct control_rig {
  struct rig r;
  struct seat *seat;
  struct control *control;
  struct route *route;
};

static void set_up_control(struct control_rig *c, uint64_t chunks) {
  struct umbra_error err = {0};
  struct cow_geometry g = {.volume_bytes = chunks * CHUNK, .chunk_bytes = CHUNK};
  *c = (struct control_rig){.r = {.storage_bytes = chunks * CHUNK, .policy = COW_FULL_DROP_OLDEST},
                            .seat = calloc(1, sizeof *c->seat)};
  c->r.origin_fd = file_of("origin", chunks * CHUNK);
  c->r.storage_fd = file_of("storage", 0);
  assert_int_equal(cow_arena_create(&c->r.arena, &g, (uint32_t)chunks, COW_SLOTS_MAX, &err), 0);
  start_server(&c->r);
  c->control = control_new(c->seat);
  assert_non_null(c->control);
  control_set_engine(c->control, c->r.engine);
  c->route = route_new(c->seat, c->r.engine);
  assert_non_null(c->route);
  control_set_route(c->control, c->route);
}

static void tear_down_control(struct control_rig *c) {
  control_stop(c->control);
  route_free(c->route);
  tear_down(&c->r);
  free(c->seat);
}

/* The caller's. */
static json_t *ask(struct control_rig *c, json_t *request) {
  struct control_asker asker = {.fd = -1};
  json_t *reply = control_answer(c->control, request, &asker);
  json_decref(request);
  assert_non_null(reply);
  if (json_object_get(reply, "error"))
    fail_msg("%s", json_string_value(json_object_get(json_object_get(reply, "error"), "message")));
  /* It also has to fit a message. */
  assert_in_range(json_dumpb(reply, NULL, 0, JSON_COMPACT), 1, COW_MESSAGE_BYTES_MAX);
  return reply;
}

static void lists_come_in_parts(void **state) {
  (void)state;
  struct control_rig c;
  set_up_control(&c, 64);
  const size_t shadows = 2 * COW_LIST_MAX + 1;
  for (size_t i = 0; i < shadows; i++) {
    char id[37];
    (void)snprintf(id, sizeof id, "00000000-0000-0000-0000-%012zu", i);
    assert_int_equal(make_shadow(c.r.engine, id), 0);
  }
  /* With the longest reasons that there can be. */
  cow_engine_drop_all(c.r.engine, "a reason that goes on and on, since whoever reads it at three in the night needs "
                                  "every word of it, and more");
  json_int_t after = 0;
  size_t seen = 0;
  for (unsigned part = 0; part < 3; part++) {
    CLEANUP_JSON json_t *reply = ask(&c, json_pack("{s:s, s:I}", "do", "list", "after", after));
    json_t *list = json_object_get(reply, "shadows");
    assert_int_equal(json_array_size(list), part < 2 ? COW_LIST_MAX : 1);
    assert_int_equal(json_is_true(json_object_get(reply, "more")), part < 2);
    seen += json_array_size(list);
    after = json_integer_value(json_object_get(json_array_get(list, json_array_size(list) - 1), "number"));
  }
  assert_int_equal(seen, shadows);
  tear_down_control(&c);
}

static void ranges_come_in_parts(void **state) {
  (void)state;
  struct control_rig c;
  const uint64_t ranges = COW_RANGES_MAX + 3;
  set_up_control(&c, 2 * ranges);
  CLEANUP_FREE unsigned char *b = filled(1, CHUNK);
  assert_int_equal(make_shadow(c.r.engine, "a"), 0);
  for (uint64_t i = 0; i < ranges; i++)
    assert_int_equal(cow_engine_write(c.r.engine, b, CHUNK, 2 * i * CHUNK), 0);
  json_int_t start = 0;
  for (unsigned part = 0; part < 2; part++) {
    CLEANUP_JSON json_t *reply =
        ask(&c, json_pack("{s:s, s:s, s:I}", "do", "diff", "from", "a", "start_bytes", start));
    json_t *list = json_object_get(reply, "ranges");
    assert_int_equal(json_array_size(list), part == 0 ? COW_RANGES_MAX : 3);
    assert_int_equal(json_is_true(json_object_get(reply, "more")), part == 0);
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    start = json_integer_value(json_array_get(last, 0)) + json_integer_value(json_array_get(last, 1));
  }
  assert_int_equal(start, (json_int_t)(2 * (ranges - 1) + 1) * CHUNK);
  tear_down_control(&c);
}

static void the_last_events_are_kept(void **state) {
  (void)state;
  struct control_rig c;
  set_up_control(&c, 64);
  const unsigned more = 7;
  for (unsigned i = 0; i < COW_EVENTS_KEPT + more; i++) {
    struct cow_event event = {.kind = COW_EVENT_DROPPED};
    (void)snprintf(event.why, sizeof event.why, "reason %u, %070d", i, 0);
    control_note_event(&event, c.control);
  }
  CLEANUP_JSON json_t *reply = ask(&c, json_pack("{s:s, s:i}", "do", "events", "since", 0));
  json_t *events = json_object_get(reply, "events");
  assert_int_equal(json_array_size(events), COW_EVENTS_KEPT);
  assert_int_equal(json_integer_value(json_object_get(json_array_get(events, 0), "sequence")), more);
  const char *why = json_string_value(json_object_get(json_array_get(events, COW_EVENTS_KEPT - 1), "why"));
  assert_int_equal(strncmp(why, "reason 262,", 11), 0);
  CLEANUP_JSON json_t *rest = ask(&c, json_pack("{s:s, s:i}", "do", "events", "since", COW_EVENTS_KEPT));
  assert_int_equal(json_array_size(json_object_get(rest, "events")), more);
  tear_down_control(&c);
}

/* Our end of a connection that the server has. */
static int connect_to(struct control_rig *c) {
  int ends[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  control_serve(c->control, ends[1]);
  return ends[0];
}

/* What comes, as text; 0: the other end closed. */
static size_t hear(int fd, char *text, size_t bytes) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  assert_int_equal(poll(&p, 1, TIMEOUT_MS), 1);
  ssize_t n = recv(fd, text, bytes - 1, 0);
  text[n > 0 ? n : 0] = '\0';
  return n > 0 ? (size_t)n : 0;
}

static void connections_have_a_limit(void **state) {
  (void)state;
  struct control_rig c;
  struct umbra_error err = {0};
  int fds[COW_CONNECTIONS_MAX];
  set_up_control(&c, 64);
  for (size_t i = 0; i < COW_CONNECTIONS_MAX; i++) {
    fds[i] = connect_to(&c);
    if (cow_client_call(fds[i], json_pack("{s:s}", "do", "status"), TIMEOUT_MS, NULL, &err) < 0)
      fail_msg("%s", err.message);
  }
  /* Whether it asks before or after it is turned away: it hears why. */
  CLEANUP_CLOSE int one_more = connect_to(&c);
  assert_int_equal(cow_client_call(one_more, json_pack("{s:s}", "do", "status"), TIMEOUT_MS, NULL, &err), -EBUSY);
  assert_int_equal(err.reason, UMBRA_REASON_BUSY);
  assert_non_null(strstr(err.message, "as many connections as it takes"));
  int ends[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  static const char early[] = "{\"do\":\"status\"}";
  assert_int_equal(send(ends[0], early, strlen(early), 0), strlen(early));
  control_serve(c.control, ends[1]);
  assert_int_equal(cow_client_call(ends[0], json_pack("{s:s}", "do", "status"), TIMEOUT_MS, NULL, &err), -EBUSY);
  (void)close(ends[0]);
  /* A place that was given back is somebody's again: a moment after the close. */
  (void)close(fds[3]);
  int r = -EBUSY;
  for (unsigned i = 0; r == -EBUSY && i < 1000; i++) {
    fds[3] = connect_to(&c);
    r = cow_client_call(fds[3], json_pack("{s:s}", "do", "status"), TIMEOUT_MS, NULL, &err);
    if (r == -EBUSY)
      (void)close(fds[3]);
    (void)poll(NULL, 0, r == -EBUSY ? 10 : 0);
  }
  assert_int_equal(r, 0);
  for (size_t i = 0; i < COW_CONNECTIONS_MAX; i++)
    (void)close(fds[i]);
  tear_down_control(&c);
}

static void messages_have_a_limit(void **state) {
  (void)state;
  struct control_rig c;
  struct umbra_error err = {0};
  set_up_control(&c, 64);
  CLEANUP_CLOSE int fd = connect_to(&c);
  static char message[COW_MESSAGE_BYTES_MAX + 1], text[COW_MESSAGE_BYTES_MAX + 1];
  static const char status[] = "{\"do\":\"status\"";
  /* As long as one may be. */
  memset(message, ' ', sizeof message);
  memcpy(message, status, strlen(status));
  message[COW_MESSAGE_BYTES_MAX - 1] = '}';
  assert_int_equal(send(fd, message, COW_MESSAGE_BYTES_MAX, 0), COW_MESSAGE_BYTES_MAX);
  assert_true(hear(fd, text, sizeof text) > 0);
  assert_int_equal(strncmp(text, "{\"ok\":true", 10), 0);
  /* A byte more: what is left of it is no message, and the connection goes on. */
  message[COW_MESSAGE_BYTES_MAX - 1] = ' ';
  message[COW_MESSAGE_BYTES_MAX] = '}';
  assert_int_equal(send(fd, message, sizeof message, 0), sizeof message);
  assert_true(hear(fd, text, sizeof text) > 0);
  assert_non_null(strstr(text, "\"error\""));
  assert_int_equal(cow_client_call(fd, json_pack("{s:s}", "do", "status"), TIMEOUT_MS, NULL, &err), 0);
  /* Nor is one sent that is too long. */
  memset(message, 'x', sizeof message - 1);
  message[sizeof message - 1] = '\0';
  assert_int_equal(cow_client_call(fd, json_pack("{s:s}", "do", message), TIMEOUT_MS, NULL, &err), -EINVAL);
  tear_down_control(&c);
}

static void set_up_inside(struct control_rig *c) {
  set_up_control(c, 64);
  stop_server(&c->r);
  route_free(c->route);
  c->r.inside = true;
  c->seat->storage_inside = 1;
  start_server(&c->r);
  control_set_engine(c->control, c->r.engine);
  c->route = route_new(c->seat, c->r.engine);
  control_set_route(c->control, c->route);
}

static int call(int fd, const char *verb, const char *id, bool *ret_certain) {
  CLEANUP_JSON json_t *reply = NULL;
  struct umbra_error err = {0};
  int r = cow_client_call(fd,
                          json_pack("{s:s, s:s, s:[[i, i], [i, i]]}", "do", verb, "id", id, "ranges", 8 * (int)CHUNK,
                                    4 * (int)CHUNK, 20 * (int)CHUNK, 4 * (int)CHUNK),
                          TIMEOUT_MS, &reply, &err);
  if (ret_certain)
    *ret_certain = json_get_boolean_or(reply, "certain", false);
  return r;
}

/* No instant before somebody has asked, since its begin, where the storage inside the volume lies (E24). */
static void storage_inside_is_asked_for_each_time(void **state) {
  (void)state;
  struct control_rig c;
  bool certain;
  set_up_inside(&c);
  CLEANUP_CLOSE int fd = connect_to(&c);
  assert_int_equal(call(fd, "ranges", "", NULL), -EPROTO);
  assert_int_equal(call(fd, "begin", "a", NULL), 0);
  assert_int_equal(call(fd, "commit", "a", NULL), -EPROTO);
  assert_int_equal(call(fd, "ranges", "", &certain), 0);
  assert_false(certain);
  assert_int_equal(call(fd, "commit", "a", NULL), -EPROTO);
  assert_int_equal(call(fd, "ranges", "", &certain), 0);
  assert_true(certain);
  assert_int_equal(call(fd, "commit", "a", NULL), 0);
  assert_int_equal(call(fd, "begin", "b", NULL), 0);
  assert_int_equal(call(fd, "commit", "b", NULL), -EPROTO);
  assert_int_equal(call(fd, "ranges", "", &certain), 0);
  assert_true(certain);
  assert_int_equal(call(fd, "commit", "b", NULL), 0);
  tear_down_control(&c);
}

/* One connection makes one at a time, and what it began goes with it. */
static void what_was_begun_goes_with_its_connection(void **state) {
  (void)state;
  struct control_rig c;
  struct umbra_error err = {0};
  set_up_control(&c, 64);
  int fd = connect_to(&c);
  assert_int_equal(cow_client_call(fd, json_pack("{s:s, s:s}", "do", "begin", "id", "a"), TIMEOUT_MS, NULL, &err), 0);
  assert_int_equal(cow_client_call(fd, json_pack("{s:s, s:s}", "do", "begin", "id", "b"), TIMEOUT_MS, NULL, &err),
                   -EBUSY);
  assert_int_equal(cow_client_commit(fd, "b", false, TIMEOUT_MS), -EIO);
  (void)close(fd);
  int r = -EEXIST;
  CLEANUP_CLOSE int other = connect_to(&c);
  for (unsigned i = 0; r == -EEXIST && i < 1000; i++) {
    r = cow_client_call(other, json_pack("{s:s, s:s}", "do", "begin", "id", "a"), TIMEOUT_MS, NULL, &err);
    (void)poll(NULL, 0, r == -EEXIST ? 10 : 0);
  }
  assert_int_equal(r, 0);
  assert_int_equal(cow_client_commit(other, "a", false, TIMEOUT_MS), 0);
  tear_down_control(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lists_come_in_parts),      cmocka_unit_test(ranges_come_in_parts),
      cmocka_unit_test(the_last_events_are_kept), cmocka_unit_test(connections_have_a_limit),
      cmocka_unit_test(messages_have_a_limit),    cmocka_unit_test(storage_inside_is_asked_for_each_time),
      cmocka_unit_test(what_was_begun_goes_with_its_connection),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
