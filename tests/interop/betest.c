/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A requester for tests, the counterpart of the answered system's BETest: backs up by components, wipes, restores,
 * compares.  It knows nothing of umbra but the public headers.
 *
 *     betest [--type T] [--base DIR] [--partial] [--failed COMPONENT]… [--not-complete] backup DIR COMPONENT…
 *     betest wipe DIR                       removes the files that the backup has
 *     betest [--to ROOT] [--more] [--option VALUE] [--component C]… [--failed C]… restore DIR
 *     betest [--to ROOT] compare DIR        status 1: a file is not what the backup has of it
 *
 * DIR/document.json is the backup components document; DIR/files/PATH is a file; DIR/parts/PATH@OFFSET a range of
 * one.
 */
#include <umbra/umbra.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, NAMES_MAX = 64, CHUNK_BYTES = 65536 };

struct options {
  const char *type, *base, *to, *option;
  const char *failed[NAMES_MAX + 1], *components[NAMES_MAX + 1];
  int failed_count, component_count, partial, more, not_complete;
};

static struct umbra_client *client;

static int fail(const char *what) {
  fprintf(stderr, "betest: %s: %s\n", what,
          *umbra_client_message(client) ? umbra_client_message(client) : strerror(errno));
  return -1;
}

static const char *text_of(const json_t *object, const char *key) {
  const char *value = json_string_value(json_object_get(object, key));
  return value ? value : "";
}

/* ---- files ---- */

static void make_parents(const char *path) {
  char part[PATH_BYTES];
  snprintf(part, sizeof part, "%s", path);
  for (char *at = strchr(part + 1, '/'); at; at = strchr(at + 1, '/')) {
    *at = 0;
    mkdir(part, 0755);
    *at = '/';
  }
}

/* length < 0: to the end. */
static int copy_range(int from, off_t offset, off_t length, int to, off_t at) {
  static char chunk[CHUNK_BYTES];
  while (length != 0) {
    size_t want = length < 0 || length > CHUNK_BYTES ? CHUNK_BYTES : (size_t)length;
    ssize_t got = pread(from, chunk, want, offset);
    if (got <= 0)
      return got < 0 || length > 0 ? -1 : 0;
    if (pwrite(to, chunk, (size_t)got, at) != got)
      return -1;
    offset += got;
    at += got;
    length -= length < 0 ? 0 : got;
  }
  return 0;
}

static int copy_file(int from, const char *target) {
  make_parents(target);
  int to = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  int r = to < 0 ? -1 : copy_range(from, 0, -1, to, 0);
  if (to >= 0)
    close(to);
  return r;
}

static int same_contents(int a, int b) {
  static char one[CHUNK_BYTES], two[CHUNK_BYTES];
  ssize_t n, m;
  do {
    n = read(a, one, sizeof one);
    m = read(b, two, sizeof two);
  } while (n > 0 && n == m && memcmp(one, two, (size_t)n) == 0);
  return n == 0 && m == 0;
}

/* ---- file sets ---- */

typedef int (*visit)(int fd, const char *path, void *userdata);

static int is_excluded(const json_t *component, const char *path) {
  static const char *const lists[] = {"excludes", "shadow_excludes"};
  const char *name = strrchr(path, '/') + 1;
  size_t k, i;
  const json_t *set;
  for (k = 0; k < 2; k++) {
    json_array_foreach(json_object_get(component, lists[k]), i, set) {
      const char *below = text_of(set, "path");
      if (strncmp(path, below, strlen(below)) == 0 && path[strlen(below)] == '/' &&
          fnmatch(text_of(set, "pattern"), name, 0) == 0)
        return 1;
    }
  }
  return 0;
}

/* Owns fd: visits the files of the set that are in the directory, which is path in the live system. */
static int walk(int fd, const char *path, const json_t *component, const json_t *set, visit call, void *userdata) {
  DIR *directory = fdopendir(fd);
  int r = directory ? 0 : -1;
  for (struct dirent *entry; r == 0 && (entry = readdir(directory));) {
    char below[PATH_BYTES];
    struct stat st;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
    int one = openat(dirfd(directory), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (one < 0 || fstat(one, &st) < 0)
      r = -1;
    else if (S_ISDIR(st.st_mode)) {
      if (json_is_true(json_object_get(set, "recursive")))
        r = walk(dup(one), below, component, set, call, userdata);
    } else if (fnmatch(text_of(set, "pattern"), entry->d_name, 0) == 0 && !is_excluded(component, below))
      r = call(one, below, userdata);
    if (one >= 0)
      close(one);
  }
  if (directory)
    closedir(directory);
  return r;
}

/* ---- the document ---- */

static json_t *load(const char *directory) {
  char path[PATH_BYTES];
  json_error_t why;
  snprintf(path, sizeof path, "%s/document.json", directory);
  json_t *document = json_load_file(path, 0, &why);
  if (!document)
    fprintf(stderr, "betest: %s: %s\n", path, why.text);
  return document;
}

static json_t *parse(char *text) {
  json_t *json = json_loads(text, 0, NULL);
  free(text);
  return json;
}

/* ---- backup ---- */

struct saving {
  const char *directory;
  const json_t *writers;
  json_t *files;
};

/* What writers say is all that has to be saved of path; NULL: the whole. */
static const json_t *ranges_of(const json_t *writers, const char *path) {
  size_t i, k;
  const json_t *writer, *one, *found = NULL;
  json_t *answer;
  const char *event;
  json_array_foreach(writers, i, writer) {
    json_object_foreach(json_object_get(writer, "answers"), event, answer) {
      json_array_foreach(json_object_get(answer, "partial_files"), k, one) {
        if (strcmp(text_of(one, "path"), path) == 0)
          found = json_object_get(one, "ranges");
      }
    }
  }
  return found;
}

static int save_file(int fd, const char *path, void *userdata) {
  struct saving *s = userdata;
  const json_t *ranges = ranges_of(s->writers, path), *range;
  char target[2 * PATH_BYTES];
  size_t i;
  int r = 0;
  json_array_append_new(s->files, json_string(path));
  if (!ranges) {
    snprintf(target, sizeof target, "%s/files%s", s->directory, path);
    return copy_file(fd, target) < 0 ? fail(path) : 0;
  }
  json_array_foreach(ranges, i, range) {
    json_int_t offset = json_integer_value(json_array_get(range, 0)),
               length = json_integer_value(json_array_get(range, 1));
    snprintf(target, sizeof target, "%s/parts%s@%lld", s->directory, path, (long long)offset);
    make_parents(target);
    int to = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    r = to < 0 || copy_range(fd, offset, length, to, 0) < 0 ? fail(path) : r;
    if (to >= 0)
      close(to);
  }
  return r;
}

/* Calls save for what the selected components consist of in the shadow copies. */
static int save_components(struct umbra_set *set, const json_t *selection, struct saving *s) {
  size_t i, k;
  const json_t *component, *files;
  json_array_foreach(json_object_get(selection, "components"), i, component) {
    if (!json_is_string(json_object_get(component, "selected")))
      continue;
    json_array_foreach(json_object_get(component, "files"), k, files) {
      int fd = umbra_set_open_path(set, text_of(files, "path"));
      if (fd < 0 || walk(fd, text_of(files, "path"), component, files, save_file, s) < 0)
        return fail(text_of(files, "path"));
    }
  }
  return 0;
}

static int set_up(struct umbra_set *set, const struct options *o, const char *const *components, size_t count) {
  int r = umbra_set_option(set, "auto-release", "yes");
  if (r >= 0)
    r = umbra_set_option(set, "provider", "files");
  if (r >= 0)
    r = umbra_set_option(set, "backup-type", o->type);
  if (r >= 0 && o->partial)
    r = umbra_set_option(set, "partial-files", "yes");
  for (size_t i = 0; r >= 0 && i < count; i++)
    r = umbra_set_option(set, "component", components[i]);
  if (r >= 0 && o->base) {
    json_t *base = load(o->base);
    char *text = json_dumps(json_object_get(base, "writers"), JSON_COMPACT);
    r = text ? umbra_set_option(set, "components", text) : -1;
    free(text);
    json_decref(base);
  }
  return r;
}

static int tell_outcomes(struct umbra_set *set, const struct options *o, const char *const *components,
                         size_t count) {
  int r = 0;
  for (size_t i = 0; r >= 0 && i < count; i++)
    r = umbra_set_component_succeeded(set, components[i], 1);
  for (int i = 0; r >= 0 && i < o->failed_count; i++)
    r = umbra_set_component_succeeded(set, o->failed[i], 0);
  return r < 0 || umbra_set_complete(set, o->failed_count == 0) < 0 ? fail("telling the writers") : 0;
}

static int save_document(const char *directory, const json_t *made, const json_t *files, const struct options *o) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/document.json", directory);
  json_t *document = json_pack("{s:O, s:O, s:O, s:s, s:s?}", "set", json_object_get(made, "set"), "writers",
                               json_object_get(made, "documents"), "files", files, "type", o->type, "base", o->base);
  int r = document ? json_dump_file(document, path, JSON_INDENT(2)) : -1;
  json_decref(document);
  return r < 0 ? fail(path) : 0;
}

static int backup(const struct options *o, const char *directory, const char *const *components, size_t count) {
  struct umbra_set *set = NULL;
  char *text = NULL;
  if (umbra_gather(client, components, count, &text) < 0)
    return fail("gathering");
  json_t *selection = parse(text), *made = NULL;
  struct saving s = {directory, NULL, json_array()};
  int r = umbra_set_new(client, &set) < 0 || set_up(set, o, components, count) < 0 || umbra_set_create(set) < 0
              ? fail("making the shadow copies")
              : 0;
  if (r == 0) {
    mkdir(directory, 0755);
    made = json_loads(umbra_set_document(set), 0, NULL);
    s.writers = json_object_get(made, "documents");
    r = save_components(set, selection, &s);
  }
  if (r == 0)
    r = save_document(directory, made, s.files, o);
  if (r == 0 && !o->not_complete)
    r = tell_outcomes(set, o, components, count);
  umbra_set_free(set);
  json_decref(selection);
  json_decref(made);
  json_decref(s.files);
  return r;
}

/* ---- restore ---- */

static int wipe(const char *directory) {
  json_t *document = load(directory);
  const json_t *path;
  size_t i;
  json_array_foreach(json_object_get(document, "files"), i, path)(void) unlink(json_string_value(path));
  json_decref(document);
  return document ? 0 : -1;
}

struct bringing {
  const struct options *options;
  const char *directory;
  const json_t *component;
  int different;
};

static int bring_file(int fd, const char *path, void *userdata) {
  const struct bringing *b = userdata;
  char target[2 * PATH_BYTES];
  snprintf(target, sizeof target, "%s%s", b->options->to ? b->options->to : "", path);
  if (strcmp(text_of(json_object_get(b->component, "restore"), "method"), "if-not-there") == 0 &&
      access(target, F_OK) == 0)
    return 0;
  return copy_file(fd, target) < 0 ? fail(target) : 0;
}

static int compare_file(int fd, const char *path, void *userdata) {
  struct bringing *b = userdata;
  char target[2 * PATH_BYTES];
  snprintf(target, sizeof target, "%s%s", b->options->to ? b->options->to : "", path);
  int other = open(target, O_RDONLY | O_CLOEXEC);
  if (other < 0 || !same_contents(fd, other)) {
    fprintf(stderr, "betest: '%s' is not what was saved\n", target);
    b->different = 1;
  }
  if (other >= 0)
    close(other);
  return 0;
}

static int bring_range(int fd, const char *path, void *userdata) {
  const struct bringing *b = userdata;
  char target[2 * PATH_BYTES];
  snprintf(target, sizeof target, "%s%s", b->options->to ? b->options->to : "", path);
  char *at = strrchr(target, '@');
  off_t offset = strtoll(at + 1, NULL, 10);
  *at = 0;
  int to = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  int r = to < 0 ? -1 : copy_range(fd, 0, -1, to, offset);
  if (to >= 0)
    close(to);
  return r < 0 ? fail(target) : 0;
}

/* Calls for what the backup has of the selected components in its folder ("files", "parts"). */
static int visit_saved(struct bringing *b, const json_t *selection, const char *folder, const char *suffix,
                       visit call) {
  size_t i, k;
  const json_t *component, *files;
  int r = 0;
  json_array_foreach(json_object_get(selection, "components"), i, component) {
    if (!json_is_string(json_object_get(component, "selected")))
      continue;
    b->component = component;
    json_array_foreach(json_object_get(component, "files"), k, files) {
      char path[2 * PATH_BYTES], pattern[PATH_BYTES];
      snprintf(path, sizeof path, "%s/%s%s", b->directory, folder, text_of(files, "path"));
      snprintf(pattern, sizeof pattern, "%s%s", text_of(files, "pattern"), suffix);
      json_t *set = json_pack("{s:s, s:O}", "pattern", pattern, "recursive", json_object_get(files, "recursive"));
      int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      if (fd >= 0 && r == 0)
        r = walk(fd, text_of(files, "path"), component, set, call, b);
      json_decref(set);
    }
  }
  return r;
}

/* All that the backup was made of, unless some are named. */
static json_t *select_saved(const struct options *o, const json_t *document) {
  char *text = json_dumps(document, JSON_COMPACT), *selection = NULL;
  const char *names[NAMES_MAX];
  size_t count = 0, i;
  const json_t *one;
  int r = umbra_select_saved(client, text, o->components, (size_t)o->component_count, &selection);
  json_t *all = r < 0 ? NULL : parse(selection);
  if (r >= 0 && o->component_count == 0) {
    json_array_foreach(json_object_get(all, "components"), i, one) {
      if (count < NAMES_MAX && strcmp(text_of(one, "in_backup"), "implicit") != 0)
        names[count++] = text_of(one, "component");
    }
    selection = NULL;
    r = umbra_select_saved(client, text, names, count, &selection);
    json_decref(all);
    all = r < 0 ? NULL : parse(selection);
  }
  free(text);
  if (!all)
    fail("selecting");
  return all;
}

static int tell(const struct options *o, const json_t *document, const json_t *selection, const char *event,
                int succeeded) {
  json_t *told = json_copy((json_t *)document), *chosen = json_array(),
         *how = json_pack("{s:b, s:b}", "succeeded", succeeded, "more", o->more);
  const json_t *one;
  size_t i;
  json_array_foreach(json_object_get(selection, "components"), i, one) {
    if (!json_is_string(json_object_get(one, "selected")))
      continue;
    json_t *copy = json_copy((json_t *)one);
    for (int k = 0; k < o->failed_count; k++)
      if (strcmp(text_of(one, "component"), o->failed[k]) == 0)
        json_object_set_new(copy, "succeeded", json_false());
    json_array_append_new(chosen, copy);
  }
  json_object_set_new(how, "components", chosen);
  if (o->to)
    json_object_set_new(how, "to", json_string(o->to));
  if (o->option)
    json_object_set_new(how, "options", json_pack("{s:s}", "option", o->option));
  json_object_set_new(told, "restore", how);
  char *text = json_dumps(told, JSON_COMPACT);
  int r = umbra_restore_event(client, event, text, NULL);
  free(text);
  json_decref(told);
  return r < 0 ? fail(event) : 0;
}

static int restore(const struct options *o, const char *directory) {
  json_t *document = load(directory), *selection = document ? select_saved(o, document) : NULL;
  struct bringing b = {o, directory, NULL, 0};
  int r = selection ? tell(o, document, selection, "pre-restore", 1) : -1;
  int brought = r == 0 ? visit_saved(&b, selection, "files", "", bring_file) : -1;
  if (brought == 0)
    brought = visit_saved(&b, selection, "parts", "@*", bring_range);
  if (selection && tell(o, document, selection, "post-restore", brought == 0) < 0)
    r = -1;
  json_decref(document);
  json_decref(selection);
  return r == 0 ? brought : r;
}

static int compare(const struct options *o, const char *directory) {
  json_t *document = load(directory), *selection = document ? select_saved(o, document) : NULL;
  struct bringing b = {o, directory, NULL, 0};
  int r = selection ? visit_saved(&b, selection, "files", "", compare_file) : -1;
  json_decref(document);
  json_decref(selection);
  return r < 0 || b.different ? -1 : 0;
}

/* ---- the command ---- */

static void warn(void *userdata, const char *message) {
  (void)userdata;
  fprintf(stderr, "betest: warning: %s\n", message);
}

int main(int argc, char **argv) {
  static const struct option known[] = {
      {"type", 1, NULL, 't'},         {"base", 1, NULL, 'b'}, {"partial", 0, NULL, 'p'}, {"failed", 1, NULL, 'f'},
      {"to", 1, NULL, 'r'},           {"more", 0, NULL, 'm'}, {"option", 1, NULL, 'o'},  {"component", 1, NULL, 'c'},
      {"not-complete", 0, NULL, 'n'}, {NULL, 0, NULL, 0},
  };
  struct options o = {.type = "full"};
  for (int c; (c = getopt_long(argc, argv, "+", known, NULL)) != -1;) {
    o.type = c == 't' ? optarg : o.type;
    o.base = c == 'b' ? optarg : o.base;
    o.to = c == 'r' ? optarg : o.to;
    o.option = c == 'o' ? optarg : o.option;
    o.partial |= c == 'p';
    o.more |= c == 'm';
    o.not_complete |= c == 'n';
    if (c == 'f' && o.failed_count < NAMES_MAX)
      o.failed[o.failed_count++] = optarg;
    if (c == 'c' && o.component_count < NAMES_MAX)
      o.components[o.component_count++] = optarg;
  }
  const char *verb = argc - optind >= 2 ? argv[optind] : "", *directory = argc - optind >= 2 ? argv[optind + 1] : "";
  if (umbra_client_new(&client) < 0)
    return 2;
  umbra_client_on_warning(client, warn, NULL);
  int r = strcmp(verb, "backup") == 0
              ? backup(&o, directory, (const char *const *)argv + optind + 2, (size_t)(argc - optind - 2))
          : strcmp(verb, "wipe") == 0    ? wipe(directory)
          : strcmp(verb, "restore") == 0 ? restore(&o, directory)
          : strcmp(verb, "compare") == 0 ? compare(&o, directory)
                                         : -2;
  umbra_client_free(client);
  return r == -2 ? 2 : r < 0;
}
