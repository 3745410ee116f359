/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume/: volumes made of texts in the form of mountinfo and of a made-up sysfs, so that every machine can be tried.
 */
#include "common/cleanup.h"
#include "volume/describe.h"
#include "volume/session.h"
#include "volume/table.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
/* After the others: it needs what they define. */
#include <cmocka.h>

static char root[] = "/tmp/umbra-unit-volume.XXXXXX";
static char sysfs[128], proc[128], dev[128];
static struct places places;

/* ---- a machine in a folder ---- */

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *format, ...) {
  char command[1024];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(command, sizeof command, format, args);
  va_end(args);
  assert_int_equal(system(command), 0);
}

static int make_machine(void **state) {
  (void)state;
  if (!mkdtemp(root))
    return -1;
  (void)snprintf(sysfs, sizeof sysfs, "%s/sys", root);
  (void)snprintf(proc, sizeof proc, "%s/proc", root);
  (void)snprintf(dev, sizeof dev, "%s/dev", root);
  run("mkdir -p %s/dev/block %s/fs/btrfs %s/fs/ext4 %s/fs/jbd2 %s", sysfs, sysfs, sysfs, proc, dev);
  places = (struct places){.sysfs = sysfs, .proc = proc, .dev = dev};
  return 0;
}

static int remove_machine(void **state) {
  (void)state;
  char command[256];
  (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
  return system(command);
}

/* A disk NAME of MAJOR:MINOR. */
static void add_disk(const char *name, const char *number, unsigned sectors, unsigned sector_bytes) {
  run("mkdir -p %s/devices/%s/queue %s/devices/%s/slaves && echo %s >%s/devices/%s/dev && echo %u "
      ">%s/devices/%s/size && "
      "echo %u >%s/devices/%s/queue/logical_block_size && ln -s ../../devices/%s %s/dev/block/%s",
      sysfs, name, sysfs, name, number, sysfs, name, sectors, sysfs, name, sector_bytes, sysfs, name, name, sysfs,
      number);
}
static void add_partition(const char *disk, const char *name, const char *number, unsigned sectors) {
  run("mkdir -p %s/devices/%s/%s && cd %s/devices/%s/%s && echo 1 >partition && echo %s >dev && echo %u >size && "
      "ln -s ../../devices/%s/%s %s/dev/block/%s",
      sysfs, disk, name, sysfs, disk, name, number, sectors, disk, name, sysfs, number);
}
static void add_slave(const char *upper, const char *lower) {
  run("ln -s ../../%s %s/devices/%s/slaves/%s", lower, sysfs, upper, lower);
}
static void set_backing_file(const char *loop, const char *path) {
  run("mkdir -p %s/devices/%s/loop && echo '%s' >%s/devices/%s/loop/backing_file", sysfs, loop, path, sysfs, loop);
}

static struct volume_table *parse(const char *text) {
  struct umbra_error err = {0};
  struct volume_table *table = NULL;
  CLEANUP_FCLOSE FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
  assert_non_null(file);
  if (volume_table_parse(file, &places, &table, &err) < 0)
    fail_msg("%s", err.message);
  return table;
}

static const struct volume *get(const struct volume_table *table, const char *key) {
  const struct volume *volume = volume_table_find(table, key);
  if (!volume)
    fail_msg("no volume %s", key);
  return volume;
}

/* ---- volumes ---- */

static const char plain[] = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
                            "23 22 0:21 / /proc rw - proc proc rw\n"
                            "24 22 8:2 / /srv rw - xfs /dev/sda2 ro,attr2\n"
                            "25 22 8:2 /data /bind rw - xfs /dev/sda2 ro,attr2\n";

static void bind_mounts_are_one_volume(void **state) {
  (void)state;
  struct volume_table *table = parse(plain);
  assert_int_equal(volume_table_count(table), 3);
  const struct volume *v = get(table, "8:2");
  assert_string_equal(v->mount_point, "/srv");
  assert_string_equal(v->fs_root, "/");
  assert_string_equal(v->fs_type, "xfs");
  assert_string_equal(v->source, "/dev/sda2");
  assert_int_equal(v->mount_id, 24);
  assert_true(v->device == makedev(8, 2));
  assert_true(v->read_only);
  assert_false(get(table, "8:1")->read_only);
  assert_true(v->can_freeze);
  assert_null(v->freeze_why);
  assert_null(volume_table_find(table, "8:3"));
  assert_null(volume_table_get(table, 3));
  volume_table_free(table);
}

static void the_mount_that_shows_most_is_chosen(void **state) {
  (void)state;
  struct volume_table *table = parse("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
                                     "30 22 8:2 /a/b /deep rw - ext4 /dev/sda2 rw\n"
                                     "31 22 8:2 /a /one rw - ext4 /dev/sda2 rw\n"
                                     "32 22 8:2 /c /two rw - ext4 /dev/sda2 rw\n");
  /* Of equals the oldest. */
  assert_string_equal(get(table, "8:2")->mount_point, "/one");
  volume_table_free(table);
}

static void mounts_that_nothing_leads_to_are_not_chosen(void **state) {
  (void)state;
  struct volume_table *table = parse("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
                                     "30 22 8:2 / /x rw - ext4 /dev/sda2 rw\n"
                                     "31 30 8:3 / /x rw - ext4 /dev/sda3 rw\n"   /* over 30 */
                                     "32 22 8:2 /d /y rw - ext4 /dev/sda2 rw\n"  /* visible */
                                     "40 22 8:4 / /p/q rw - ext4 /dev/sda4 rw\n" /* below 41 */
                                     "41 22 8:5 / /p rw - ext4 /dev/sda5 rw\n"
                                     "42 40 8:6 / /p/q/r rw - ext4 /dev/sda6 rw\n"); /* on the hidden one */
  assert_string_equal(get(table, "8:2")->mount_point, "/y");
  assert_true(get(table, "8:3")->can_freeze);
  assert_false(get(table, "8:4")->can_freeze);
  assert_non_null(strstr(get(table, "8:4")->freeze_why, "mounted over '/p/q'"));
  assert_false(get(table, "8:6")->can_freeze);
  assert_true(get(table, "8:5")->can_freeze);
  volume_table_free(table);
}

static void hidden_reaches_down_and_not_sideways(void **state) {
  (void)state;
  struct volume_table *table =
      parse("22 22 8:1 / / rw - ext4 /dev/sda1 rw\n" /* its own parent, as in a container */
            "30 22 8:2 / /a rw - ext4 /dev/sda2 rw\n"
            "33 32 8:5 / /a/x rw - ext4 /dev/sda5 rw\n" /* on what covers: visible */
            "32 30 8:4 / /a rw - ext4 /dev/sda4 rw\n"   /* covers 30 */
            "34 30 8:6 / /a/y rw - ext4 /dev/sda6 rw\n" /* on the covered one: hidden */
            "35 34 8:7 / /a/y/z rw - ext4 /dev/sda7 rw\n"
            "36 22 8:8 / /ab rw - ext4 /dev/sda8 rw\n"); /* only begins with the same letter */
  static const char *const visible[] = {"8:1", "8:4", "8:5", "8:8"}, *const hidden[] = {"8:2", "8:6", "8:7"};
  for (size_t i = 0; i < sizeof visible / sizeof visible[0]; i++)
    if (!get(table, visible[i])->can_freeze)
      fail_msg("%s is visible", visible[i]);
  for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
    if (get(table, hidden[i])->can_freeze)
      fail_msg("%s is hidden", hidden[i]);
  volume_table_free(table);
}

/* A machine full of containers. Quadratic work would take minutes here. */
static void many_mounts_are_no_trouble(void **state) {
  (void)state;
  enum { MANY = 30000 };
  CLEANUP_FREE char *text = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&text, &length);
  assert_non_null(out);
  (void)fputs("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", out);
  for (int i = 0; i < MANY; i++)
    (void)fprintf(out, "%d 22 0:%d / /run/containers/%d/merged rw - tmpfs none rw\n", 100 + i, 100 + i, i);
  assert_int_equal(fclose(out), 0);
  struct volume_table *table = parse(text);
  assert_int_equal(volume_table_count(table), MANY + 1);
  assert_string_equal(get(table, "0:20100")->mount_point, "/run/containers/20000/merged");
  volume_table_free(table);
}

static void each_btrfs_subvolume_is_a_volume(void **state) {
  (void)state;
  struct volume_table *table =
      parse("22 1 0:30 /@ / rw - btrfs /dev/sda1 rw,subvolid=256,subvol=/@\n"
            "23 22 0:30 /@home /home rw - btrfs /dev/sda1 rw,subvolid=257,subvol=/@home\n"
            "24 22 0:30 /@home/alice /srv/alice rw - btrfs /dev/sda1 rw,subvolid=257,subvol=/@home\n"
            "25 22 0:31 / /old rw - btrfs /dev/sdb rw\n");
  assert_int_equal(volume_table_count(table), 3);
  assert_string_equal(get(table, "0:30:/@home")->mount_point, "/home");
  assert_string_equal(get(table, "0:30:/@")->mount_point, "/");
  assert_string_equal(get(table, "0:31:/")->mount_point, "/old");
  volume_table_free(table);
}

static void names_are_unescaped(void **state) {
  (void)state;
  struct volume_table *table = parse("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
                                     "23 22 8:2 /a\\040b /new\\012line\\134 rw - ext4 /dev/sda2 rw\n");
  assert_string_equal(get(table, "8:2")->mount_point, "/new\nline\\");
  assert_string_equal(get(table, "8:2")->fs_root, "/a b");
  volume_table_free(table);
}

static void an_empty_list_has_no_volumes(void **state) {
  (void)state;
  struct volume_table *table = NULL;
  CLEANUP_FCLOSE FILE *file = fopen("/dev/null", "re");
  assert_int_equal(volume_table_parse(file, &places, &table, NULL), 0);
  assert_int_equal(volume_table_count(table), 0);
  volume_table_free(table);
}

static void paths_within_a_filesystem(void **state) {
  (void)state;
  static const struct {
    const char *mount_point, *fs_root, *path, *expected;
  } cases[] = {
      {"/", "/", "/", "/"},
      {"/", "/", "/etc/passwd", "/etc/passwd"},
      {"/", "/@", "/etc", "/@/etc"},
      {"/srv", "/", "/srv", "/"},
      {"/srv", "/", "/srv/a", "/a"},
      {"/srv", "/data", "/srv/a/b", "/data/a/b"},
      {"/srv", "/data", "/srv", "/data"},
      {"/srv", "/data", "/srvother", NULL},
      {"/srv", "/", "/etc", NULL},
      {"/srv", "/", "/", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct volume v = {.mount_point = (char *)(uintptr_t)cases[i].mount_point,
                       .fs_root = (char *)(uintptr_t)cases[i].fs_root};
    CLEANUP_FREE char *inside = NULL;
    struct umbra_error err = {0};
    int r = volume_path_in_filesystem(&v, cases[i].path, &inside, &err);
    assert_int_equal(r, cases[i].expected ? 0 : -EXDEV);
    if (cases[i].expected)
      assert_string_equal(inside, cases[i].expected);
  }
}

/* ---- what cannot be frozen, or copied as an image ---- */

static void reasons_are_given_in_words(void **state) {
  (void)state;
  static const struct {
    const char *type, *options, *words; /* words NULL: it can be frozen */
  } cases[] = {
      {"ext2", "rw", NULL},
      {"ext4", "ro", NULL},
      {"xfs", "rw", NULL},
      {"f2fs", "rw", NULL},
      {"vfat", "rw", "FAT has no freeze"},
      {"nfs4", "rw", "network filesystem"},
      {"cifs", "rw", "network filesystem"},
      {"9p", "rw", "network filesystem"},
      {"tmpfs", "rw", "lives in memory"},
      {"ramfs", "rw", "lives in memory"},
      {"zfs", "rw", "zfs snapshot"},
      {"fuse", "rw", "FUSE"},
      {"fuseblk", "rw", "FUSE"},
      {"fuse.sshfs", "rw", "network filesystem"},
      {"squashfs", "ro", "read-only by nature"},
      {"proc", "rw", "made up by the kernel"},
      {"cgroup2", "rw", "made up by the kernel"},
      {"newfs", "rw", "does not know that newfs can be frozen"},
      {"overlay", "rw,lowerdir=/l,upperdir=/srv/upper,workdir=/srv/work", "name '/srv/upper' instead"},
      {"overlay", "ro,lowerdir=/l:/m", "no upper directory"},
      {"overlay", "rw,lowerdir=/l,upperdir=upper,workdir=work", "cannot be reached from here"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char text[512];
    (void)snprintf(text, sizeof text,
                   "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n24 22 8:2 / /srv rw - xfs /dev/sda2 rw\n"
                   "25 22 0:99 / /it rw - %s source %s\n",
                   cases[i].type, cases[i].options);
    struct volume_table *table = parse(text);
    const struct volume *v = get(table, "0:99");
    if (v->can_freeze != !cases[i].words || (v->freeze_why != NULL) == v->can_freeze)
      fail_msg("%s: can_freeze is wrong", cases[i].type);
    if (cases[i].words && !strstr(v->freeze_why, cases[i].words))
      fail_msg("%s: '%s' is not in '%s'", cases[i].type, cases[i].words, v->freeze_why);
    volume_table_free(table);
  }
}

static void an_image_has_to_be_the_whole_filesystem(void **state) {
  (void)state;
  add_disk("sdp", "8:240", 2048, 512);
  add_disk("sdq", "8:241", 2048, 512);
  add_disk("sdr", "8:242", 2048, 512);
  add_disk("sds", "8:243", 2048, 512);
  run("for d in sdp sdq; do mkdir %s/fs/ext4/$d && echo 123 >%s/fs/ext4/$d/journal_task; done", sysfs, sysfs);
  run("mkdir %s/fs/ext4/sdr && echo '<none>' >%s/fs/ext4/sdr/journal_task", sysfs, sysfs);
  run("mkdir %s/fs/jbd2/sdp-8 %s/fs/jbd2/sdx %s/fs/jbd2/sdq-x", proc, proc, proc);
  struct volume_table *table = parse("22 1 8:240 / / rw - ext4 /dev/sdp rw\n"
                                     "23 22 8:241 / /q rw - ext4 /dev/sdq rw\n"
                                     "24 22 8:242 / /r rw - ext4 /dev/sdr rw\n"
                                     "25 22 8:243 / /s rw - xfs /dev/sds rw,logdev=/dev/sdt,noquota\n"
                                     "26 22 0:50 / /n rw - nfs server:/ rw\n");
  assert_null(get(table, "8:240")->image_why);
  assert_non_null(strstr(get(table, "8:241")->image_why, "keeps its journal on another device"));
  assert_true(get(table, "8:241")->can_freeze);
  assert_null(get(table, "8:242")->image_why); /* no journal at all */
  assert_non_null(strstr(get(table, "8:243")->image_why, "'/dev/sdt'"));
  assert_non_null(get(table, "0:50")->image_why);
  volume_table_free(table);
}

/* ---- block devices ---- */

static void sizes_come_from_sysfs(void **state) {
  (void)state;
  add_disk("sda", "8:0", 4096, 4096);
  add_partition("sda", "sda1", "8:1", 2048);
  struct volume_table *table = parse("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 8:0 / /w rw - ext4 /dev/sda rw\n"
                                     "24 22 8:99 / /gone rw - ext4 /dev/sdz rw\n");
  const struct volume *v = get(table, "8:1");
  assert_true(v->block_device == makedev(8, 1));
  assert_int_equal(v->block_bytes, 1024 * 1024);
  assert_int_equal(v->sector_bytes, 4096); /* the disk's: a partition has no queue */
  assert_int_equal(get(table, "8:0")->block_bytes, 2 * 1024 * 1024);
  assert_null(v->block_path); /* no node in this /dev, and none is made */
  assert_true(get(table, "8:99")->block_device == 0);
  volume_table_free(table);
}

/* ---- order of freezing ---- */

enum { LEVELS = 8 };

static int levels_of(const char *text, const char *const *keys, size_t count, unsigned *ret,
                     struct umbra_error *err) {
  struct volume_table *table = parse(text);
  const struct volume *volumes[LEVELS];
  for (size_t i = 0; i < count; i++)
    volumes[i] = get(table, keys[i]);
  int r = volume_table_freeze_levels(table, volumes, count, ret, err);
  volume_table_free(table);
  return r;
}

static void a_loop_freezes_before_what_it_lies_on(void **state) {
  (void)state;
  add_disk("vda", "254:0", 4096, 512);
  add_disk("loop0", "7:0", 2048, 512);
  add_disk("loop1", "7:1", 2048, 512);
  add_disk("dm-0", "253:0", 2048, 512);
  add_partition("loop1", "loop1p1", "259:0", 1024);
  set_backing_file("loop0", "/images/a b.img");
  set_backing_file("loop1", "/mnt/inner.img");
  add_slave("dm-0", "loop0");
  const char text[] = "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
                      "23 22 253:0 / /mnt rw - xfs /dev/mapper/x rw\n" /* dm over loop0 over a file on / */
                      "24 22 259:0 / /top rw - ext4 /dev/loop1p1 rw\n" /* partition of loop1 over a file on /mnt */
                      "25 22 0:40 / /aside rw - tmpfs tmpfs rw\n";
  unsigned levels[LEVELS];
  assert_int_equal(levels_of(text, (const char *[]){"254:0", "253:0", "259:0", "0:40"}, 4, levels, NULL), 0);
  assert_int_equal(levels[0], 2);
  assert_int_equal(levels[1], 1);
  assert_int_equal(levels[2], 0);
  assert_int_equal(levels[3], 0);
  /* The one in between is not in the set: the order holds all the same. */
  assert_int_equal(levels_of(text, (const char *[]){"254:0", "259:0"}, 2, levels, NULL), 0);
  assert_int_equal(levels[0], 1);
  assert_int_equal(levels[1], 0);
  assert_int_equal(levels_of(text, NULL, 0, levels, NULL), 0);
}

static void an_overlay_lies_on_its_upper_directory(void **state) {
  (void)state;
  add_disk("loop7", "7:7", 2048, 512);
  set_backing_file("loop7", "/merged/image");
  unsigned levels[LEVELS];
  assert_int_equal(levels_of("22 1 254:0 / / rw - ext4 /dev/vda rw\n"
                             "23 22 0:60 / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w\n"
                             "24 22 7:7 / /top rw - ext4 /dev/loop7 rw\n",
                             (const char *[]){"254:0", "7:7"}, 2, levels, NULL),
                   0);
  assert_int_equal(levels[0], 1);
  assert_int_equal(levels[1], 0);
}

/* loop60 over a session whose server writes to loop61 (a file on /images) and to a file on btrfs 0:70. */
static void an_attached_volume_lies_on_origin_and_storage(void **state) {
  (void)state;
  add_disk("loop60", "7:60", 2048, 512);
  add_disk("loop61", "7:61", 2048, 512);
  set_backing_file("loop60", "/run/umbra/attached/srv/mnt/volume");
  set_backing_file("loop61", "/images/origin");
  /* Root's session, and one of somebody who would have others wait: it is not believed. */
  for (int user = 0; user <= 1000; user += 1000) {
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
                   "23 22 254:1 / /images rw - ext4 /dev/vda1 rw\n"
                   "24 22 0:70 / /storage rw - btrfs /dev/vda2 rw,subvol=/\n"
                   "25 22 0:71 / /run/umbra/attached/srv/mnt rw - fuse.umbra umbra:block=7:61,superblock=0:70 "
                   "rw,user_id=%d,group_id=0\n"
                   "26 22 7:60 / /srv rw - ext4 /dev/loop60 rw\n",
                   user);
    unsigned levels[LEVELS];
    assert_int_equal(levels_of(text, (const char *[]){"0:70:/", "254:1", "7:60", "254:0"}, 4, levels, NULL), 0);
    assert_int_equal(levels[0], user == 0);
    assert_int_equal(levels[1], user == 0);
    assert_int_equal(levels[2], 0);
    assert_int_equal(levels[3], 0);
  }
}

struct seen {
  char text[128];
};
static void note_seen(bool block, dev_t number, void *context) {
  struct seen *s = context;
  size_t used = strlen(s->text);
  (void)snprintf(s->text + used, sizeof s->text - used, "%s%u:%u ", block ? "b" : "s", major(number), minor(number));
}

static void a_session_says_what_it_lies_on(void **state) {
  (void)state;
  static const struct {
    const char *source, *seen;
  } cases[] = {
      {"umbra:block=7:3,superblock=0:41", "b7:3 s0:41 "},
      {"umbra:superblock=8:1", "s8:1 "},
      {"umbra:", ""},
      {"umbra", ""},
      {"", ""},
      {"block=7:3", ""},
      {"umbra:what=1:2,block=7:,block=7:4", "b7:4 "},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct seen s = {{0}};
    volume_session_visit(cases[i].source, note_seen, &s);
    assert_string_equal(s.text, cases[i].seen);
  }
  /* A file of this machine: its superblock is the one that its mount has. */
  CLEANUP_FREE char *source = NULL;
  struct umbra_error err = {0};
  FILE *file = tmpfile();
  assert_int_equal(volume_session_source((const int[]){fileno(file), fileno(file)}, 2, &source, &err), 0);
  assert_int_equal(fclose(file), 0);
  struct seen s = {{0}};
  volume_session_visit(source, note_seen, &s);
  assert_int_equal(s.text[0], 's');
  assert_int_equal(volume_session_source(NULL, VOLUME_SESSION_FDS_MAX + 1, &source, &err), -E2BIG);
}

static void all_devices_of_a_btrfs_are_found(void **state) {
  (void)state;
  add_disk("loop20", "7:20", 2048, 512);
  add_disk("loop21", "7:21", 2048, 512);
  dev_t members[BLOCK_BELOW_MAX];
  run("mkdir -p %s/fs/btrfs/1-2-3/devices && for d in loop20 loop21; do ln -s ../../../../devices/$d "
      "%s/fs/btrfs/1-2-3/devices/$d; done",
      sysfs, sysfs);
  assert_int_equal(block_btrfs_members(&places, makedev(7, 20), members), 2);
  assert_int_equal(block_btrfs_members(&places, makedev(7, 99), members), 0);
}

static void a_circle_is_refused_by_name(void **state) {
  (void)state;
  add_disk("loop10", "7:10", 2048, 512);
  add_disk("loop11", "7:11", 2048, 512);
  set_backing_file("loop10", "/b/a.img");
  set_backing_file("loop11", "/a/b.img");
  struct umbra_error err = {0};
  unsigned levels[LEVELS] = {7, 7, 7};
  const char text[] = "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
                      "23 22 7:10 / /a rw - ext4 /dev/loop10 rw\n"
                      "24 22 7:11 / /b rw - ext4 /dev/loop11 rw\n";
  assert_int_equal(levels_of(text, (const char *[]){"254:0", "7:10", "7:11"}, 3, levels, &err), -ELOOP);
  assert_non_null(strstr(err.message, "'/a', '/b'"));
  assert_null(strstr(err.message, "'/'"));
  assert_int_equal(levels[0], 7); /* not touched on failure */
  /* One of the two alone lies on itself. */
  assert_int_equal(levels_of(text, (const char *[]){"7:10"}, 1, levels, &err), -ELOOP);
}

static void device_stacks_are_told_in_words(void **state) {
  (void)state;
  add_disk("nvme0n1", "259:40", 4096, 512);
  add_partition("nvme0n1", "nvme0n1p1", "259:41", 2048);
  add_disk("sdb", "8:16", 4096, 512);
  run("mkdir %s/devices/sdb/device && echo 'EXAMPLE 1000  ' >%s/devices/sdb/device/model", sysfs, sysfs);
  add_disk("md0", "9:0", 4096, 512);
  run("mkdir %s/devices/md0/md && echo raid1 >%s/devices/md0/md/level", sysfs, sysfs);
  run("ln -s ../../nvme0n1/nvme0n1p1 %s/devices/md0/slaves/nvme0n1p1", sysfs);
  add_slave("md0", "sdb");
  add_disk("dm-5", "253:5", 4096, 512);
  run("mkdir %s/devices/dm-5/dm && echo LVM-abc >%s/devices/dm-5/dm/uuid && echo vg-home >%s/devices/dm-5/dm/name",
      sysfs, sysfs, sysfs);
  add_slave("dm-5", "md0");
  CLEANUP_FREE char *text = NULL, *loop = NULL, *gone = NULL;
  assert_int_equal(describe_device(&places, makedev(253, 5), &text), 0);
  assert_string_equal(text,
                      "LVM volume 'vg-home' on MD array (raid1) md0 on SCSI, SATA or USB disk sdb (EXAMPLE 1000) and "
                      "partition 1 of NVMe disk nvme0n1");
  add_disk("loop30", "7:30", 2048, 512);
  set_backing_file("loop30", "/images/a b.img");
  assert_int_equal(describe_device(&places, makedev(7, 30), &loop), 0);
  assert_string_equal(loop, "loop device loop30 over the file '/images/a b.img'");
  assert_int_equal(describe_device(&places, makedev(200, 1), &gone), -ENODEV);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bind_mounts_are_one_volume),
      cmocka_unit_test(the_mount_that_shows_most_is_chosen),
      cmocka_unit_test(mounts_that_nothing_leads_to_are_not_chosen),
      cmocka_unit_test(hidden_reaches_down_and_not_sideways),
      cmocka_unit_test(many_mounts_are_no_trouble),
      cmocka_unit_test(each_btrfs_subvolume_is_a_volume),
      cmocka_unit_test(names_are_unescaped),
      cmocka_unit_test(an_empty_list_has_no_volumes),
      cmocka_unit_test(paths_within_a_filesystem),
      cmocka_unit_test(reasons_are_given_in_words),
      cmocka_unit_test(an_image_has_to_be_the_whole_filesystem),
      cmocka_unit_test(sizes_come_from_sysfs),
      cmocka_unit_test(a_loop_freezes_before_what_it_lies_on),
      cmocka_unit_test(an_overlay_lies_on_its_upper_directory),
      cmocka_unit_test(an_attached_volume_lies_on_origin_and_storage),
      cmocka_unit_test(a_session_says_what_it_lies_on),
      cmocka_unit_test(all_devices_of_a_btrfs_are_found),
      cmocka_unit_test(a_circle_is_refused_by_name),
      cmocka_unit_test(device_stacks_are_told_in_words),
  };
  return cmocka_run_group_tests(tests, make_machine, remove_machine);
}
