/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/calls.h"

#include "daemon/sets.h"

#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void call_free(struct call *c) {
  struct service *s = c->service;
  for (struct call **at = &s->calls; *at; at = &(*at)->next)
    if (*at == c) {
      *at = c->next;
      s->call_count -= c->sender != NULL;
      s->ordinary_count -= c->ordinary;
      break;
    }
  sd_bus_slot_unref(c->question);
  sd_bus_track_unref(c->track);
  sd_bus_message_unref(c->message);
  json_decref(c->request);
  free(c->sender);
  free(c);
}

void calls_free_all(struct service *s) {
  while (s->calls)
    call_free(s->calls);
}

struct call *service_find_call(struct service *s, int64_t number) {
  struct call *c = s->calls;
  while (c && c->number != number)
    c = c->next;
  return c;
}

void call_fail(struct call *c, enum umbra_reason reason, const char *message) {
  char name[BUS_ERROR_BYTES];
  if (!c->message)
    return;
  (void)sd_bus_reply_method_errorf(c->message, bus_error_name(reason, name), "%s", message);
  c->message = sd_bus_message_unref(c->message);
}

static int send_to_host(struct call *c) {
  if (c->waits)
    return 0;
  (void)json_object_set_new(c->request, "call", json_integer(c->number));
  if (c->to != 0)
    (void)json_object_set_new(c->request, "to", json_integer(c->to));
  (void)json_object_set_new(c->request, "trusted", json_boolean(c->trusted));
  (void)json_object_set_new(c->request, "user", json_integer((json_int_t)c->user));
  c->sent = true;
  return lines_send(c->service->host, c->request, -1);
}

void calls_stop(struct call *c) {
  if (!c->sent)
    return;
  static const char *const verbs[] = {"cancel", "release"};
  for (size_t i = 0; i < (c->auto_release ? 2 : 1); i++) {
    CLEANUP_JSON json_t *line = json_pack("{s:s, s:I, s:I}", "do", verbs[i], "call",
                                          (json_int_t)++c->service->last_number, "to", (json_int_t)c->number);
    (void)lines_send(c->service->host, line, -1);
  }
}

/* Nobody waits any more. What belongs to the sender goes; what was only asked is cancelled; a set that stays is made.
 */
static int on_sender_gone(sd_bus_track *track, void *context) {
  (void)track;
  struct call *c = context;
  c->message = sd_bus_message_unref(c->message);
  if (!c->sent) {
    call_free(c);
    return 1; /* 0 would have it called for ever */
  }
  /* A set that stays is its maker's wish as soon as he knows its name. */
  if (!c->creates || c->auto_release || !c->set_id[0])
    calls_stop(c);
  return 1;
}

static bool within_limits(const struct service *s, const char *sender, uid_t user, bool trusted,
                          sd_bus_error *error) {
  char name[BUS_ERROR_BYTES];
  size_t own = 0, users = 0;
  for (const struct call *c = s->calls; c; c = c->next) {
    own += c->sender && strcmp(c->sender, sender) == 0;
    users += c->ordinary && c->user == user;
  }
  const char *limit = own >= CALLS_SENDER_MAX                               ? "of one connection"
                      : s->call_count >= CALLS_MAX                          ? "in all"
                      : !trusted && users >= CALLS_USER_MAX                 ? "of one user"
                      : !trusted && s->ordinary_count >= CALLS_ORDINARY_MAX ? "of ordinary users"
                                                                            : NULL;
  if (limit)
    (void)sd_bus_error_setf(error, bus_error_name(UMBRA_REASON_LIMIT, name),
                            "too many requests at once %s: wait until one of them has ended", limit);
  return !limit;
}

static struct call *call_new(struct service *s, const char *sender, json_t *request, call_answer answer) {
  struct call *c = calloc(1, sizeof *c);
  char *copy = sender ? strdup(sender) : NULL;
  if (!c || !request || (sender && !copy)) {
    free(c);
    free(copy);
    json_decref(request);
    return NULL;
  }
  *c = (struct call){.service = s,
                     .number = ++s->last_number,
                     .sender = copy,
                     .request = request,
                     .answer = answer,
                     .next = s->calls};
  s->calls = c;
  s->call_count += sender != NULL;
  return c;
}

struct call *calls_begin_own(struct service *s, json_t *request, call_answer answer) {
  struct call *c = call_new(s, NULL, request, answer);
  if (!c)
    return NULL;
  c->trusted = true;
  if (send_to_host(c) < 0) {
    call_free(c);
    return NULL;
  }
  return c;
}

/* Is it allowed by now, or who has to be asked? */
static int authorise(struct call *c, const struct call_options *options, sd_bus_error *error) {
  char name[BUS_ERROR_BYTES];
  bool own = options->access == CALL_OWNER && c->user == options->owner;
  if (c->trusted || own || options->access == CALL_ANYBODY || options->access == CALL_READER)
    return send_to_host(c);
  if (authority_ask(c, "org.umbra.manage") >= 0)
    return 0;
  return sd_bus_error_setf(error, bus_error_name(UMBRA_REASON_ACCESS, name),
                           "only root and members of group '%s' may do this", c->service->group);
}

int calls_begin(struct service *s, sd_bus_message *m, const struct call_options *options, struct call **ret,
                sd_bus_error *error) {
  const char *sender = sd_bus_message_get_sender(m);
  uid_t user = (uid_t)-1;
  bool trusted = false;
  int r = sender ? authority_look(s, m, &user, &trusted) : -EINVAL;
  if (r >= 0 && !within_limits(s, sender, user, trusted, error))
    r = -EAGAIN;
  if (r < 0) {
    json_decref(options->request);
    return r;
  }
  struct call *c = call_new(s, sender, options->request, options->answer);
  if (!c)
    return -ENOMEM;
  c->message = sd_bus_message_ref(m);
  c->access = options->access;
  c->to = options->to;
  c->user = user;
  c->trusted = trusted;
  c->ordinary = !trusted;
  s->ordinary_count += c->ordinary;
  const char *verb = json_get_string_or(c->request, "do", "");
  c->creates = strcmp(verb, "create") == 0;
  c->waits = strcmp(verb, "wait") == 0;
  if (ret)
    *ret = c;
  r = sd_bus_track_new(s->bus, &c->track, on_sender_gone, c);
  if (r >= 0)
    r = sd_bus_track_add_sender(c->track, m);
  if (r >= 0)
    r = authorise(c, options, error);
  if (r < 0) {
    call_free(c);
    return r;
  }
  return 1;
}

void calls_authorised(struct call *c, bool yes) {
  c->question = sd_bus_slot_unref(c->question);
  if (!yes)
    call_fail(c, UMBRA_REASON_ACCESS,
              c->access == CALL_READER ? "this user cannot read the volume himself, and was not authorised"
                                       : "not root, not in the group, and not authorised");
  else {
    c->trusted = true;
    /* To look into a volume is all that was asked for: what its programs and devices could do is for those who may
     * everything. */
    if (c->access == CALL_READER) {
      (void)json_object_del(c->request, "suid");
      (void)json_object_del(c->request, "dev");
    }
  }
  if (!yes || send_to_host(c) < 0)
    call_free(c);
}

/* ---- reports ---- */

static void on_new(struct call *c, const json_t *line) {
  (void)snprintf(c->set_id, sizeof c->set_id, "%s", json_get_string_or(line, "id", ""));
  c->auto_release = json_get_boolean_or(line, "auto_release", false);
  const struct set_object *set = sets_begin(c->service, c);
  if (!set)
    calls_stop(c);
  else if (!c->wait && c->message) {
    (void)sd_bus_reply_method_return(c->message, "o", set_object_path(set));
    c->message = sd_bus_message_unref(c->message);
  }
  /* Who left before the set was there is not told of again. */
  if (c->sender && c->auto_release && sd_bus_track_count(c->track) == 0)
    calls_stop(c);
}

static void on_done(struct call *c, const json_t *line) {
  const json_t *result = json_object_get(line, "result");
  CLEANUP_CLOSE int fd = json_get_boolean_or(line, "descriptor", false) ? lines_take_fd(c->service->host) : -1;
  if (c->creates)
    sets_made(c->service, c->set_id, result);
  int r = 0;
  if (c->answer)
    r = c->answer(c, result, fd);
  else if (c->message)
    r = sd_bus_reply_method_return(c->message, NULL);
  if (r < 0)
    call_fail(c, UMBRA_REASON_INTERNAL, "the answer could not be made");
  c->message = sd_bus_message_unref(c->message);
}

static void on_failed(struct call *c, const json_t *line) {
  enum umbra_reason reason = (enum umbra_reason)json_get_integer_or(line, "reason", UMBRA_REASON_INTERNAL);
  const char *message = json_get_string_or(line, "message", "");
  if (c->creates && c->set_id[0])
    sets_failed(c->service, c->set_id, reason, message);
  if (!c->sender)
    log_warning("%s: %s", json_get_string_or(c->request, "do", ""), message);
  call_fail(c, reason, message);
}

/* A reader whom the host turned away may still be authorised: asked once. */
static bool ask_again(struct call *c, const json_t *line) {
  if (c->access != CALL_READER || c->trusted || c->asked || !c->message ||
      json_get_integer_or(line, "reason", 0) != UMBRA_REASON_ACCESS)
    return false;
  if (authority_ask(c, "org.umbra.mount") < 0)
    return false;
  /* What is still said of the process that was turned away is not of the next one. */
  c->number = ++c->service->last_number;
  c->sent = false;
  return true;
}

/* After these the catalogue is another, or what is mounted is. */
static bool changes_sets(const struct call *c) {
  static const char *const verbs[] = {"create", "delete", "delete-oldest", "mount", "unmount", "recover"};
  const char *verb = json_get_string_or(c->request, "do", "");
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
    if (strcmp(verbs[i], verb) == 0)
      return true;
  return false;
}

/* Who was asking the same process gets no answer from it any more. */
static void fail_askers(struct service *s, int64_t number, const char *message) {
  struct call *next;
  for (struct call *c = s->calls; c; c = next) {
    next = c->next;
    if (c->to != number)
      continue;
    call_fail(c, UMBRA_REASON_INTERNAL, message);
    call_free(c);
  }
}

static void on_gone(struct call *c, const json_t *line) {
  const char *how = json_get_string_or(line, "how", "");
  struct service *s = c->service;
  if (*how)
    log_warning("the process of request '%s' %s", json_get_string_or(c->request, "do", ""), how);
  char message[160];
  (void)snprintf(message, sizeof message, "the process that did it %s", *how ? how : "has ended");
  if (c->creates && c->set_id[0])
    sets_gone(s, c->set_id, message, c->wait || (c->auto_release && sd_bus_track_count(c->track) == 0));
  call_fail(c, UMBRA_REASON_INTERNAL, message);
  bool changes = changes_sets(c);
  int64_t number = c->number;
  call_free(c);
  fail_askers(s, number, message);
  if (changes)
    service_refresh_sets(s);
}

/* What is no set's concerns only who asked. */
static void warn_sender(const struct call *c, const char *message) {
  sd_bus_message *m = NULL;
  if (!c->sender) {
    log_warning("%s", message);
    return;
  }
  if (sd_bus_message_new_signal(c->service->bus, &m, SERVICE_PATH, SERVICE_NAME ".Manager", "Warning") >= 0 &&
      sd_bus_message_set_destination(m, c->sender) >= 0 && sd_bus_message_append(m, "s", message) >= 0)
    (void)sd_bus_send(c->service->bus, m, NULL);
  sd_bus_message_unref(m);
}

void calls_take_report(struct service *s, json_t *line) {
  struct call *c = service_find_call(s, json_get_integer_or(line, "call", 0));
  const char *event = json_get_string_or(line, "event", "");
  if (!c) {
    /* A descriptor for somebody who is gone. */
    int fd = json_get_boolean_or(line, "descriptor", false) ? lines_take_fd(s->host) : -1;
    cleanup_close_fd(&fd);
    return;
  }
  if (strcmp(event, "new") == 0)
    on_new(c, line);
  else if (c->set_id[0] && (strcmp(event, "progress") == 0 || strcmp(event, "warning") == 0))
    sets_tell(s, c->set_id, line);
  else if (strcmp(event, "warning") == 0)
    warn_sender(c, json_get_string_or(line, "message", ""));
  else if (strcmp(event, "done") == 0)
    on_done(c, line);
  else if (strcmp(event, "failed") == 0) {
    if (ask_again(c, line))
      return;
    on_failed(c, line);
  }
  /* The end of a job of its own is told of; an answer of another's job is the end. */
  if (strcmp(event, "gone") == 0)
    on_gone(c, line);
  else if (c->to != 0 && (strcmp(event, "done") == 0 || strcmp(event, "failed") == 0))
    call_free(c);
}

void calls_set_finished(struct service *s, const char *set_id, bool ok, enum umbra_reason reason,
                        const char *message) {
  struct call *next;
  for (struct call *c = s->calls; c; c = next) {
    next = c->next;
    if (!c->waits || strcmp(c->set_id, set_id) != 0)
      continue;
    if (ok && c->message) {
      (void)sd_bus_reply_method_return(c->message, NULL);
      c->message = sd_bus_message_unref(c->message);
    }
    call_fail(c, reason, message);
    call_free(c);
  }
}
