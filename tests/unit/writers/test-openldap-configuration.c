/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unit test of writers/openldap/configuration.c: LDIF as slapcat prints it, folded, encoded, and what is wrong in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "writers/openldap/configuration.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_databases(void **state) {
  (void)state;
  struct umbra_error err = {0};
  CLEANUP(databases_done) struct databases d;
  static const char ldif[] =
      "dn: olcDatabase={-1}frontend,cn=config\nolcDatabase: {-1}frontend\n\n"
      "dn: olcDatabase={0}config,cn=config\nolcDatabase: {0}config\n\n"
      "dn: olcDatabase={1}mdb,cn=config\nolcDbDirectory: /srv/a very long\n  directory\n"
      "olcDatabase: {1}mdb\nolcSuffix: dc=one\nolcSuffix: dc=other\nolcRootPW:: c2VjcmV0\n\n\n"
      "dn: x\nolcdatabase: mdb\nolcDbDirectory:: L3Nydi/DpCA=\nolcDbNoSync: TRUE\n\n"
      "dn: y\nolcDatabase: {3}mdb\nolcSuffix: dc=three\nolcDbNoSync: FALSE\nolcDbDirectory: /c\n"
      "olcDbEnvFlags: {0}writemap\nolcDbEnvFlags: {1}mapasync";
  assert_int_equal(databases_parse(ldif, &d, &err), 0);
  assert_int_equal(d.count, 3);
  assert_string_equal(d.list[0].name, "dc=one");
  assert_string_equal(d.list[0].directory, "/srv/a very long directory");
  assert_false(d.list[0].unsynced);
  assert_string_equal(d.list[1].name, "mdb");
  assert_string_equal(d.list[1].directory, "/srv/\xc3\xa4 ");
  assert_true(d.list[1].unsynced);
  assert_string_equal(d.list[2].name, "dc=three");
  assert_true(d.list[2].unsynced);
}

static void test_nothing(void **state) {
  (void)state;
  struct umbra_error err = {0};
  struct databases d;
  static const char *const none[] = {"", "\n\n", "dn: olcDatabase={1}ldap,cn=config\nolcDatabase: {1}ldap\n"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    assert_int_equal(databases_parse(none[i], &d, &err), 0);
    assert_int_equal(d.count, 0);
  }
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *ldif, *words;
    int code;
  } wrong[] = {
      {"olcDatabase: {1}hdb\nolcSuffix: dc=old\nolcDbDirectory: /x\n", "'dc=old' is of back-hdb", -EOPNOTSUPP},
      {"olcDatabase: {1}mdb\nolcDbDirectory: ./x\n", "'./x' is no absolute path", -EINVAL},
      {"olcDatabase: {1}mdb\nolcDbDirectory:: %%\n", "'olcDbDirectory' is not readable", -EINVAL},
      {"olcDatabase: {1}mdb\nolcDbDirectory:: L3gAeA==\n", "'olcDbDirectory' is not readable", -EINVAL},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct umbra_error err = {0};
    CLEANUP(databases_done) struct databases d;
    assert_int_equal(databases_parse(wrong[i].ldif, &d, &err), wrong[i].code);
    assert_non_null(strstr(err.message, wrong[i].words));
  }
}

static void test_limit(void **state) {
  (void)state;
  static const char entry[] = "olcDatabase: mdb\nolcDbDirectory: /x\n\n";
  char ldif[(DATABASES_MAX + 1) * sizeof entry] = "";
  for (int i = 0; i < DATABASES_MAX; i++)
    strcat(ldif, entry);
  struct umbra_error err = {0};
  struct databases d;
  assert_int_equal(databases_parse(ldif, &d, &err), 0);
  assert_int_equal(d.count, DATABASES_MAX);
  databases_done(&d);
  strcat(ldif, entry);
  assert_int_equal(databases_parse(ldif, &d, &err), -E2BIG);
  databases_done(&d);
}

static char *with_file(const char *text) {
  static char path[] = "/tmp/umbra-slapd-XXXXXX";
  strcpy(path + sizeof path - 7, "XXXXXX");
  int fd = mkstemp(path);
  assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
  return path;
}

static void test_former(void **state) {
  (void)state;
  struct umbra_error err = {0};
  CLEANUP(databases_done) struct databases d;
  const char *path = with_file("# directory /comment\n  suffix dc=comment\nmoduleload back_mdb\nDatabase\tmdb\n"
                               "suffix \"dc=a b\" dc=x\ndirectory\n  \"/srv/a \\\"b\"\ndatabase mdb\ndbnosync\n"
                               "suffix dc=two\ndirectory /two\ndatabase ldap\nsuffix dc=three");
  assert_int_equal(databases_read("unused", path, false, &d, &err), 0);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(d.count, 2);
  assert_string_equal(d.list[0].name, "dc=a b");
  assert_string_equal(d.list[0].directory, "/srv/a \"b");
  assert_false(d.list[0].unsynced);
  assert_string_equal(d.list[1].directory, "/two");
  assert_true(d.list[1].unsynced);
}

/* A file that includes itself comes to an end; one that is not there is named. */
static void test_former_includes(void **state) {
  (void)state;
  struct umbra_error err = {0};
  struct databases d;
  char text[128] = "include /nowhere/slapd.conf\n";
  const char *path = with_file(text);
  assert_int_equal(databases_read("unused", path, false, &d, &err), -ENOENT);
  assert_non_null(strstr(err.message, "'/nowhere/slapd.conf'"));
  CLEANUP_FCLOSE FILE *file = fopen(path, "w");
  assert_non_null(file);
  (void)fprintf(file, "include %s\n", path);
  (void)fflush(file);
  assert_int_equal(databases_read("unused", path, false, &d, &err), -ELOOP);
  assert_int_equal(unlink(path), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_databases), cmocka_unit_test(test_nothing),
                                     cmocka_unit_test(test_refused),   cmocka_unit_test(test_limit),
                                     cmocka_unit_test(test_former),    cmocka_unit_test(test_former_includes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
