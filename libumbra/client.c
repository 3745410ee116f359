/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client handle: whom to tell, where things are, what went wrong last. It hosts the coordinator in this process.
 */
#include "libumbra/handles.h"
#include "libumbra/remote.h"

#include "coordinator/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int umbra_client_new(struct umbra_client **ret) {
  struct umbra_client *c = calloc(1, sizeof *c);
  if (!c)
    return -ENOMEM;
  int r = coordinator_new(&c->coordinator, NULL);
  if (r < 0) {
    free(c);
    return r;
  }
  *ret = c;
  return 0;
}

void umbra_client_free(struct umbra_client *client) {
  if (!client)
    return;
  remote_free(client->remote);
  coordinator_free(client->coordinator);
  free(client);
}

int umbra_client_set_directory(struct umbra_client *client, const char *name, const char *path) {
  struct coordinator *c = client->coordinator;
  char **field = strcmp(name, "state-dir") == 0     ? &c->state_dir
                 : strcmp(name, "runtime-dir") == 0 ? &c->runtime_dir
                 : strcmp(name, "config-dir") == 0  ? &c->config_dir
                                                    : NULL;
  if (!field || client->prepared)
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID, "setting directory '%s'", name);
  char *copy = strdup(path);
  if (!copy)
    return error_code(&client->error, -ENOMEM, "setting directory '%s'", name);
  free(*field);
  *field = copy;
  return 0;
}

int umbra_client_use_daemon(struct umbra_client *client) {
  error_clear(&client->error);
  if (client->prepared || client->remote)
    return error_set(&client->error, -EBUSY, UMBRA_REASON_BAD_STATE, "looking for umbrad: the client is used already");
  int r = remote_open(client, &client->remote);
  return r < 0 ? r : client->remote != NULL;
}

const char *umbra_client_message(const struct umbra_client *client) { return client->error.message; }
int umbra_client_reason(const struct umbra_client *client) { return (int)client->error.reason; }

const char *umbra_reason_name(int reason) { return error_reason_name((enum umbra_reason)reason); }

void umbra_client_on_progress(struct umbra_client *client, umbra_progress callback, void *userdata) {
  client->coordinator->progress = callback;
  client->coordinator->progress_userdata = userdata;
}

void umbra_client_on_warning(struct umbra_client *client, umbra_warning callback, void *userdata) {
  client->coordinator->warning = callback;
  client->coordinator->warning_userdata = userdata;
}

void umbra_client_cancel(struct umbra_client *client) { coordinator_cancel(client->coordinator); }

int client_prepare(struct umbra_client *client) {
  error_clear(&client->error);
  if (client->prepared)
    return 0;
  int r = coordinator_prepare(client->coordinator, &client->error);
  if (r >= 0)
    r = recovery_run(client->coordinator, NULL, &client->error);
  client->prepared = r >= 0;
  return r;
}

void client_recover(struct umbra_client *client) {
  if (geteuid() == 0)
    (void)recovery_run(client->coordinator, NULL, NULL);
}

int client_return_json(struct umbra_client *client, json_t *document, char **ret_json) {
  char *text = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
  json_decref(document);
  if (!text)
    return error_code(&client->error, -ENOMEM, "writing a document");
  *ret_json = text;
  return 0;
}

int umbra_recover(struct umbra_client *client, size_t *ret_count) {
  error_clear(&client->error);
  int r = coordinator_prepare(client->coordinator, &client->error);
  size_t count = 0;
  if (r >= 0)
    r = recovery_run(client->coordinator, &count, &client->error);
  if (r >= 0 && ret_count)
    *ret_count = count;
  return r;
}
