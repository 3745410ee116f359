/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What umbrad's host takes from its channel: bytes become lines (daemon/lines.c), lines requests (daemon/request.c).
 * Fed whole and in pieces, whatever it is must come to the same requests, each of which holds what request.h
 * promises.
 */
#include "daemon/lines.h"
#include "daemon/request.h"
#include "tests/fuzz/input.h"

#include "common/id.h"
#include "common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINE_BYTES_MAX = 4096 };

struct taken {
  size_t lines, requests;
  unsigned sum;
};

static void check_paths(const json_t *paths) {
  size_t i;
  json_t *path;
  must(json_array_size(paths) <= REQUEST_PATHS_MAX, "too many paths were taken");
  json_array_foreach(paths, i, path) {
    CLEANUP_FREE char *value = NULL;
    must(json_path_value(path, &value) >= 0 && value[0] == '/', "a path was taken that is none");
  }
}

static void check_options(const json_t *options) {
  size_t i;
  json_t *pair;
  must(json_array_size(options) <= REQUEST_OPTIONS_MAX, "too many options were taken");
  json_array_foreach(options, i, pair) {
    must(json_string_value(json_array_get(pair, 0)) && json_string_value(json_array_get(pair, 1)),
         "an option was taken that is none");
  }
}

static int take_line(void *context, json_t *line) {
  struct taken *taken = context;
  struct request q;
  struct umbra_error err = {0};
  taken->lines++;
  if (request_parse(line, &q, &err) < 0) {
    must(err.code < 0 && err.message[0] != 0, "refused without a word");
    return 0;
  }
  taken->requests++;
  taken->sum = taken->sum * 31 + (unsigned)q.verb;
  must(q.verb < REQUEST_VERB_MAX && q.call > 0 && q.to >= 0, "a request without verb or number was taken");
  must(!q.id || id_valid(q.id), "an id was taken that is none");
  must(!q.text || (q.text[0] != 0 && strlen(q.text) <= PATH_MAX), "a text was taken that is none");
  must(!q.place || (q.place[0] == '/' && q.user == 0 && q.verb == REQUEST_MOUNT), "a place was taken that is none");
  must(q.user != (uid_t)-1, "nobody's request was taken");
  must((q.verb == REQUEST_COMPLETE || q.verb == REQUEST_RELEASE || q.verb == REQUEST_CANCEL) ==
           (q.to != 0 && q.verb != REQUEST_OPEN),
       "a job was taken where none belongs");
  check_paths(q.paths);
  check_options(q.options);
  return 0;
}

static struct taken feed(const uint8_t *data, size_t size, size_t piece_bytes, int *ret) {
  struct lines_buffer buffer = {0};
  struct taken taken = {0};
  const char *why = "";
  int r = 0;
  for (size_t at = 0; at < size && r >= 0; at += piece_bytes)
    r = lines_feed(&buffer, (const char *)data + at, size - at < piece_bytes ? size - at : piece_bytes,
                   LINE_BYTES_MAX, take_line, &taken, &why);
  must(r >= 0 || *why, "broken off without a word");
  free(buffer.bytes);
  *ret = r;
  return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int whole_r, pieces_r;
  if (size == 0)
    return 0;
  struct taken whole = feed(data, size, size, &whole_r);
  struct taken pieces = feed(data, size, 1 + data[0] % 7, &pieces_r);
  must(whole.lines == pieces.lines && whole.requests == pieces.requests && whole.sum == pieces.sum,
       "in pieces it means something else");
  must((whole_r < 0) == (pieces_r < 0), "in pieces it ends otherwise");
  return 0;
}
