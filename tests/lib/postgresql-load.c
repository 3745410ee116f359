/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * postgresql-load SOCKET-DIRECTORY PORT CLIENTS SCALE: so many clients do pgbench's TPC-B-like transactions on tables
 * that `pgbench -i -s SCALE` made, each with one more row (client, n) in table acknowledged.  Commands on standard
 * input: acknowledged  prints for each client the n of its last transaction that the server has said is committed
 *   longest       prints the longest that a client has waited for a transaction since the last time, in ms; those
 * that are under way count with what they have waited so far stop          ends after the transactions under way,
 * prints how many there were The role is $PGUSER. Exit status 1 if a statement failed.
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CLIENTS_MAX = 64, ACCOUNTS = 100000, TELLERS = 10 };

struct client {
  pthread_t thread;
  unsigned number, seed;
  PGconn *connection;
  _Atomic int64_t acknowledged, longest_ns, began_ns; /* began_ns: of the transaction under way, 0: none */
};

static struct client clients[CLIENTS_MAX];
static unsigned client_count, scale;
static atomic_bool stopping, failed;

static int64_t now_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void raise_to(_Atomic int64_t *longest, int64_t value) {
  int64_t seen = atomic_load(longest);
  while (value > seen && !atomic_compare_exchange_weak(longest, &seen, value))
    ;
}

static int statement(struct client *c, const char *text) {
  PGresult *result = PQexec(c->connection, text);
  ExecStatusType status = PQresultStatus(result);
  PQclear(result);
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
    return 0;
  if (!atomic_exchange(&failed, true))
    (void)fprintf(stderr, "client %u: %s: %s", c->number, text, PQerrorMessage(c->connection));
  return -1;
}

static unsigned drawn(struct client *c, unsigned below) { return (unsigned)rand_r(&c->seed) % below + 1; }

static int transaction(struct client *c, int64_t n) {
  char text[6][256];
  unsigned account = drawn(c, ACCOUNTS * scale), teller = drawn(c, TELLERS * scale), branch = drawn(c, scale);
  int delta = (int)drawn(c, 10001) - 5001;
  (void)snprintf(text[0], sizeof *text, "UPDATE pgbench_accounts SET abalance = abalance + %d WHERE aid = %u", delta,
                 account);
  (void)snprintf(text[1], sizeof *text, "SELECT abalance FROM pgbench_accounts WHERE aid = %u", account);
  (void)snprintf(text[2], sizeof *text, "UPDATE pgbench_tellers SET tbalance = tbalance + %d WHERE tid = %u", delta,
                 teller);
  (void)snprintf(text[3], sizeof *text, "UPDATE pgbench_branches SET bbalance = bbalance + %d WHERE bid = %u", delta,
                 branch);
  (void)snprintf(text[4], sizeof *text,
                 "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (%u, %u, %u, %d, now())", teller,
                 branch, account, delta);
  (void)snprintf(text[5], sizeof *text, "INSERT INTO acknowledged VALUES (%u, %lld)", c->number, (long long)n);
  int r = statement(c, "BEGIN");
  for (size_t i = 0; i < 6 && r == 0; i++)
    r = statement(c, text[i]);
  return r == 0 ? statement(c, "COMMIT") : r;
}

/* Where an earlier load has ended. */
static int64_t last(struct client *c) {
  char text[96];
  (void)snprintf(text, sizeof text, "SELECT coalesce(max(n), 0) FROM acknowledged WHERE client = %u", c->number);
  PGresult *result = PQexec(c->connection, text);
  int64_t n = PQntuples(result) == 1 ? atoll(PQgetvalue(result, 0, 0)) : 0;
  PQclear(result);
  return n;
}

static void *work(void *argument) {
  struct client *c = argument;
  for (int64_t n = last(c) + 1; !atomic_load(&stopping) && !atomic_load(&failed); n++) {
    int64_t began_ns = now_ns();
    atomic_store(&c->began_ns, began_ns);
    if (transaction(c, n) < 0)
      break;
    atomic_store(&c->acknowledged, n);
    raise_to(&c->longest_ns, now_ns() - began_ns);
  }
  atomic_store(&c->began_ns, 0);
  return NULL;
}

static void print_acknowledged(void) {
  for (unsigned i = 0; i < client_count; i++)
    (void)printf("%s%lld", i > 0 ? " " : "", (long long)atomic_load(&clients[i].acknowledged));
  (void)printf("\n");
}

static void print_longest(void) {
  int64_t longest_ns = 0, now = now_ns();
  for (unsigned i = 0; i < client_count; i++) {
    int64_t began_ns = atomic_load(&clients[i].began_ns), one_ns = atomic_exchange(&clients[i].longest_ns, 0);
    if (began_ns > 0 && now - began_ns > one_ns)
      one_ns = now - began_ns;
    longest_ns = one_ns > longest_ns ? one_ns : longest_ns;
  }
  (void)printf("%.3f\n", (double)longest_ns / 1e6);
}

static int start(const char *socket_directory, const char *port) {
  const char *keys[] = {"host", "port", "dbname", NULL};
  const char *values[] = {socket_directory, port, "postgres", NULL};
  for (unsigned i = 0; i < client_count; i++) {
    clients[i].number = clients[i].seed = i;
    clients[i].connection = PQconnectdbParams(keys, values, 0);
    if (PQstatus(clients[i].connection) != CONNECTION_OK) {
      (void)fprintf(stderr, "connecting: %s", PQerrorMessage(clients[i].connection));
      return -1;
    }
  }
  for (unsigned i = 0; i < client_count; i++)
    if (pthread_create(&clients[i].thread, NULL, work, &clients[i]) != 0)
      return -1;
  return 0;
}

int main(int argc, char **argv) {
  char line[64];
  if (argc != 5 || (client_count = (unsigned)atoi(argv[3])) == 0 || client_count > CLIENTS_MAX ||
      (scale = (unsigned)atoi(argv[4])) == 0)
    return 2;
  if (start(argv[1], argv[2]) < 0)
    return 1;
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin) && strcmp(line, "stop\n") != 0)
    if (strcmp(line, "longest\n") == 0)
      print_longest();
    else
      print_acknowledged();
  atomic_store(&stopping, true);
  int64_t sum = 0;
  for (unsigned i = 0; i < client_count; i++) {
    (void)pthread_join(clients[i].thread, NULL);
    sum += atomic_load(&clients[i].acknowledged);
    PQfinish(clients[i].connection);
  }
  (void)printf("%lld\n", (long long)sum);
  return atomic_load(&failed);
}
