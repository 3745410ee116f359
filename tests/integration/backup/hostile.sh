#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test restores backups that were made to break out: absolute paths, "..", files and directories behind symbolic links, hard links
# to what lies outside, links and directories prepared in the target, device nodes for users who are not root. All checksums are
# right. Nothing outside the root may change, and what is refused is named.
# timeout: 900
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_root
requires_program python3 setpriv

forge=$BUILD/tests/backup-forge
outside=$WORK/outside
out=$WORK/out
mkdir -p "$outside/directory"
echo untouched >"$outside/file"
chmod 0640 "$outside/file"
touch -d 2001-01-01 "$outside/file" "$outside/directory" "$outside"
state "$outside" >"$WORK/outside.before"

# members: python lines that call add(name, type, linkname="", data=b"", **fields) to make $WORK/t.tar
members() {
  python3 -c '
import io, sys, tarfile
tar = tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT)
outside = sys.argv[2]
def add(name, kind, linkname="", data=b"", **fields):
    i = tarfile.TarInfo(name)
    i.type, i.linkname, i.size, i.mode, i.mtime = kind, linkname, len(data), 0o755 if kind == tarfile.DIRTYPE else 0o644, 1000000000
    for key, value in fields.items():
        setattr(i, key, value)
    tar.addfile(i, io.BytesIO(data))
F, D, L, H, C, B, P = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
exec(sys.stdin.read())
tar.close()' "$WORK/t.tar" "$outside"
}

# attack NAME STATUS PATTERN: forges a backup of $WORK/t.tar with the index on standard input, restores it, expects the exit status,
# a message, and that nothing happened outside
attack() {
  rm -rf "$WORK/target"
  "$forge" "$WORK/target" "$WORK/t.tar" >/dev/null || fail "$1: cannot forge it"
  local status=0
  timeout 60 "$UMBRA" --quiet restore "$WORK/target" --to "$out" >"$WORK/said" 2>&1 || status=$?
  [ "$status" = "$2" ] || { cat "$WORK/said"; fail "$1: exit status $status instead of $2"; }
  grep -qE -- "$3" "$WORK/said" || { cat "$WORK/said"; fail "$1: nothing like '$3' was said"; }
  state "$outside" >"$WORK/outside.after"
  diff "$WORK/outside.before" "$WORK/outside.after" || fail "$1: something changed outside the root"
  [ -z "$(find "$WORK" -maxdepth 1 -newer "$WORK/mark" -name 'escaped*')" ] || fail "$1: a file was made outside the root"
}
touch "$WORK/mark"
fresh() { rm -rf "$out" && mkdir "$out"; }

# Paths in the index that are none.
for path in "../escaped" "d/../../escaped" "/escaped" "d//x" "d/./x" "d/"; do
  fresh
  members <<<'add("d", D); add("x", F, data=b"bad")'
  printf 'd\n%s\n' "$path" | sort >"$WORK/list"
  case $path in ../* | /*) members <<<'add("x", F, data=b"bad"); add("d", D)' ;; esac
  attack "path '$path'" 1 "not allowed|damaged" <"$WORK/list"
done

# Names in the archive that are not the index's.
fresh
members <<<'add("/../../escaped", F, data=b"bad"); add("good", F, data=b"good")'
attack "member with '..'" 1 "'/a'.*name" <<<$'a\ngood'
[ "$(cat "$out/good")" = good ] || fail "what was right beside it was not restored"
[ ! -e "$out/a" ] || fail "a member with another name was restored"

# A file behind a symbolic link of the backup itself.
fresh
members <<<'add("d", D); add("d/link", L, outside); add("d/link/file", F, data=b"bad"); add("d/link/new", F, data=b"bad"); add("d/ok", F, data=b"ok")'
attack "file behind a link" 1 "'/d/link/file' is not restored" <<<$'d\nd/link\t'"$outside"$'\nd/link/file\nd/link/new\nd/ok'
[ "$(cat "$out/d/ok")" = ok ] || fail "the file beside it was not restored"

# A directory with attributes, under the name of a link.
fresh
members <<<'add("d", D); add("d/link", L, outside); add("d/link/directory", D, mode=0o777, uid=12345)'
attack "directory behind a link" 1 "is not restored" <<<$'d\nd/link\t'"$outside"$'\nd/link/directory'

# Hard links: by a path that leads out, through a link, to a link.
fresh
members <<<'add("d", D); add("d/h", H, "../outside/file")'
attack "hard link to .." 1 "damaged" <<<$'d\nd/h\t../outside/file'
fresh
members <<<'add("a", L, outside); add("b", H, "a/file")'
attack "hard link through a link" 1 "'/b' is not restored" <<<$'a\t'"$outside"$'\nb\ta/file'
fresh
members <<<'add("a", L, outside + "/file"); add("b", H, "a"); add("c", F, data=b"c")'
attack "hard link to a link" 0 "restored" <<<$'a\t'"$outside/file"$'\nb\ta\nc'
[ -L "$out/b" ] || fail "a hard link to a symbolic link followed it"

# Links that were prepared in the root: replaced where the backup has something else, never followed.
fresh
ln -s "$outside" "$out/d"
ln -s "$outside/file" "$out/f"
members <<<'add("d", D, mode=0o700); add("d/file", F, data=b"new"); add("f", F, data=b"new")'
attack "prepared links" 0 "restored" <<<$'d\nd/file\nf'
[ ! -L "$out/d" ] && [ ! -L "$out/f" ] && [ "$(cat "$out/d/file")" = new ] || fail "prepared links are still there"
fresh
ln -s "$outside" "$out/d"
members <<<'add("d/directory/new", F, data=b"new")'
attack "a prepared link above a source" 1 "is not restored" <<<$'d/directory/new'
# A hard link to a file outside is replaced, not written through.
fresh
echo untouched >"$WORK/elsewhere"
ln "$WORK/elsewhere" "$out/f"
members <<<'add("f", F, data=b"new")'
attack "prepared hard link" 0 "restored" <<<$'f'
[ "$(cat "$WORK/elsewhere") $(cat "$out/f")" = "untouched new" ] || fail "a file was written through a hard link"

# A directory with files of somebody else is no place for a file.
fresh
mkdir "$out/x" && echo mine >"$out/x/mine"
members <<<'add("x", F, data=b"file")'
attack "a full directory in the way" 1 "'/x' is not restored.*does not know" <<<$'x'
[ "$(cat "$out/x/mine")" = mine ] || fail "somebody else's file was removed"

# Who is not root gets no devices and no owners.
fresh
chmod 0777 "$out" && chmod 0755 "$WORK"
members <<<'add("b", B, devmajor=7, devminor=0); add("c", F, data=b"c", uid=0, mode=0o4755)'
rm -rf "$WORK/target"
"$forge" "$WORK/target" "$WORK/t.tar" <<<$'b\nc' >/dev/null
chmod -R a+rX "$WORK/target"
umbra=$UMBRA
mkdir -p "$WORK/bin" && cp "$UMBRA" "$WORK/bin/umbra" && umbra=$WORK/bin/umbra
! setpriv --reuid=65534 --regid=65534 --clear-groups env UMBRA_STATE_DIR="$WORK/out" UMBRA_RUNTIME_DIR="$WORK/out" \
  "$umbra" --quiet restore "$WORK/target" --to "$out" >"$WORK/said" 2>&1 || fail "nobody made a device node"
grep -q "'/b' is not restored" "$WORK/said" || { cat "$WORK/said"; fail "the device node is not named"; }
[ ! -e "$out/b" ] && [ -e "$out/c" ] || fail "wrong files for nobody"
[ "$(stat -c %a "$out/c")" = 755 ] || fail "nobody got a set-user-id file of root: $(stat -c %a "$out/c")"
