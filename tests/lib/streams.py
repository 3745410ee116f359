#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads a file's streams by the rules of [MS-BKUP], [MS-FSCC] and [MS-DTYP] and holds them against the file. Shares nothing with stream/.

streams.py check FILE <STREAM      what is in the streams is what the file is
streams.py all LIST                the same of each of a list: file with streams, NUL, file, NUL
streams.py tree DIR COUNT SEED     makes a tree with every kind of file, attribute and name 
streams.py same DIR DIR            two trees are the same
"""
import errno
import os
import random
import stat
import struct
import sys

NO_NAME = {1, 2, 3, 5, 7, 8, 9}


class Damaged(Exception):
    pass


def need(condition, words):
    if not condition:
        raise Damaged(words)


def streams(data):
    at = 0
    while at < len(data):
        need(len(data) - at >= 20, f"a header is cut off at {at}")
        kind, attributes, size, name_size = struct.unpack_from("<IIqI", data, at)
        need(1 <= kind <= 11, f"no stream {kind} at {at}")
        need(size >= 0 and name_size % 2 == 0, f"sizes at {at}")
        need((name_size == 0) == (kind in NO_NAME), f"stream {kind} with a name of {name_size}")
        at += 20
        name = data[at:at + name_size].decode("utf-16-le")
        at += name_size
        need(len(data) - at >= size, f"the data of stream {kind} is cut off")
        yield kind, attributes, name, data[at:at + size]
        at += size


def attributes_of(body):
    at, found = 0, {}
    while True:
        following, flags, name_size, value_size = struct.unpack_from("<IBBH", body, at)
        name = body[at + 8:at + 8 + name_size]
        need(body[at + 8 + name_size] == 0 and flags == 0 and following % 4 == 0, "an entry of the list of attributes")
        found[name.decode("ascii")] = body[at + 9 + name_size:at + 9 + name_size + value_size]
        need(len(found[name.decode("ascii")]) == value_size, "a value is cut off")
        if following == 0:
            need(at + 9 + name_size + value_size == len(body), "bytes behind the attributes")
            return found
        at += following


def sid(data, at):
    revision, parts = data[at], data[at + 1]
    need(revision == 1 and parts <= 15, "a SID")
    authority = int.from_bytes(data[at + 2:at + 8], "big")
    values = struct.unpack_from(f"<{parts}I", data, at + 8)
    return "S-1-" + "-".join(map(str, (authority, *values)))


def descriptor(data, start=0):
    """owner, group, [(type, mask, SID)]; start: where it begins, its offsets being data's"""
    revision, _, control, owner, group, _, dacl = struct.unpack_from("<BBHIIII", data, start)
    need(revision == 1 and control & 0x8000, "a security descriptor that is not self-relative")
    entries = []
    if control & 4 and dacl:
        version, _, size, count, _ = struct.unpack_from("<BBHHH", data, dacl)
        need(version in (2, 4) and dacl + size <= len(data), "an access control list")
        at = dacl + 8
        for _ in range(count):
            kind, flags, length = struct.unpack_from("<BBH", data, at)
            entries.append((kind, struct.unpack_from("<I", data, at + 4)[0], sid(data, at + 8)))
            at += length
        need(at == dacl + size, "bytes behind the access control list")
    return sid(data, owner), sid(data, group), entries


def descriptor_or_none(data, start):
    try:
        return descriptor(data, start)
    except (Damaged, struct.error, IndexError):
        return None


def allowed(entries, sids):
    """What Windows gives somebody who is all of sids, of read 4, write 2, execute 1."""
    given = decided = 0
    for kind, mask, who in entries:
        if who in sids:
            rwx = (4 if mask & 1 else 0) | (2 if mask & 2 else 0) | (1 if mask & 0x20 else 0)
            if kind == 0:
                given |= rwx & ~decided
            decided |= rwx
    return given


def attribute(path, name):
    return os.getxattr(path, name, follow_symlinks=False)


def check_security(path, st, body):
    owner, group, entries = descriptor(body)
    if "security.NTACL" in os.listxattr(path, follow_symlinks=False):
        ntacl = attribute(path, "security.NTACL")
        starts = [at for at in range(8, len(ntacl) - 20, 4) if ntacl[at:at + 4] == body[:4]]
        need(any(descriptor_or_none(ntacl, at) == (owner, group, entries) for at in starts), "the descriptor is not Samba's")
        return
    need((owner, group) == (f"S-1-22-1-{st.st_uid}", f"S-1-22-2-{st.st_gid}"), f"owner {owner}, group {group}")
    mode = stat.S_IMODE(st.st_mode)
    need(allowed(entries, {owner, "S-1-1-0"}) == mode >> 6 & 7, "the owner's rights")
    need(allowed(entries, {"S-1-1-0", "S-1-22-1-4000000000"}) == mode & 7, "everyone's rights")
    if "system.posix_acl_access" not in os.listxattr(path, follow_symlinks=False):
        # Of the group only what no other class may is denied: with less than the others it has less.
        need(allowed(entries, {group, "S-1-1-0"}) & ~(mode & 7) == mode >> 3 & 7 & ~(mode & 7), "the group's rights")
        need(allowed(entries, {group, "S-1-1-0"}) == mode >> 3 & 7, "the group's rights")


def check(path, data):
    st = os.lstat(path)
    content, sparse_end, seen, named, kept = None, None, [], {}, {}
    for kind, attributes, name, body in streams(data):
        seen.append(kind)
        if kind == 1:
            content = bytearray(body)
            need(attributes in (0, 8) and (attributes == 0 or not body), "DATA")
            sparse = attributes == 8
        elif kind == 9:
            need(sparse and attributes == 8 and sparse_end is None, "a sparse block without sparse data, or behind the last")
            offset = struct.unpack_from("<q", body)[0]
            need(offset >= len(content), "sparse blocks in disorder")
            content.extend(bytes(offset - len(content)))
            content.extend(body[8:])
            if len(body) == 8:
                sparse_end = offset
        elif kind == 2:
            kept = attributes_of(body)
        elif kind == 3:
            need(attributes == 2, "SECURITY_DATA")
            check_security(path, st, body)
        elif kind == 4:
            named[name] = body
        elif kind == 8:
            tag, length, zero = struct.unpack_from("<IHH", body)
            need(length == len(body) - 8 and zero == 0, "a reparse point")
            types = {0xA000001D: stat.S_IFLNK, 0x80000023: stat.S_IFSOCK, 0x80000024: stat.S_IFIFO, 0x80000025: stat.S_IFCHR,
                     0x80000026: stat.S_IFBLK}
            need(types[tag] == stat.S_IFMT(st.st_mode), "the reparse point is of another kind")
            if stat.S_ISLNK(st.st_mode):
                need(body[8:12] == b"\x02\0\0\0" and body[12:] == os.readlink(os.fsencode(path)), "the target of the link")
    order = [k for k in (3, 2, 8, 1, 9, 4) for _ in range(seen.count(k))]
    need(seen == order, f"the order: {seen}")
    if stat.S_ISREG(st.st_mode):
        need(sparse_end in (None, st.st_size) and len(content) == st.st_size, "the length")
        with open(path, "rb") as file:
            need(file.read() == content, "the content")
    else:
        need(content is None, "content of what has none")
    need(struct.unpack("<III", kept.pop("$LXUID") + kept.pop("$LXGID") + kept.pop("$LXMOD")) == (st.st_uid, st.st_gid, st.st_mode), "owner and mode")
    device = kept.pop("$LXDEV", None)
    if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        need(struct.unpack("<II", device) == (os.major(st.st_rdev), os.minor(st.st_rdev)), "the device")
    found = {"user." + n: v for n, v in kept.items()}
    for name, value in named.items():
        if name.startswith(":umbra.xattr."):
            raw = name[len(":umbra.xattr."):-len(":$DATA")]
            plain = bytearray()
            while raw:
                if raw[0] == "%":
                    plain.append(int(raw[1:3], 16))
                    raw = raw[3:]
                else:
                    plain.extend(raw[0].encode())
                    raw = raw[1:]
            found[os.fsdecode(bytes(plain))] = value
        else:
            found["user.DosStream." + name[1:]] = value + b"\0"
    real = {n: attribute(path, n) for n in os.listxattr(path, follow_symlinks=False)}
    need(found == real, f"attributes: {sorted(found)} for {sorted(real)}")


def check_or_link(path, data):
    found = list(streams(data))
    if [kind for kind, _, _, _ in found] != [5]:
        try:
            return check(path, data)
        except (Damaged, struct.error, IndexError, KeyError) as e:
            raise Damaged(f"{path!r}: {e!r}") from e
    # Below the tree, which is called "from".
    other = os.path.join(b"from", os.fsencode(found[0][3].decode("utf-16-le", "surrogatepass")))
    need(os.path.samestat(os.lstat(path), os.lstat(other)), f"{path!r} is no name of {other!r}")


# ---- trees

def describe(path):
    st = os.lstat(path)
    kind = stat.S_IFMT(st.st_mode)
    content = None
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as file:
            content = file.read()
    elif stat.S_ISLNK(st.st_mode):
        content = os.readlink(os.fsencode(path))
    attributes = {n: attribute(path, n) for n in os.listxattr(path, follow_symlinks=False)}
    mode = None if stat.S_ISLNK(st.st_mode) else st.st_mode
    return kind, mode, st.st_uid, st.st_gid, st.st_rdev, content, attributes


def data_bytes(path):
    """What is no hole of a file."""
    with open(path, "rb") as file:
        size, at, found = os.fstat(file.fileno()).st_size, 0, 0
        while at < size:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            found += at - begin
        return found


def same(one, other):
    left = {os.path.relpath(os.path.join(d, n), os.fsencode(one)) for d, ds, fs in os.walk(os.fsencode(one)) for n in ds + fs}
    right = {os.path.relpath(os.path.join(d, n), os.fsencode(other)) for d, ds, fs in os.walk(os.fsencode(other)) for n in ds + fs}
    need(left == right, f"names: {sorted(left ^ right)[:5]}")
    links = {}
    for name in sorted(left):
        a, b = os.path.join(os.fsencode(one), name), os.path.join(os.fsencode(other), name)
        need(describe(a) == describe(b), f"{name!r}: {describe(a)!r:.500} became {describe(b)!r:.500}")
        st, st_b = os.lstat(a), os.lstat(b)
        if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
            need(links.setdefault(st.st_ino, st_b.st_ino) == st_b.st_ino, f"{name!r} is a file of its own")
        if stat.S_ISREG(st.st_mode):
            here, there = data_bytes(b), data_bytes(a)
            need(here <= there, f"{name!r} has lost its holes: {there}, {here} of {st.st_size}")


def set_if_room(path, name, value):
    """ext4 has 4 KiB for all of a file's."""
    try:
        os.setxattr(path, name, value)
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise


def make_tree(root, count, seed):
    chance = random.Random(seed)
    os.makedirs(root, exist_ok=True)
    directories, files = [os.fsencode(root)], []
    alphabet = [b"a", b"Z", b"9", b" ", b"\xc3\xa9", b"%", b"\\", b":", b"\xff", b"\n", b"-", b"*"]
    for i in range(count):
        directory = chance.choice(directories)
        name = os.path.join(directory, b"%d" % i + b"".join(chance.choices(alphabet, k=chance.randrange(0, 12))))
        kind = chance.choices(["file", "sparse", "dir", "link", "fifo", "socket", "device", "hard"], [60, 8, 8, 8, 2, 2, 2, 8])[0]
        if kind == "dir":
            os.mkdir(name)
            directories.append(name)
        elif kind == "link":
            os.symlink(b"".join(chance.choices(alphabet, k=chance.randrange(1, 200))), name)
        elif kind == "fifo":
            os.mkfifo(name)
        elif kind == "socket":
            os.mknod(name, stat.S_IFSOCK | 0o600)
        elif kind == "device":
            os.mknod(name, chance.choice([stat.S_IFCHR, stat.S_IFBLK]) | 0o600, os.makedev(chance.randrange(512), chance.randrange(1 << 18)))
        elif kind == "hard" and files:
            os.link(chance.choice(files), name, follow_symlinks=False)
            continue
        else:
            with open(name, "wb") as file:
                if kind == "sparse":
                    for _ in range(chance.randrange(0, 6)):
                        file.seek(chance.randrange(0, 1 << 20))
                        file.write(chance.randbytes(chance.randrange(1, 20000)))
                    file.truncate(chance.randrange(0, 1 << 20) if chance.random() < 0.5 else file.tell() + chance.randrange(0, 100000))
                else:
                    file.write(chance.randbytes(chance.choice([0, 1, 19, 20, 4096, chance.randrange(0, 30000)])))
            files.append(name)
        if kind != "link":
            if os.path.isdir(name) or os.path.isfile(name):
                for k in range(chance.choice([0, 0, 1, 3, 12])):
                    value = chance.randbytes(chance.choice([0, 1, 100, 2000]) if k else chance.choice([0, 30, 3000]))
                    attribute_name = chance.choice([b"user.plain%d", b"user.Sm\xc3\xafle%d", b"user.a=b;c%d", b"trusted.t%d", b"user.DosStream.s%d:$DATA",
                                                    b"user.DosStream.odd%d"]) % k
                    if attribute_name.endswith(b":$DATA"):
                        value += b"\0"
                    set_if_room(name, attribute_name, value)
                if chance.random() < 0.2:
                    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in (
                        (1, 7, 0xffffffff), (2, chance.randrange(8), 1234), (4, chance.randrange(8), 0xffffffff), (8, chance.randrange(8), 77),
                        (16, chance.randrange(8), 0xffffffff), (32, chance.randrange(8), 0xffffffff)))
                    set_if_room(name, b"system.posix_acl_access", acl)
            os.chown(name, chance.choice([0, 1, 65534, 100000]), chance.choice([0, 7, 4000000]))
            if chance.random() < 0.7:
                os.chmod(name, chance.randrange(0o10000))
        else:
            os.lchown(name, chance.choice([0, 1, 65534]), 7)


def main():
    what = sys.argv[1]
    try:
        if what == "check":
            check(os.fsencode(sys.argv[2]), sys.stdin.buffer.read())
        elif what == "all":
            with open(sys.argv[2], "rb") as file:
                words = file.read().split(b"\0")[:-1]
            need(words, "an empty list")
            for kept, path in zip(words[::2], words[1::2]):
                with open(kept, "rb") as file:
                    check_or_link(path, file.read())
        elif what == "tree":
            make_tree(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        elif what == "same":
            same(sys.argv[2], sys.argv[3])
    except (Damaged, struct.error, IndexError, UnicodeDecodeError, KeyError) as e:
        sys.exit(f"{sys.argv[2:]}: {e!r}")


main()
