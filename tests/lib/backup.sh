# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by the backup tests after functions.sh: a tree with every kind of file, comparing trees, backups of live directories.
# shellcheck shell=bash

BACKUP_LIVE=$BUILD/tests/backup-live
[ -x "$BACKUP_LIVE" ] || skip "the build has no tests/backup-live"

# make_everything DIRECTORY: every kind of file, attribute, name and layout that a backup has to keep.
make_everything() {
  mkdir -p "$1/sub/deep" "$1/empty" "$1/x.y"
  (
    cd "$1"
    echo hello >a
    : >zero
    head -c 300000 /dev/urandom >big
    head -c 3000000 /dev/urandom >huge
    chmod 4755 a
    ln a sub/hard
    ln -s ../a sub/sym
    ln -s /nonexistent dangling
    mkfifo fifo
    mknod cdev c 1 3
    mknod bdev b 7 200
    touch x.y/f x
    printf z >$'new\nline'
    printf y >$'bad\377\200name'
    printf e >$'\303\251t\303\251'
    printf 1 >$'e\314\201nfd'
    ln -s $'bad\377\200name' $'link\376'
    mkdir "$(printf 'n%.0s' {1..255})"
    setfattr -n user.a -v 1 a
    setfattr -n user.bin -v 0x00ff0a3d a
    setfattr -n 'user.e=q%3D' -v x a
    setfattr -n 'user.with space' -v x a
    setfattr -n user.empty a
    setfattr -n trusted.t -v 2 a
    setfattr -n user.d -v q sub
    setfattr -h -n trusted.l -v 5 sub/sym
    setfacl -m u:1234:rwx,g:77:r-x a
    setfacl -d -m u:99:rx,g::--- sub
    setfacl -m u:4000000000:r big
    cp /bin/true cap
    setcap cap_net_raw+ep cap
    truncate -s 5M allhole
    truncate -s 100M sparse
    for i in 0 7 50; do printf 'data%s' $i | dd of=sparse bs=1 seek=$((i * 1048576 + 13)) conv=notrunc status=none; done
    printf tail | dd of=holefirst bs=1 seek=3000000 conv=notrunc status=none
    ln sub/sym sub/symhard
    ln fifo fifohard
    chown -h 12345:54321 sub/sym
    chown 3000000000:7 zero
    chmod 0 zero
    chmod 1777 empty
    touch -d '1930-01-01 00:00:00.123456789' a
    touch -h -d '2037-06-01 01:02:03.000000001' sub/sym
    touch -d '2001-01-01' empty
  )
}

# state DIRECTORY: its contents as lines
state() { python3 "$TOP/tests/lib/tree-state.py" "$@"; }

# same_trees A B
same_trees() {
  state "$1" >"$WORK/state.a" && state "$2" >"$WORK/state.b" || fail "cannot read '$1' and '$2'"
  diff "$WORK/state.a" "$WORK/state.b" >"$WORK/state.diff" || { head -n 20 "$WORK/state.diff" >&2; fail "'$1' and '$2' differ"; }
}

# live TYPE SOURCE…: a backup of live directories to $WORK/target; prints its folder's name
live() {
  local type=$1 out
  shift
  out=$("$BACKUP_LIVE" "$WORK/target" "$type" "$@") || fail "backup-live $type $* failed"
  echo "$out" >"$WORK/live.json"
  jq -r .name <<<"$out"
}

# restored BACKUP: restores it to a new $WORK/out
restored() {
  rm -rf "$WORK/out"
  "$UMBRA" --quiet restore "$WORK/target@$1" --to "$WORK/out" >/dev/null || fail "restoring $1 failed"
}

# after_tick: waits until the clock that files are stamped with has gone on, past what a backup calls racy
after_tick() {
  local from now
  from=$(date +%s%N)
  while now=$(date +%s%N); [ $((now - from)) -lt 50000000 ]; do :; done
}
