/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* umbra stream: a file as the flat sequence of bytes that BackupRead gave, through pipes. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/table.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "stream/context.h"
#include "stream/format.h"
#include "stream/names.h"
#include "umbra/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { OPTION_NO_SECURITY = 1, OPTION_UNKNOWN, OPTION_ROOT, OPTION_LINK };
enum { BUFFER_BYTES = 1 << 18, PIPE_BYTES = 1 << 20 /* what /proc/sys/fs/pipe-max-size allows everybody */ };

static const struct option options[] = {
    {"no-security", no_argument, NULL, OPTION_NO_SECURITY},
    {"unknown", required_argument, NULL, OPTION_UNKNOWN},
    {"root", required_argument, NULL, OPTION_ROOT},
    {"link", required_argument, NULL, OPTION_LINK},
    {NULL, 0, NULL, 0},
};

struct arguments {
  bool security;
  struct umbra_stream_options options;
  const char *root;
};

static int failed(const char *doing, const char *file, int code, const struct umbra_stream *s) {
  const char *why = umbra_stream_message(s);
  fprintf(stderr, "umbra: %s '%s': %s\n", doing, file, *why ? why : strerror(-code));
  return STATUS_FAILED;
}

/* Fewer turns between those at the two ends. What is no pipe, or may not be larger, stays as it is. */
static void enlarge_pipe(int fd) { (void)fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); }

/* Symbolic links, sockets and devices are not opened: a tape drive would wind. */
static int open_to_read(const char *path) {
  struct stat st;
  if (lstat(path, &st) < 0)
    return -errno;
  bool plain = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
  int fd = open(path, O_NOFOLLOW | O_CLOEXEC | (plain ? O_RDONLY | O_NONBLOCK : O_PATH));
  return fd < 0 ? -errno : fd;
}

/* The sequence from byte from on: headers are read, data is passed over. */
static int pass_over(int fd, uint64_t from, bool security, struct umbra_stream **s, char *buffer) {
  int r = 0;
  while (r == 0 && from > 0) {
    uint64_t passed;
    size_t got;
    /* Before the first header and at the end of a stream nothing can be passed over. */
    r = umbra_backup_seek(fd, from, &passed, s);
    from -= passed;
    if (r != -ENXIO)
      continue;
    r = umbra_backup_read(fd, buffer, 1, &got, 0, security, s);
    if (r == 0 && got == 0)
      return -ENXIO;
    from -= got;
  }
  return r;
}

/* True: some of the file's own bytes went into the pipe, without a copy here. False, also when they cannot: it is for
 * umbra_backup_read(). */
static bool splice_out(int fd, struct umbra_stream *s) {
  uint64_t offset, left = context_file_part(s, &offset);
  loff_t from = (loff_t)offset;
  ssize_t n =
      left > 0 ? splice(fd, &from, STDOUT_FILENO, NULL, left < PIPE_BYTES ? (size_t)left : PIPE_BYTES, SPLICE_F_MORE)
               : 0;
  if (n > 0)
    context_passed(s, (uint64_t)n);
  return n > 0;
}

static bool splice_in(int fd, struct umbra_stream *s) {
  uint64_t offset, left = context_file_part(s, &offset);
  loff_t to = (loff_t)offset;
  ssize_t n = left > 0
                  ? splice(STDIN_FILENO, NULL, fd, &to, left < PIPE_BYTES ? (size_t)left : PIPE_BYTES, SPLICE_F_MORE)
                  : 0;
  if (n > 0)
    context_passed(s, (uint64_t)n);
  return n > 0;
}

static int read_file(const struct arguments *a, const char *path, uint64_t from) {
  CLEANUP_CLOSE int fd = open_to_read(path);
  CLEANUP_FREE char *buffer = malloc(BUFFER_BYTES);
  struct umbra_stream *s = NULL;
  if (fd < 0 || !buffer)
    return failed("reading", path, fd < 0 ? fd : -ENOMEM, NULL);
  size_t got = 1;
  enlarge_pipe(STDOUT_FILENO);
  int r = umbra_stream_new(&a->options, &s);
  if (r == 0)
    r = pass_over(fd, from, a->security, &s, buffer);
  bool past_end = r == -ENXIO;
  while (r == 0 && got > 0) {
    if (splice_out(fd, s))
      continue;
    r = umbra_backup_read(fd, buffer, BUFFER_BYTES, &got, 0, a->security, &s);
    if (r == 0)
      r = fd_write_all(STDOUT_FILENO, buffer, got);
  }
  if (past_end)
    fprintf(stderr, "umbra: reading '%s': its streams have less than %" PRIu64 " bytes\n", path, from);
  int status = past_end ? STATUS_FAILED : r < 0 ? failed("reading", path, r, s) : STATUS_DONE;
  (void)umbra_backup_read(fd, NULL, 0, &got, 1, 0, &s);
  return status;
}

/* What is there is not written over: a regular file that is made, or an empty one or a directory that is there. */
static int open_to_write(int directory_fd, const char *name) {
  struct stat st;
  int fd = openat(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0 || (errno != ENOENT && errno != ENOTDIR))
    return fd < 0 ? -errno : fd;
  fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
  if (fd < 0 || fstat(fd, &st) < 0)
    return -errno;
  if (S_ISREG(st.st_mode) && st.st_size == 0)
    return fd;
  (void)close(fd);
  return -EEXIST;
}

static int write_stream(const struct arguments *a, int fd, struct umbra_stream **s, char *buffer) {
  size_t taken;
  ssize_t got = 1;
  int r = 0;
  enlarge_pipe(STDIN_FILENO);
  while (r == 0 && got != 0) {
    if (splice_in(fd, *s))
      continue;
    got = read(STDIN_FILENO, buffer, BUFFER_BYTES);
    if (got == 0 || (got < 0 && errno == EINTR))
      continue;
    r = got < 0 ? -errno : umbra_backup_write(fd, buffer, (size_t)got, &taken, 0, a->security, s);
  }
  return r;
}

static int write_file(const struct arguments *a, const char *path) {
  CLEANUP_FREE char *for_directory = strdup(path), *for_name = strdup(path), *buffer = malloc(BUFFER_BYTES);
  if (!for_directory || !for_name || !buffer)
    return failed("writing", path, -ENOMEM, NULL);
  struct umbra_stream_options where = a->options;
  const char *directory = dirname(for_directory);
  where.name = basename(for_name);
  if (!*path || strcmp(where.name, ".") == 0 || strcmp(where.name, "..") == 0 || strcmp(where.name, "/") == 0)
    return failed("writing", path, -EINVAL, NULL);
  CLEANUP_CLOSE int directory_fd = fd_open_directory(directory),
                    root_fd = fd_open_directory(a->root ? a->root : directory);
  if (directory_fd < 0 || root_fd < 0)
    return failed("writing", path, directory_fd < 0 ? directory_fd : root_fd, NULL);
  CLEANUP_CLOSE int fd = open_to_write(directory_fd, where.name);
  if (fd < 0)
    return failed("writing", path, fd, NULL);
  where.directory_fd = directory_fd;
  where.root_fd = root_fd;
  struct umbra_stream *s = NULL;
  int r = umbra_stream_new(&where, &s);
  if (r == 0)
    r = write_stream(a, fd, &s, buffer);
  if (r == 0)
    r = umbra_stream_finish(fd, &s);
  int status = r < 0 ? failed("writing", path, r, s) : STATUS_DONE;
  /* Without what the end would set. */
  context_free(&s);
  return status;
}

/* ---- list ---- */

static const char *const kind_names[] = {
    [STREAM_DATA] = "DATA",
    [STREAM_EA_DATA] = "EA_DATA",
    [STREAM_SECURITY_DATA] = "SECURITY_DATA",
    [STREAM_ALTERNATE_DATA] = "ALTERNATE_DATA",
    [STREAM_LINK] = "LINK",
    [STREAM_PROPERTY_DATA] = "PROPERTY_DATA",
    [STREAM_OBJECT_ID] = "OBJECT_ID",
    [STREAM_REPARSE_DATA] = "REPARSE_DATA",
    [STREAM_SPARSE_BLOCK] = "SPARSE_BLOCK",
    [STREAM_TXFS_DATA] = "TXFS_DATA",
    [STREAM_GHOSTED_FILE_EXTENTS] = "GHOSTED_FILE_EXTENTS",
};

/* 1: read, 0: the input ends here, -EBADMSG: it ends in the midst. */
static int read_part(void *buffer, size_t bytes) {
  size_t got = fread(buffer, 1, bytes, stdin);
  return got == bytes ? 1 : got == 0 && !ferror(stdin) ? 0 : -EBADMSG;
}

static int pass_over_input(uint64_t bytes, char *buffer) {
  while (bytes > 0) {
    size_t got = fread(buffer, 1, bytes < BUFFER_BYTES ? (size_t)bytes : BUFFER_BYTES, stdin);
    if (got == 0)
      return -EBADMSG;
    bytes -= got;
  }
  return 0;
}

/* 1: a stream, described in *ret; 0: the input has ended. */
static int next_stream(uint64_t *at, char *buffer, json_t **ret) {
  uint8_t head[STREAM_HEADER_BYTES], name[STREAM_NAME_BYTES_MAX], offset[STREAM_OFFSET_BYTES] = {0};
  CLEANUP_FREE char *text = NULL;
  int r = read_part(head, sizeof head);
  if (r <= 0)
    return r;
  struct stream_header h = stream_header_get(head);
  if (h.name_bytes > sizeof name || h.size_bytes > INT64_MAX ||
      (h.name_bytes > 0 && read_part(name, h.name_bytes) <= 0))
    return -EBADMSG;
  uint64_t left = h.size_bytes;
  if (h.id == STREAM_SPARSE_BLOCK) {
    if (left < sizeof offset || read_part(offset, sizeof offset) <= 0)
      return -EBADMSG;
    left -= sizeof offset;
  }
  if (pass_over_input(left, buffer) < 0 || (h.name_bytes > 0 && names_from_utf16(name, h.name_bytes, &text) < 0))
    return -EBADMSG;
  const char *kind = h.id < sizeof kind_names / sizeof *kind_names ? kind_names[h.id] : NULL;
  *ret = json_pack("{s:I, s:I, s:s?, s:I, s:I, s:s?}", "at", (json_int_t)*at, "id", (json_int_t)h.id, "kind", kind,
                   "attributes", (json_int_t)h.attributes, "bytes", (json_int_t)h.size_bytes, "name", text);
  if (*ret && h.id == STREAM_SPARSE_BLOCK)
    (void)json_object_set_new(*ret, "offset", json_integer((json_int_t)stream_get64(offset)));
  *at += STREAM_HEADER_BYTES + h.name_bytes + h.size_bytes;
  return *ret ? 1 : -ENOMEM;
}

static void print_stream(const json_t *one) {
  const char *name = json_string_value(json_object_get(one, "name"));
  const json_t *offset = json_object_get(one, "offset");
  (void)printf("%12" JSON_INTEGER_FORMAT " %12" JSON_INTEGER_FORMAT "  %-20s %s",
               json_integer_value(json_object_get(one, "at")), json_integer_value(json_object_get(one, "bytes")),
               json_string_value(json_object_get(one, "kind")), name ? name : "");
  if (offset)
    (void)printf("at %" JSON_INTEGER_FORMAT, json_integer_value(offset));
  (void)putchar('\n');
}

/* Each as it comes: the input may be a tape's length. */
static int list(const struct cli *cli) {
  CLEANUP_FREE char *buffer = malloc(BUFFER_BYTES);
  uint64_t at = 0;
  json_t *one = NULL;
  int r = buffer ? 1 : -ENOMEM;
  while (r > 0 && (r = next_stream(&at, buffer, &one)) > 0) {
    if (cli->json) {
      (void)json_dumpf(one, stdout, JSON_COMPACT);
      (void)putchar('\n');
    } else {
      print_stream(one);
    }
    json_decref(one);
  }
  if (r == 0)
    return STATUS_DONE;
  fprintf(stderr, "umbra: listing streams: the one at byte %" PRIu64 " is damaged, or cut off\n", at);
  return STATUS_FAILED;
}

/* ---- the verb ---- */

static int take_unknown(const char *value, enum umbra_stream_unknown *ret) {
  static const char *const values[] = {"fail", "keep", "skip"};
  for (unsigned i = 0; i < sizeof values / sizeof *values; i++)
    if (strcmp(values[i], value) == 0) {
      *ret = (enum umbra_stream_unknown)i;
      return 0;
    }
  return -EINVAL;
}

static int take_bytes(const char *text, uint64_t *ret) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  *ret = value;
  return errno || end == text || *end || text[0] == '-' ? -EINVAL : 0;
}

static int run(struct cli *cli, int argc, char **argv) {
  struct arguments a = {.security = true, .options = {.directory_fd = -1, .root_fd = -1}};
  int option;
  while ((option = options_next(&verb_stream, argc, argv)) != -1) {
    if (option == OPTION_NO_SECURITY)
      a.security = false;
    else if (option == OPTION_ROOT)
      a.root = optarg;
    else if (option == OPTION_LINK)
      a.options.link = optarg;
    else if (take_unknown(optarg, &a.options.unknown) < 0)
      return cli_usage(&verb_stream, "--unknown is fail, keep or skip, not '%s'", optarg);
  }
  const char *what = optind < argc ? argv[optind] : "";
  int operands = argc - optind - 1;
  uint64_t from = 0;
  if (strcmp(what, "list") == 0 && operands == 0)
    return list(cli);
  if (strcmp(what, "read") == 0 && operands == 1)
    return read_file(&a, argv[optind + 1], 0);
  if (strcmp(what, "write") == 0 && operands == 1)
    return write_file(&a, argv[optind + 1]);
  if (strcmp(what, "seek") == 0 && operands == 2 && take_bytes(argv[optind + 2], &from) == 0)
    return read_file(&a, argv[optind + 1], from);
  return cli_usage(&verb_stream, "read FILE, write FILE, list, or seek FILE BYTES");
}

const struct verb verb_stream = {
    .name = "stream",
    .usage = "[OPTION…] read FILE | write FILE | list | seek FILE BYTES",
    .summary = "a file as the streams that BackupRead gave, and back",
    .help = "  --no-security     without owner, mode and access control lists\n"
            "  --unknown WHAT    write: streams that have no counterpart: fail (default), keep or skip\n"
            "  --root DIR        write: where the path of one more name starts from (default: the file's directory)\n"
            "  --link PATH       read: the file is one more name of PATH, which is elsewhere in the backup\n"
            "  read writes to standard output, write and list read standard input; seek is read from byte BYTES on\n",
    .options = options,
    .run = run,
};
