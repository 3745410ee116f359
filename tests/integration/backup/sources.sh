#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test backs up live ext4, XFS and btrfs volumes through the program: files, directories and links as sources, relative paths, several
# volumes in one backup, volumes mounted below a source, bind mounts, a target on the volume itself, excludes; and expects the
# restored trees to be equal and each error to name its culprit.
# timeout: 900
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/backup.sh"
requires_root
requires_program python3 setfattr setfacl setcap jq mkfs.ext4 mkfs.xfs mkfs.btrfs

make_volume one ext4 64M
one=$WORK/one
make_volume two btrfs 120M
two=$WORK/two
mkdir "$one/tree" "$two/tree"
make_everything "$one/tree/all"
make_everything "$two/tree/all"
echo file >"$one/file"
ln -s file "$one/link"
# alike A B: the same but for the layout, on filesystems of other block sizes
alike() {
  state --no-layout "$1" >"$WORK/state.a" && state --no-layout "$2" >"$WORK/state.b" || fail "cannot read '$1' and '$2'"
  diff "$WORK/state.a" "$WORK/state.b" >&2 || fail "'$1' and '$2' differ"
}
umbra() { "$UMBRA" --quiet "$@"; }

# Two volumes, the target on one of them and inside a source.
umbra --json backup "$one" "$two/tree" --to "$one/backups" >"$WORK/json" || fail "the backup failed"
[ "$(jq -r '.backup.set.shadows | length' "$WORK/json")" = 2 ] || fail "not one set of two shadow copies"
[ "$(jq -r .backup.type "$WORK/json")" = full ] || fail "it is no full backup"
umbra verify "$one/backups" >/dev/null || fail "verify failed"
umbra restore "$one/backups" --to "$WORK/out" >/dev/null || fail "restore failed"
alike "$one/tree" "$WORK/out$one/tree"
alike "$two/tree" "$WORK/out$two/tree"
[ ! -e "$WORK/out$one/backups" ] || fail "the target is in the backup"
[ "$(readlink "$WORK/out$one/link")" = file ] || fail "a link within a source was followed"
name=$(jq -r .backup.name "$WORK/json")
jq -e '.set.shadows and .consistency == "filesystem" and (.sources | length == 2)' "$one/backups/$name/backup.json" >/dev/null ||
  fail "backup.json does not tell of the set"

# An incremental one: what is stored is what changed, and one file of it in place.
echo more >>"$one/file"
rm "$two/tree/all/big"
umbra --json backup --type incremental "$one" "$two/tree" --to "$one/backups" >"$WORK/json" || fail "the incremental backup failed"
[ "$(jq -r .backup.type "$WORK/json")" = incremental ] || fail "it is no incremental backup"
[ "$(jq -r .backup.deleted "$WORK/json")" = 1 ] || fail "deleted: $(jq .backup.deleted "$WORK/json")"
[ "$(jq -r .backup.stored_bytes "$WORK/json")" -lt 100000 ] || fail "stored $(jq .backup.stored_bytes "$WORK/json") bytes"
echo spoilt >"$one/file"
umbra restore "$one/backups" "$one/file" >/dev/null || fail "restore in place failed"
[ "$(cat "$one/file")" = $'file\nmore' ] || fail "the file was not restored in place"

# A file, a link and relative paths as sources; patterns.
mkdir -p "$one/p/cache" "$one/p/keep"
touch "$one/p/cache/x" "$one/p/keep/a.tmp" "$one/p/keep/a.txt" "$one/p/keep/b.tmp.txt"
(cd "$one" && umbra backup file link ./p/../p --to "$WORK/second" --exclude '*.tmp' --exclude "$one/p/cache" 2>"$WORK/log" >/dev/null) ||
  { cat "$WORK/log"; fail "sources of other kinds"; }
grep -q "'link' is a link; what it leads to is saved" "$WORK/log" || fail "a link as source is not explained"
rm -rf "$WORK/out"
umbra restore "$WORK/second" --to "$WORK/out" >/dev/null || fail "restore failed"
[ "$(cd "$WORK/out$one" && find . | sort | tr '\n' ' ')" = ". ./file ./p ./p/keep ./p/keep/a.txt ./p/keep/b.tmp.txt " ] ||
  fail "excludes: $(cd "$WORK/out$one" && find . | sort | tr '\n' ' ')"

# A volume below a source: named, or followed.
mkdir "$one/below"
cleanup_fn umount "$one/below"
mount --bind "$two" "$one/below"
make_volume three xfs 320M
mkdir "$WORK/three/sub" && echo three >"$WORK/three/sub/file"
mkdir "$one/xfs"
cleanup_fn umount "$one/xfs"
umount "$WORK/three" && mount "$DEVICE" "$one/xfs"
umbra backup "$one" --to "$WORK/third" >/dev/null 2>"$WORK/log" || fail "a backup with a volume below failed"
grep -q "'$one/xfs' is another volume (xfs) and is left out" "$WORK/log" || { cat "$WORK/log"; fail "what is left out is not named"; }
jq -e --arg m "$one/xfs" '.left_out | index($m)' "$WORK"/third/*/backup.json >/dev/null || fail "backup.json does not name it"
umount "$one/below"
umbra backup "$one" --all-volumes --to "$WORK/fourth" >/dev/null 2>"$WORK/log" || { cat "$WORK/log"; fail "--all-volumes failed"; }
rm -rf "$WORK/out"
umbra restore "$WORK/fourth" --to "$WORK/out" >/dev/null || fail "restore failed"
[ "$(cat "$WORK/out$one/xfs/sub/file")" = three ] || fail "--all-volumes did not follow"

# A source that is reached through a bind mount.
mkdir "$WORK/bind"
cleanup_fn umount "$WORK/bind"
mount --bind "$one/tree" "$WORK/bind"
umbra backup "$WORK/bind/all" --to "$WORK/fifth" >/dev/null 2>"$WORK/log" || { cat "$WORK/log"; fail "a source below a bind mount"; }
rm -rf "$WORK/out"
umbra restore "$WORK/fifth" --to "$WORK/out" >/dev/null || fail "restore failed"
alike "$one/tree/all" "$WORK/out$WORK/bind/all"

# Errors name the culprit and leave nothing.
refused() { # STATUS PATTERN ARGUMENT…
  local status=0 expected=$1 pattern=$2
  shift 2
  "$UMBRA" --quiet "$@" >/dev/null 2>"$WORK/log" || status=$?
  [ "$status" = "$expected" ] || { cat "$WORK/log"; fail "umbra $*: status $status"; }
  grep -qE -- "^umbra: .*$pattern" "$WORK/log" || { cat "$WORK/log"; fail "umbra $*: no '$pattern'"; }
}
refused 1 "$one/nothing" backup "$one/nothing" --to "$WORK/sixth"
refused 2 "which sources" backup --to "$WORK/sixth"
refused 2 "to which directory" backup "$one"
refused 2 "no type 'daily'" backup --type daily "$one" --to "$WORK/sixth"
refused 1 "$WORK/sixth" restore "$WORK/sixth"
refused 1 "holds no backup 'nosuch'" restore "$WORK/fifth@nosuch" --to "$WORK/out"
refused 1 "$WORK/sixth" ls "$WORK/sixth"
refused 1 "$one/file/x" backup "$two" --to "$one/file/x"
mkdir "$WORK/empty"
refused 1 "holds no whole backup" restore "$WORK/empty" --to "$WORK/out"
refused 1 "holds no whole backup" verify "$WORK/empty" # of a backup disk that is not mounted, say
