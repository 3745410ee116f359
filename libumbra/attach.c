/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attaching volumes to the copy-on-write engine and detaching them: everything that the two programs then keep is
 * made here. */
#include "libumbra/attached-device.h"
#include "libumbra/attached.h"
#include "libumbra/handles.h"
#include "libumbra/reverting.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"
#include "coordinator/catalog.h"
#include "cow/front/fuse.h"
#include "cow/front/ublk.h"
#include "cow/serve/client.h"
#include "cow/serve/mapped.h"
#include "cow/serve/seat.h"
#include "cow/storage.h"
#include "view/loop.h"
#include "volume/session.h"

#include <errno.h>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { START_TIMEOUT_MS = 30000, END_TIMEOUT_MS = 60000, CALL_TIMEOUT_MS = 60000, BACKLOG = 16, LIMIT_PART = 10 };
enum { ALONE_TRIES_MAX = 150, ALONE_PAUSE_MS = 20 };

/* What attaching holds until the programs have it. */
struct attaching {
  struct umbra_client *client;
  struct umbra_error *err;
  struct seat *seat;
  struct cow_arena arena;
  int fds[SEAT_FDS_END];
  uint64_t device_bytes, limit_bytes, wanted_limit_bytes;
  unsigned limit_percent; /* of what holds the storage; 0: not so given */
  uint32_t chunk_bytes, wanted_chunk_bytes;
  const char *storage, *front;
  bool persistent;
  enum { DM_AUTO, DM_YES, DM_NO } dm;
  bool dm_asked;
  bool mapping, mapping_failed; /* the volume is to be device-mapper's */
  bool taking;                  /* then: it is, since it waits for its programs, which have died */
  int alone_fd;                 /* then: has the origin until device-mapper has */
  char mount[PATH_MAX + 8];
  bool directory_made, mounted, started;
};

static bool name_valid(const char *name) {
  size_t length = strlen(name);
  return length > 0 && length < SEAT_NAME_BYTES && name[0] != '.' && name[0] != '-' &&
         strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

static int number_of(const char *text, uint64_t *ret) {
  char *end;
  errno = 0;
  *ret = strtoull(text, &end, 10);
  return errno != 0 || end == text || *end != '\0' || text[0] == '-' ? -EINVAL : 0;
}

/* Bytes, or "N%" of what holds the storage. */
static int take_limit(struct attaching *a, const char *value) {
  size_t length = strlen(value);
  char digits[4] = "";
  uint64_t percent;
  a->limit_percent = 0;
  a->wanted_limit_bytes = 0;
  if (length == 0 || value[length - 1] != '%')
    return number_of(value, &a->wanted_limit_bytes) < 0 || a->wanted_limit_bytes == 0 ? -EINVAL : 0;
  if (length > sizeof digits)
    return -EINVAL;
  memcpy(digits, value, length - 1);
  if (number_of(digits, &percent) < 0 || percent == 0 || percent > 100)
    return -EINVAL;
  a->limit_percent = (unsigned)percent;
  return 0;
}

static int take_option(struct attaching *a, const char *name, const char *value) {
  static const char *const policies[] = {"drop-oldest", "drop-newest", "stop-writes"};
  uint64_t number = 0;
  if (strcmp(name, "storage") == 0) {
    a->storage = value;
    return 0;
  }
  if (strcmp(name, "front") == 0 && front_named(value)) {
    a->front = value;
    return 0;
  }
  if (strcmp(name, "limit") == 0 && take_limit(a, value) == 0)
    return 0;
  if (strcmp(name, "persistent") == 0 && (strcmp(value, "yes") == 0 || strcmp(value, "no") == 0)) {
    a->persistent = strcmp(value, "yes") == 0;
    return 0;
  }
  if (strcmp(name, "chunk") == 0 && number_of(value, &number) == 0 && number >= COW_CHUNK_BYTES_MIN &&
      number <= COW_CHUNK_BYTES_MAX && (number & (number - 1)) == 0) {
    a->chunk_bytes = a->wanted_chunk_bytes = (uint32_t)number;
    return 0;
  }
  for (int i = DM_AUTO; strcmp(name, "dm") == 0 && i <= DM_NO; i++)
    if (strcmp(value, (const char *[]){[DM_AUTO] = "auto", [DM_YES] = "yes", [DM_NO] = "no"}[i]) == 0) {
      a->dm = i;
      a->dm_asked = true;
      return 0;
    }
  for (uint32_t i = 0; strcmp(name, "full") == 0 && i < sizeof policies / sizeof policies[0]; i++)
    if (strcmp(policies[i], value) == 0) {
      a->seat->full_policy = i;
      return 0;
    }
  return error_set(a->err, -EINVAL, UMBRA_REASON_INVALID, "'%s' cannot be '%s'", name, value);
}

static int waits_for_another(struct attaching *a) {
  return error_set(a->err, -EBUSY, UMBRA_REASON_BUSY,
                   "the device-mapper device of '%s' is still there, from when it was attached over another device "
                   "(its programs died): attach that one again under this name",
                   a->seat->name);
}

/* Exclusive: what is mounted, or somebody's physical volume, is refused by the kernel. */
static int open_device(struct attaching *a, const char *device, int *ret_fd) {
  int block_bytes = 0;
  struct stat st;
  CLEANUP_CLOSE int fd = open(device, O_RDWR | O_DIRECT | (a->taking ? 0 : O_EXCL) | O_CLOEXEC);
  if (fd < 0 && errno == EBUSY)
    return error_set(a->err, -EBUSY, UMBRA_REASON_BUSY,
                     "device '%s' is in use: unmount it first, then mount " ATTACHED_DEVICE_DIRECTORY
                     "/%s in its place; for good: a line in umbratab(5), and in fstab(5) " ATTACHED_DEVICE_DIRECTORY
                     "/%s instead of it, with x-systemd.requires=umbra-attached.service",
                     device, a->seat->name, a->seat->name);
  if (fd < 0)
    return error_errno(a->err, "opening device '%s'", device);
  if (ioctl(fd, BLKGETSIZE64, &a->device_bytes) < 0 || ioctl(fd, BLKSSZGET, &block_bytes) < 0)
    return error_errno(a->err, "asking device '%s' for its size", device);
  a->seat->front_seat.logical_block_bytes = (uint32_t)block_bytes;
  if (a->taking && (fstat(fd, &st) < 0 || !attached_map_is_over(a->seat->directory, st.st_rdev)))
    return waits_for_another(a);
  if (!a->mapping || a->taking) {
    *ret_fd = take_fd(&fd);
    return 0;
  }
  a->alone_fd = take_fd(&fd);
  *ret_fd = open(device, O_RDWR | O_DIRECT | O_CLOEXEC);
  return *ret_fd < 0 ? error_errno(a->err, "opening device '%s'", device) : 0;
}

/* An image file. Exclusive against others who lock it (flock(2)), and against loop devices over it, which do not. */
static int open_image(struct attaching *a, const char *file, int *ret_fd) {
  CLEANUP_FREE char *loop = NULL;
  struct statx direct = {0};
  struct stat st;
  CLEANUP_CLOSE int fd = open(file, O_RDWR | O_DIRECT | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) < 0)
    return error_errno(a->err, "opening file '%s' for direct I/O", file);
  if (loop_over_file(st.st_dev, st.st_ino, &loop))
    return error_set(a->err, -EBUSY, UMBRA_REASON_BUSY,
                     "file '%s' is in use by %s: detach that first (losetup -d), or attach %s instead", file, loop,
                     loop);
  if (flock(fd, LOCK_EX | LOCK_NB) < 0)
    return error_set(a->err, -errno, UMBRA_REASON_BUSY, "file '%s' is locked by somebody else, who uses it", file);
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &direct) < 0)
    return error_errno(a->err, "asking file '%s' for its alignment", file);
  bool known = (direct.stx_mask & STATX_DIOALIGN) && direct.stx_dio_offset_align > 0;
  a->seat->front_seat.logical_block_bytes = known ? direct.stx_dio_offset_align : COW_SECTOR_BYTES;
  a->device_bytes = (uint64_t)st.st_size;
  if (a->device_bytes == 0 || a->device_bytes % a->seat->front_seat.logical_block_bytes != 0)
    return error_set(a->err, -EINVAL, UMBRA_REASON_INVALID, "the size of file '%s' is no multiple of %u bytes", file,
                     a->seat->front_seat.logical_block_bytes);
  *ret_fd = take_fd(&fd);
  return 0;
}

static int open_origin(struct attaching *a, const char *origin) {
  struct stat st;
  if (stat(origin, &st) < 0)
    return error_errno(a->err, "opening '%s'", origin);
  if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
    return error_set(a->err, -ENOTBLK, UMBRA_REASON_INVALID, "'%s' is neither a block device nor a file", origin);
  if (S_ISREG(st.st_mode) && a->taking)
    return waits_for_another(a);
  if (S_ISREG(st.st_mode) && a->dm == DM_YES)
    return error_set(a->err, -EINVAL, UMBRA_REASON_INVALID,
                     "device-mapper needs a block device: make one of '%s' (losetup --find --show) and attach that",
                     origin);
  /* Its ranges are asked for again after each switch (cow/DESIGN.md, E24), which no machine has been seen to do yet.
   */
  if (a->storage && strcmp(a->storage, "inside") == 0 && !a->dm_asked)
    a->dm = DM_NO;
  a->mapping =
      a->taking || (S_ISBLK(st.st_mode) && a->dm != DM_NO && mapper_usable(a->dm == DM_YES ? a->err : NULL) >= 0);
  if (a->dm == DM_YES && !a->mapping)
    return -EOPNOTSUPP;
  a->seat->may_map = a->mapping;
  /* What is told of it must hold in every directory. */
  if (S_ISREG(st.st_mode) && !realpath(origin, a->seat->origin))
    return error_errno(a->err, "resolving '%s'", origin);
  if (S_ISBLK(st.st_mode))
    (void)snprintf(a->seat->origin, sizeof a->seat->origin, "%s", origin);
  int r = S_ISBLK(st.st_mode) ? open_device(a, origin, &a->fds[SEAT_ORIGIN])
                              : open_image(a, origin, &a->fds[SEAT_ORIGIN]);
  return r < 0 ? r : attached_device_describe(a->seat, a->fds[SEAT_ORIGIN], a->device_bytes, a->err);
}

static int open_storage(struct attaching *a) {
  const char *where = a->storage ? a->storage : a->client->coordinator->state_dir;
  CLEANUP_FREE char *path = NULL;
  int *fd = &a->fds[SEAT_STORAGE];
  bool inside = strcmp(where, "inside") == 0;
  if (inside && a->persistent)
    return error_set(
        a->err, -EOPNOTSUPP, UMBRA_REASON_INVALID,
        "storage inside the volume cannot be persistent: what lies there is found through the volume's own "
        "filesystem, which is not mounted yet when shadow copies would have to come back");
  if (inside && (*fd = fcntl(a->fds[SEAT_ORIGIN], F_DUPFD_CLOEXEC, 0)) < 0)
    return error_errno(a->err, "opening the storage");
  a->seat->storage_inside = inside;
  int r =
      inside ? 0
      : a->persistent
          ? attached_open_kept(a->client, where, a->seat->name, a->seat->front_seat.logical_block_bytes, fd, &path)
          : attached_open_storage(a->client, where, a->seat->name, a->seat->front_seat.logical_block_bytes, fd);
  if (r < 0)
    return r;
  uint64_t part = a->device_bytes / LIMIT_PART;
  if (a->limit_percent > 0) {
    r = attached_storage_size(*fd, &part);
    if (r < 0)
      return error_code(a->err, r, "asking how large what holds storage '%s' is", where);
    part = part / 100 * a->limit_percent;
  }
  a->limit_bytes = a->wanted_limit_bytes           ? a->wanted_limit_bytes
                   : part > COW_STORAGE_STEP_BYTES ? part
                                                   : (uint64_t)COW_STORAGE_STEP_BYTES;
  a->seat->storage_limit_bytes = a->limit_bytes;
  (void)snprintf(a->seat->storage, sizeof a->seat->storage, "%s", inside ? "the volume itself" : path ? path : where);
  return 0;
}

static int recover(struct attaching *a) {
  struct attached_keeping k = {.storage_fd = a->fds[SEAT_STORAGE],
                               .origin_fd = a->fds[SEAT_ORIGIN],
                               .path = a->seat->storage,
                               .volume_bytes = a->device_bytes,
                               .limit_bytes = a->limit_bytes,
                               .wanted_limit_bytes = a->wanted_limit_bytes,
                               .chunk_bytes = a->chunk_bytes,
                               .wanted_chunk_bytes = a->wanted_chunk_bytes};
  return attached_recover(a->client, &k, &a->arena, &a->seat->storage_start_bytes, &a->seat->storage_limit_bytes);
}

static int make_arena(struct attaching *a) {
  struct cow_geometry g = {.volume_bytes = a->device_bytes, .chunk_bytes = a->chunk_bytes};
  uint64_t slots = a->limit_bytes / a->chunk_bytes;
  if (slots == 0)
    return error_set(a->err, -EINVAL, UMBRA_REASON_INVALID,
                     "a limit of %llu bytes is less than one chunk (%u bytes): nothing could be kept",
                     (unsigned long long)a->limit_bytes, a->chunk_bytes);
  int r = a->persistent ? recover(a)
                        : cow_arena_create(&a->arena, &g, slots < COW_SLOTS_MAX ? (uint32_t)slots : COW_SLOTS_MAX,
                                           COW_SLOTS_MAX, a->err);
  for (int i = 0; r >= 0 && i < COW_REGIONS; i++)
    if ((a->fds[SEAT_ARENA + i] = fcntl(a->arena.fds[i], F_DUPFD_CLOEXEC, 0)) < 0)
      r = error_errno(a->err, "handing over memory");
  return r;
}

/* Beside the program that runs when it was not installed, else where it was installed. */
static int find_program(struct attaching *a) {
  char self[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  char *slash = n > 0 ? memrchr(self, '/', (size_t)n) : NULL;
  if (slash) {
    *slash = '\0';
    (void)snprintf(a->seat->program, sizeof a->seat->program, "%.*s/umbra-cow", (int)(slash - self), self);
    if (access(a->seat->program, X_OK) == 0)
      return 0;
  }
  (void)snprintf(a->seat->program, sizeof a->seat->program, "%s/umbra-cow", UMBRA_LIBEXEC_DIR);
  if (access(a->seat->program, X_OK) == 0)
    return 0;
  return error_errno(a->err, "looking for the program '%s'", a->seat->program);
}

/* One word to the supervisor; waits until it has done it. */
static int say_word(const char *directory, const char *word, struct umbra_error *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct timeval timeout = {.tv_sec = END_TIMEOUT_MS / 1000};
  char answer[8] = "";
  (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/supervise", directory);
  CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) < 0 ||
      connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
      send(fd, word, strlen(word), MSG_NOSIGNAL) < 0 || recv(fd, answer, sizeof answer - 1, 0) < 0)
    return error_errno(err, "asking the supervisor at '%s' to %s", directory, word);
  return strcmp(answer, "ok") == 0
             ? 0
             : error_set(err, -EBUSY, UMBRA_REASON_BUSY, "the supervisor at '%s' is busy", directory);
}

/* What a volume of this name left that died with both its programs. */
static int make_directory(struct attaching *a) {
  const char *directory = a->seat->directory;
  CLEANUP_CLOSE int fd = -1;
  if (mkdir(directory, 0700) < 0 && errno != EEXIST)
    return error_errno(a->err, "making '%s'", directory);
  a->directory_made = true;
  if (cow_client_connect(directory, &fd, NULL) >= 0) {
    a->directory_made = false;
    return error_set(a->err, -EEXIST, UMBRA_REASON_BUSY, "a volume is attached as '%s' already", a->seat->name);
  }
  loop_drop_below(a->mount);
  while (umount2(a->mount, MNT_DETACH) == 0)
    ;
  if (mkdir(a->mount, 0700) < 0 && errno != EEXIST)
    return error_errno(a->err, "making '%s'", a->mount);
  return 0;
}

static int listen_at(struct attaching *a, const char *name, int *ret) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int n = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", a->seat->directory, name);
  if (n < 0 || (size_t)n >= sizeof address.sun_path)
    return error_set(a->err, -ENAMETOOLONG, UMBRA_REASON_INVALID, "the path '%s/%s' is too long for a socket",
                     a->seat->directory, name);
  *ret = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  (void)unlink(address.sun_path);
  if (*ret < 0 || bind(*ret, (struct sockaddr *)&address, sizeof address) < 0 || listen(*ret, BACKLOG) < 0)
    return error_errno(a->err, "listening at '%s'", address.sun_path);
  return 0;
}

static int start_programs(struct attaching *a) {
  CLEANUP_FREE char *source = NULL;
  int r = volume_session_source((const int[]){a->fds[SEAT_ORIGIN], a->fds[SEAT_STORAGE]}, 2, &source, a->err);
  if (r >= 0)
    r = fuse_front_mount(a->mount, source, &a->fds[SEAT_SESSION], a->err);
  if (r < 0)
    return r;
  a->mounted = true;
  r = attached_device_make(a->seat, a->err);
  if (r >= 0 && a->taking)
    r = attached_map_again(a->seat, a->err);
  if (r < 0)
    return r;
  r = seat_run(a->seat, a->fds, "supervise", SEAT_DETACHED, a->err);
  if (r < 0)
    return r;
  a->started = true;
  CLEANUP_CLOSE int fd = -1;
  r = cow_client_connect(a->seat->directory, &fd, a->err);
  if (r >= 0)
    r = cow_client_call(fd, json_pack("{s:s}", "do", "status"), START_TIMEOUT_MS, NULL, a->err);
  return r;
}

/* The block device, and its names. */
static int publish(struct attaching *a, char **ret_path) {
  int r = attached_device_show(a->seat, a->err);
  if (r < 0)
    return r;
  if (a->taking)
    r = attached_hand_over(a->seat, a->err);
  else
    memcpy(a->seat->device, a->seat->front_device, sizeof a->seat->device);
  if (a->mapping && !a->taking)
    r = attached_map(a->seat, a->fds[SEAT_ORIGIN], &a->alone_fd, a->device_bytes, a->err);
  a->mapping_failed = r < 0 && !a->taking;
  if (r < 0)
    return r;
  return attached_device_name(a->seat, ret_path, a->err);
}

static void undo(struct attaching *a) {
  /* One that waits for its programs goes on waiting, and is found again. */
  const bool survivor = a->seat->front_seat.survivor;
  if (!survivor && atomic_load(&a->seat->mapped))
    (void)attached_unmap(a->seat->directory, a->seat->origin, NULL);
  if (!survivor)
    (void)attached_device_hide(a->seat->front, a->seat->front_device, a->seat->directory, NULL);
  if (a->started)
    (void)say_word(a->seat->directory, "end", NULL);
  if (!survivor)
    attached_device_remove(a->seat->front, a->seat->front_device);
  if (a->mounted)
    (void)umount2(a->mount, MNT_DETACH);
  if (a->directory_made && !survivor)
    (void)fd_remove_tree(AT_FDCWD, a->seat->directory);
}

static int choose_front(struct attaching *a) {
  const struct front *front;
  /* What waits for its programs stays what it is. */
  const char *asked = !a->front && a->seat->front_seat.survivor ? front_ublk.name : a->front;
  int r = front_choose(asked, &front, a->seat->front_why, a->err);
  if (r >= 0)
    (void)snprintf(a->seat->front, sizeof a->seat->front, "%s", front->name);
  return r;
}

static int attach(struct attaching *a, const char *device, const char *name,
                  const struct umbra_attach_option *options, size_t option_count, bool may_map, char **ret_path) {
  (void)snprintf(a->seat->name, sizeof a->seat->name, "%s", name);
  (void)snprintf(a->seat->directory, sizeof a->seat->directory, "%s/attached", a->client->coordinator->runtime_dir);
  int r = fd_make_directories(a->seat->directory, 0755);
  if (r < 0)
    return error_code(a->err, r, "making '%s'", a->seat->directory);
  (void)snprintf(a->seat->directory, sizeof a->seat->directory, "%s/attached/%s", a->client->coordinator->runtime_dir,
                 name);
  (void)snprintf(a->mount, sizeof a->mount, "%s/mnt", a->seat->directory);
  for (size_t i = 0; i < option_count; i++)
    if ((r = take_option(a, options[i].name, options[i].value)) < 0)
      return r;
  a->seat->front_seat.survivor = attached_device_waits(a->seat->directory);
  a->taking = attached_map_waits(a->seat->directory);
  /* What waits for its programs is used as the device that it is. */
  if (!may_map || (a->seat->front_seat.survivor && !a->taking && a->dm == DM_AUTO))
    a->dm = DM_NO;
  if ((!a->taking && (r = attached_clear_left(name, a->seat->directory, a->err)) < 0) || (r = choose_front(a)) < 0 ||
      (r = open_origin(a, device)) < 0 || (r = open_storage(a)) < 0 || (r = make_arena(a)) < 0 ||
      (r = find_program(a)) < 0 || (r = make_directory(a)) < 0 ||
      (r = listen_at(a, "control", &a->fds[SEAT_CONTROL])) < 0 ||
      (r = listen_at(a, "supervise", &a->fds[SEAT_SUPERVISE])) < 0 || (r = start_programs(a)) < 0)
    return r;
  r = publish(a, ret_path);
  /* The session has begun: somebody has opened the volume by now. */
  if (r >= 0 && atomic_load(&a->seat->front_seat.resends) == FRONT_RESENDS_NOT)
    coordinator_warn(
        a->client->coordinator,
        "attaching '%s': this kernel (before Linux 6.9) does not hand the I/O of a server that dies to the "
        "next one: if it dies with I/O under way, the volume's I/O fails until it is unmounted and attached again, "
        "as if the disk had been pulled",
        a->seat->name);
  uint32_t weaknesses = atomic_load(&a->seat->weaknesses);
  for (unsigned w = 0; r >= 0 && w < SEAT_WEAKNESSES; w++)
    if (weaknesses >> w & 1)
      coordinator_warn(a->client->coordinator, "attaching '%s': its server %s", a->seat->name, seat_weakness_text(w));
  return r;
}

/* *ret_again: it failed for device-mapper's sake, and need not be device-mapper's. */
static int attach_once(struct umbra_client *client, const char *device, const char *name,
                       const struct umbra_attach_option *options, size_t option_count, bool may_map, bool *ret_again,
                       char **ret_path) {
  struct attaching a = {
      .client = client, .err = &client->error, .chunk_bytes = COW_CHUNK_BYTES_DEFAULT, .alone_fd = -1};
  int r;
  for (int i = 0; i < SEAT_FDS_END; i++)
    a.fds[i] = -1;
  if (!name_valid(name))
    return error_set(a.err, -EINVAL, UMBRA_REASON_INVALID, "'%s' is no name for an attached volume", name);
  r = seat_create(&a.seat, &a.fds[SEAT_CONFIG], a.err);
  if (r < 0)
    return r;
  for (int i = 0; i < COW_REGIONS; i++)
    a.arena.fds[i] = -1;
  r = attach(&a, device, name, options, option_count, may_map, ret_path);
  if (r < 0)
    undo(&a);
  *ret_again = r < 0 && a.mapping && a.mapping_failed && a.dm == DM_AUTO;
  cow_arena_done(&a.arena);
  (void)munmap(a.seat, sizeof *a.seat);
  for (int i = SEAT_CONFIG; i < SEAT_FDS_END; i++)
    cleanup_close_fd(&a.fds[i]);
  cleanup_close_fd(&a.alone_fd);
  return r;
}

int umbra_attach(struct umbra_client *client, const char *device, const char *name,
                 const struct umbra_attach_option *options, size_t option_count, char **ret_path) {
  bool again = false;
  int r = client_prepare(client);
  if (r >= 0)
    r = attach_once(client, device, name, options, option_count, true, &again, ret_path);
  if (again) {
    coordinator_warn(client->coordinator, "attaching '%s' without device-mapper, all I/O goes through the engine: %s",
                     name, client->error.message);
    error_clear(&client->error);
    r = attach_once(client, device, name, options, option_count, false, &again, ret_path);
  }
  CLEANUP_FREE char *directory = NULL;
  if (r >= 0 && attached_directory_of(client, name, &directory) >= 0)
    reverting_judge(client, name, directory);
  return r;
}

int attached_directory_of(struct umbra_client *client, const char *name, char **ret) {
  if (!name_valid(name))
    return error_set(&client->error, -EINVAL, UMBRA_REASON_INVALID, "'%s' is no name of an attached volume", name);
  if (asprintf(ret, "%s/attached/%s", client->coordinator->runtime_dir, name) < 0) {
    *ret = NULL;
    return error_set(&client->error, -ENOMEM, UMBRA_REASON_INTERNAL, "looking for '%s'", name);
  }
  return 0;
}

/* A filesystem on it is mounted where we can see it. */
static bool device_is_mounted(const char *device) {
  struct stat st;
  struct libmnt_table *table = stat(device, &st) == 0 ? mnt_new_table_from_file("/proc/self/mountinfo") : NULL;
  bool found = table && mnt_table_find_devno(table, st.st_rdev, MNT_ITER_FORWARD);
  mnt_unref_table(table);
  return found;
}

int attached_open_alone(struct umbra_client *client, const char *device, int flags, int *ret_fd) {
  /*
   * Who looks for filesystems or for a free loop device has any device to itself for a moment, and so has a
   * filesystem whose last user was a process that is on its way out.
   */
  for (int tries = 0; tries < ALONE_TRIES_MAX; tries++) {
    *ret_fd = open(device, flags | O_EXCL | O_CLOEXEC);
    if (*ret_fd >= 0 || errno != EBUSY)
      break;
    bool mounted = device_is_mounted(device);
    errno = EBUSY;
    if (mounted)
      break;
    const struct timespec pause = {.tv_nsec = ALONE_PAUSE_MS * NS_PER_MS};
    (void)nanosleep(&pause, NULL);
    errno = EBUSY;
  }
  if (*ret_fd < 0 && errno == EBUSY)
    return error_set(&client->error, -EBUSY, UMBRA_REASON_BUSY, "'%s' is in use: unmount it first", device);
  return *ret_fd < 0 ? error_errno(&client->error, "opening '%s'", device) : 0;
}

/* Has the set a shadow copy of the volume with this directory? */
static bool set_uses(const json_t *entry, const char *directory) {
  const char *id;
  json_t *made;
  json_object_foreach(json_object_get((json_t *)entry, "records"), id, made) {
    CLEANUP_FREE char *its = NULL;
    const json_t *record = json_object_get(made, "record");
    if (strcmp(json_get_string_or(made, "provider", ""), "cow") == 0 &&
        json_path_value(json_object_get(record, "directory"), &its) >= 0 && strcmp(its, directory) == 0)
      return true;
  }
  return false;
}

/* The sets that lose a shadow copy go as a whole, with the devices that show them. Persistent ones stay. */
static int delete_sets_of(struct umbra_client *client, const char *directory) {
  CLEANUP_JSON json_t *entries = NULL;
  size_t i;
  const json_t *entry;
  int r = catalog_load(client->coordinator->state_dir, &entries, NULL, &client->error);
  json_array_foreach(entries, i, entry) {
    if (r >= 0 && !json_get_boolean_or(entry, "persistent", false) && set_uses(entry, directory))
      r = umbra_delete(client, json_get_string_or(json_object_get(entry, "set"), "id", ""));
  }
  return r;
}

/* Both its programs died: what device-mapper has of it, if anything. */
static int detach_dead(struct umbra_client *client, const char *name, const char *directory) {
  if (attached_device_waits(directory))
    return error_set(&client->error, -EBUSY, UMBRA_REASON_BUSY,
                     "'%s' waits for its programs, which have both died: attach it again, and detach it then", name);
  int r = attached_clear_left(name, directory, &client->error);
  if (r == 0)
    return error_set(&client->error, -ENOENT, UMBRA_REASON_NOT_FOUND, "no volume is attached as '%s'", name);
  if (r < 0)
    return r;
  attached_device_unname(name, directory);
  (void)fd_remove_tree(AT_FDCWD, directory);
  error_clear(&client->error);
  return 0;
}

int umbra_detach(struct umbra_client *client, const char *name, int force) {
  CLEANUP_FREE char *directory = NULL;
  CLEANUP_CLOSE int fd = -1, alone = -1;
  CLEANUP_JSON json_t *status = NULL;
  char file[PATH_MAX];
  int r = client_prepare(client);
  if (r >= 0)
    r = attached_directory_of(client, name, &directory);
  if (r >= 0)
    r = cow_client_connect(directory, &fd, &client->error);
  if (r == -ENOENT)
    return detach_dead(client, name, directory);
  if (r < 0)
    return r;
  r = cow_client_call(fd, json_pack("{s:s}", "do", "status"), CALL_TIMEOUT_MS, &status, &client->error);
  if (r < 0)
    return r;
  json_int_t shadows = json_get_integer_or(status, "shadows", 0) - json_get_integer_or(status, "kept", 0);
  if (shadows > 0 && !force)
    return error_set(&client->error, -EBUSY, UMBRA_REASON_BUSY,
                     "'%s' has %lld shadow copies, which go with it: delete them, or detach with --force", name,
                     (long long)shadows);
  CLEANUP_FREE char *half = force ? NULL : reverting_to(client, name);
  if (half)
    return error_set(&client->error, -EBUSY, UMBRA_REASON_BUSY,
                     "'%s' is half reverted: end that first (umbra revert %.8s), or detach with --force", name, half);
  const char *front = json_get_string_or(status, "front", ""),
             *front_device = json_get_string_or(status, "front_device", "");
  const char *device = json_get_string_or(status, "device", "");
  bool published = device[0] != '\0';
  if (published)
    r = attached_open_alone(client, device, O_RDONLY, &alone);
  /* An earlier detach may have come as far as that. */
  if (r == -ENOENT && json_get_boolean_or(status, "mapped", false))
    r = 0;
  if (r >= 0)
    r = attached_let_go(client, directory);
  if (r >= 0)
    r = delete_sets_of(client, directory);
  if (r >= 0 && json_get_boolean_or(status, "mapped", false)) {
    /* Device-mapper removes what nobody has open. Should somebody be faster, it stays what it is. */
    cleanup_close_fd(&alone);
    alone = -1;
    r = attached_unmap(directory, json_get_string_or(status, "origin", ""), &client->error);
  }
  if (r >= 0)
    r = attached_device_hide(front, front_device, directory, &client->error);
  /* Before the device is given up: its number may be another volume's a moment later. */
  if (r >= 0)
    attached_device_unname(name, directory);
  cleanup_close_fd(&alone);
  alone = -1;
  if (r < 0)
    return r;
  r = say_word(directory, "end", &client->error);
  attached_device_remove(front, front_device);
  (void)snprintf(file, sizeof file, "%s/mnt", directory);
  (void)umount2(file, MNT_DETACH);
  (void)fd_remove_tree(AT_FDCWD, directory);
  return r;
}

int umbra_attached_restart(struct umbra_client *client, const char *name) {
  CLEANUP_FREE char *directory = NULL;
  error_clear(&client->error);
  int r = attached_directory_of(client, name, &directory);
  return r < 0 ? r : say_word(directory, "upgrade", &client->error);
}
