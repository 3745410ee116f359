/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cow/serve/control.h"

#include "common/cleanup.h"
#include "cow/shadows.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct connection {
  struct control *control;
  int fd; /* -1: free */
};

struct control {
  const struct seat *seat;
  struct cow_engine *engine;
  struct route *route;
  pthread_mutex_t lock; /* connections; a leaf, as is events_lock */
  pthread_cond_t change;
  struct connection connections[COW_CONNECTIONS_MAX];
  unsigned open;

  pthread_mutex_t events_lock;
  struct cow_event events[COW_EVENTS_KEPT];
  uint64_t event_count; /* ever */
};

struct control *control_new(const struct seat *seat) {
  struct control *c = calloc(1, sizeof *c);
  if (!c)
    return NULL;
  c->seat = seat;
  pthread_mutex_init(&c->lock, NULL);
  pthread_cond_init(&c->change, NULL);
  pthread_mutex_init(&c->events_lock, NULL);
  for (size_t i = 0; i < COW_CONNECTIONS_MAX; i++)
    c->connections[i] = (struct connection){.control = c, .fd = -1};
  return c;
}

void control_set_engine(struct control *c, struct cow_engine *engine) { c->engine = engine; }

void control_set_route(struct control *c, struct route *route) { c->route = route; }

void control_note_event(const struct cow_event *event, void *control) {
  struct control *c = control;
  pthread_mutex_lock(&c->events_lock);
  c->events[c->event_count++ % COW_EVENTS_KEPT] = *event;
  pthread_mutex_unlock(&c->events_lock);
  if (event->kind == COW_EVENT_DROPPED && c->route) /* none yet: told of at the start */
    route_wake(c->route);
}

static json_t *failure(int code, const struct umbra_error *err) {
  return json_pack("{s:{s:i, s:i, s:s%}}", "error", "code", code, "reason", (int)err->reason, "message", err->message,
                   strlen(err->message));
}

static const char *id_of(const json_t *request) {
  const char *id = json_string_value(json_object_get(request, "id"));
  return id && strlen(id) < 37 ? id : "";
}

/* Each verb: 0 with *ret (NULL: nothing but ok), or negative with *err. */

static int do_begin(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                    struct umbra_error *err) {
  (void)ret;
  if (asker->begun[0] != '\0')
    return error_set(err, -EBUSY, UMBRA_REASON_BUSY, "this connection is making shadow copy %s", asker->begun);
  int r = route_require_engine(c->route, err);
  if (r < 0)
    return r;
  r = cow_engine_begin(c->engine, id_of(request), err);
  route_release(c->route);
  if (r < 0) {
    route_wake(c->route);
    return r;
  }
  if (json_is_true(json_object_get(request, "keep")))
    r = cow_engine_keep(c->engine, id_of(request), err);
  if (r >= 0 && json_is_true(json_object_get(request, "writable")))
    r = cow_engine_make_writable(c->engine, id_of(request), err);
  if (r >= 0) {
    (void)snprintf(asker->begun, sizeof asker->begun, "%s", id_of(request));
    asker->certain = false;
    return 0;
  }
  (void)cow_engine_abort(c->engine, id_of(request), NULL);
  route_wake(c->route);
  return r;
}

static int do_commit(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                     struct umbra_error *err) {
  (void)ret;
  if (asker->begun[0] == '\0' || strcmp(asker->begun, id_of(request)) != 0)
    return error_set(err, -EINVAL, UMBRA_REASON_BAD_STATE, "this connection has not begun shadow copy %s",
                     id_of(request));
  if (c->seat->storage_inside && !asker->certain)
    return error_set(err, -EPROTO, UMBRA_REASON_BAD_STATE,
                     "nobody has said where the storage inside the volume lies since shadow copy %s was begun",
                     asker->begun);
  int r = cow_engine_commit(c->engine, asker->begun, json_is_true(json_object_get(request, "held")));
  if (r < 0)
    return error_set(err, r, UMBRA_REASON_BAD_STATE, "shadow copy %s is not begun", asker->begun);
  asker->begun[0] = '\0';
  return 0;
}

static int do_abort(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                    struct umbra_error *err) {
  (void)ret;
  if (strcmp(asker->begun, id_of(request)) == 0)
    asker->begun[0] = '\0';
  int r = cow_engine_abort(c->engine, id_of(request), err);
  route_wake(c->route);
  return r;
}

static int do_settle(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                     struct umbra_error *err) {
  (void)asker;
  (void)ret;
  return cow_engine_settle(c->engine, id_of(request), err);
}

static int do_seal(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                   struct umbra_error *err) {
  (void)asker;
  (void)ret;
  return cow_engine_seal(c->engine, id_of(request), err);
}

static int do_ranges(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                     struct umbra_error *err) {
  const json_t *ranges = json_object_get(request, "ranges");
  size_t count = json_array_size(ranges);
  if (asker->begun[0] == '\0')
    return error_set(err, -EPROTO, UMBRA_REASON_BAD_STATE,
                     "where the storage lies counts only while a shadow copy is begun: until then writes may pass");
  if (count > COW_EXTENTS_MAX)
    return error_set(err, -EINVAL, UMBRA_REASON_INVALID, "more than %d ranges", (int)COW_EXTENTS_MAX);
  CLEANUP_FREE struct cow_extent_range *list = calloc(count + 1, sizeof *list);
  if (!list)
    return error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "taking ranges");
  for (size_t i = 0; i < count; i++) {
    const json_t *range = json_array_get(ranges, i);
    list[i].offset_bytes = (uint64_t)json_integer_value(json_array_get(range, 0));
    list[i].length_bytes = (uint64_t)json_integer_value(json_array_get(range, 1));
  }
  asker->certain = false;
  int r = cow_engine_use_ranges(c->engine, list, count, &asker->certain, err);
  if (r >= 0)
    *ret = json_pack("{s:b, s:b}", "ok", 1, "certain", asker->certain);
  return r < 0 || *ret ? r : error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "taking ranges");
}

static int do_delete(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                     struct umbra_error *err) {
  (void)asker;
  (void)ret;
  int r = cow_engine_delete(c->engine, id_of(request), json_is_true(json_object_get(request, "force")), err);
  route_wake(c->route);
  return r;
}

static int do_route(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                    struct umbra_error *err) {
  (void)request;
  (void)asker;
  (void)ret;
  return route_decide(c->route, err);
}

static int do_list(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                   struct umbra_error *err) {
  (void)asker;
  json_int_t after = json_integer_value(json_object_get(request, "after"));
  CLEANUP_FREE struct cow_shadow_info *all = calloc(COW_SHADOWS_MAX, sizeof *all);
  json_t *shadows = json_array();
  size_t count = all ? cow_engine_list(c->engine, all, COW_SHADOWS_MAX) : 0;
  bool more = false;
  for (size_t i = 0; i < count; i++) {
    if ((json_int_t)all[i].number <= after)
      continue;
    if ((more = json_array_size(shadows) >= COW_LIST_MAX))
      break;
    (void)json_array_append_new(
        shadows, json_pack("{s:s, s:i, s:I, s:s, s:s, s:i, s:b, s:b}", "id", all[i].id, "number", (int)all[i].number,
                           "created_ns", (json_int_t)all[i].created_ns, "state", cow_shadow_state_name(all[i].state),
                           "why", all[i].why, "open", (int)all[i].open_count, "persistent", all[i].kept, "writable",
                           all[i].writable));
  }
  *ret = json_pack("{s:b, s:o, s:b}", "ok", 1, "shadows", shadows, "more", more);
  return all && *ret ? 0 : error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "listing shadow copies");
}

static int count_dropped(struct control *c) {
  CLEANUP_FREE struct cow_shadow_info *all = calloc(COW_SHADOWS_MAX, sizeof *all);
  size_t count = all ? cow_engine_list(c->engine, all, COW_SHADOWS_MAX) : 0;
  int dropped = 0;
  for (size_t i = 0; i < count; i++)
    dropped += all[i].state == COW_SHADOW_DROPPED;
  return all ? dropped : -ENOMEM;
}

static int do_status(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                     struct umbra_error *err) {
  (void)request;
  (void)asker;
  struct cow_engine_status s;
  int dropped = count_dropped(c);
  if (dropped < 0)
    return error_set(err, dropped, UMBRA_REASON_INTERNAL, "describing the volume");
  const struct cow_geometry *g = cow_engine_geometry(c->engine);
  cow_engine_status(c->engine, &s);
  *ret = json_pack("{s:b, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:b, s:I, s:I, s:b, s:I, s:I, s:i, s:i, "
                   "s:i, s:i, s:i, s:i, s:b, s:I}",
                   "ok", 1, "name", c->seat->name, "origin", c->seat->origin, "device", c->seat->device, "storage",
                   c->seat->storage, "pid", (int)getpid(), "chunk_bytes", (int)g->chunk_bytes, "volume_bytes",
                   (json_int_t)g->volume_bytes, "used_bytes", (json_int_t)s.storage.used_bytes, "limit_bytes",
                   (json_int_t)s.storage.limit_bytes, "over_warning", s.storage.over_warning, "chunks_copied",
                   (json_int_t)s.chunks_copied, "chunks_left_out", (json_int_t)s.chunks_left_out, "free_known",
                   s.free_known, "bytes_written", (json_int_t)s.bytes_written, "memory_bytes",
                   (json_int_t)s.memory_bytes, "supervisor_pid", atomic_load(&c->seat->supervisor_pid), "servers",
                   (int)atomic_load(&c->seat->servers), "shadows", (int)s.shadows, "dropped", dropped, "shadows_max",
                   (int)COW_SHADOWS_MAX, "kept", (int)s.kept, "persistent", c->seat->storage_start_bytes > 0,
                   "overlay_bytes", (json_int_t)s.overlay_bytes);
  if (!*ret ||
      json_object_update_new(*ret,
                             json_pack("{s:s, s:s%, s:s}", "front", c->seat->front, "front_why", c->seat->front_why,
                                       strnlen(c->seat->front_why, sizeof c->seat->front_why), "front_device",
                                       c->seat->front_device)) < 0 ||
      json_object_update_new(
          *ret, json_pack("{s:b, s:b, s:I, s:b, s:s, s:b}", "inside", c->seat->storage_inside > 0, "has_ranges",
                          s.has_ranges, "wanted_bytes", (json_int_t)c->seat->storage_limit_bytes, "mapped",
                          atomic_load(&c->seat->mapped) != 0, "way", route_is_direct(c->route) ? "direct" : "engine",
                          "replaceable", atomic_load(&c->seat->front_seat.resends) != FRONT_RESENDS_NOT)) < 0) {
    json_decref(*ret);
    *ret = NULL;
  }
  return *ret ? 0 : error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "describing the volume");
}

struct ranges {
  json_t *array;
  uint64_t start;
  bool more;
};

static int add_range(uint64_t offset_bytes, uint64_t length_bytes, void *context) {
  struct ranges *r = context;
  if (offset_bytes < r->start)
    return 0;
  if (json_array_size(r->array) >= COW_RANGES_MAX) {
    r->more = true;
    return 1;
  }
  return json_array_append_new(r->array, json_pack("[I, I]", (json_int_t)offset_bytes, (json_int_t)length_bytes)) < 0
             ? -ENOMEM
             : 0;
}

static int do_diff(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                   struct umbra_error *err) {
  (void)asker;
  const char *from = json_string_value(json_object_get(request, "from"));
  struct ranges ranges = {.array = json_array(),
                          .start = (uint64_t)json_integer_value(json_object_get(request, "start_bytes"))};
  int r = cow_engine_difference(c->engine, from ? from : "", json_string_value(json_object_get(request, "to")),
                                add_range, &ranges, err);
  if (r < 0) {
    json_decref(ranges.array);
    return r;
  }
  *ret = json_pack("{s:b, s:o, s:b}", "ok", 1, "ranges", ranges.array, "more", ranges.more);
  return *ret ? 0 : error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "listing changes");
}

/* Who asked holds the volume's device: if he goes, others may use it. Stopping hangs up, too. */
static bool asker_is_there(void *context) {
  const struct control_asker *asker = context;
  struct pollfd p = {.fd = asker->fd, .events = POLLRDHUP};
  return asker->fd < 0 || poll(&p, 1, 0) <= 0 || (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0;
}

static int do_revert(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                     struct umbra_error *err) {
  uint64_t bytes = 0;
  int r = cow_engine_revert(c->engine, id_of(request), asker_is_there, asker, &bytes, err);
  if (r >= 0)
    *ret = json_pack("{s:b, s:I}", "ok", 1, "bytes", (json_int_t)bytes);
  return r;
}

static int do_events(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                     struct umbra_error *err) {
  (void)asker;
  static const char *const kinds[] = {[COW_EVENT_STORAGE_HIGH] = "storage-high",
                                      [COW_EVENT_DROPPED] = "dropped",
                                      [COW_EVENT_NOT_WRITTEN] = "not-written"};
  json_int_t since = json_integer_value(json_object_get(request, "since"));
  json_t *events = json_array();
  pthread_mutex_lock(&c->events_lock);
  uint64_t first = c->event_count > COW_EVENTS_KEPT ? c->event_count - COW_EVENTS_KEPT : 0;
  for (uint64_t i = first; i < c->event_count; i++) {
    const struct cow_event *e = &c->events[i % COW_EVENTS_KEPT];
    if ((json_int_t)i >= since)
      (void)json_array_append_new(events, json_pack("{s:I, s:s, s:s, s:s}", "sequence", (json_int_t)i, "kind",
                                                    kinds[e->kind], "shadow", e->shadow, "why", e->why));
  }
  pthread_mutex_unlock(&c->events_lock);
  *ret = json_pack("{s:b, s:o}", "ok", 1, "events", events);
  return *ret ? 0 : error_set(err, -ENOMEM, UMBRA_REASON_INTERNAL, "listing events");
}

static const struct verb {
  const char *name;
  int (*answer)(struct control *c, const json_t *request, struct control_asker *asker, json_t **ret,
                struct umbra_error *err);
} verbs[] = {
    {"ranges", do_ranges}, {"seal", do_seal},     {"begin", do_begin},   {"commit", do_commit}, {"abort", do_abort},
    {"delete", do_delete}, {"settle", do_settle}, {"list", do_list},     {"status", do_status},
    {"diff", do_diff},     {"revert", do_revert}, {"events", do_events}, {"route", do_route},
};

json_t *control_answer(struct control *c, const json_t *request, struct control_asker *asker) {
  struct umbra_error err = {0};
  const char *name = json_string_value(json_object_get(request, "do"));
  for (size_t i = 0; name && i < sizeof verbs / sizeof verbs[0]; i++)
    if (strcmp(verbs[i].name, name) == 0) {
      json_t *reply = NULL;
      int r = verbs[i].answer(c, request, asker, &reply, &err);
      if (r < 0)
        return failure(r, &err);
      return reply ? reply : json_pack("{s:b}", "ok", 1);
    }
  (void)error_set(&err, -EOPNOTSUPP, UMBRA_REASON_INVALID, "the server has no such verb");
  return failure(-EOPNOTSUPP, &err);
}

static bool answer_one(struct control *c, char *buffer, struct control_asker *asker) {
  ssize_t n = recv(asker->fd, buffer, COW_MESSAGE_BYTES_MAX, 0);
  if (n <= 0)
    return n < 0 && errno == EINTR;
  json_t *request = json_loadb(buffer, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
  json_t *reply = control_answer(c, request, asker);
  size_t bytes = reply ? json_dumpb(reply, buffer, COW_MESSAGE_BYTES_MAX, JSON_COMPACT) : 0;
  json_decref(request);
  json_decref(reply);
  return bytes > 0 && bytes <= COW_MESSAGE_BYTES_MAX && send(asker->fd, buffer, bytes, MSG_NOSIGNAL) >= 0;
}

static void *serve_connection(void *context) {
  struct connection *mine = context;
  struct control *c = mine->control;
  struct control_asker asker = {.fd = mine->fd};
  CLEANUP_FREE char *buffer = malloc(COW_MESSAGE_BYTES_MAX);
  while (buffer && answer_one(c, buffer, &asker))
    ;
  if (asker.begun[0] != '\0') {
    (void)cow_engine_abort(c->engine, asker.begun, NULL);
    route_wake(c->route);
  }
  pthread_mutex_lock(&c->lock);
  (void)close(mine->fd);
  mine->fd = -1;
  c->open--;
  pthread_cond_broadcast(&c->change);
  pthread_mutex_unlock(&c->lock);
  return NULL;
}

void control_serve(struct control *c, int fd) {
  pthread_t thread;
  pthread_attr_t detached;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  pthread_mutex_lock(&c->lock);
  struct connection *mine = NULL;
  for (size_t i = 0; i < COW_CONNECTIONS_MAX && !mine; i++)
    if (c->connections[i].fd < 0)
      mine = &c->connections[i];
  if (mine) {
    mine->fd = fd;
    c->open++;
    if (pthread_create(&thread, &detached, serve_connection, mine) != 0) {
      mine->fd = -1;
      c->open--;
      mine = NULL;
    }
  }
  pthread_mutex_unlock(&c->lock);
  pthread_attr_destroy(&detached);
  if (!mine) {
    static const char busy[] = "{\"error\":{\"code\":-16,\"reason\":17,\"message\":\"the volume's server has as many "
                               "connections as it takes\"}}";
    (void)send(fd, busy, sizeof busy - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(fd);
  }
}

void control_stop(struct control *c) {
  pthread_mutex_lock(&c->lock);
  for (size_t i = 0; i < COW_CONNECTIONS_MAX; i++)
    if (c->connections[i].fd >= 0)
      (void)shutdown(c->connections[i].fd, SHUT_RDWR);
  while (c->open > 0)
    pthread_cond_wait(&c->change, &c->lock);
  pthread_mutex_unlock(&c->lock);
  pthread_mutex_destroy(&c->lock);
  pthread_mutex_destroy(&c->events_lock);
  pthread_cond_destroy(&c->change);
  free(c);
}
