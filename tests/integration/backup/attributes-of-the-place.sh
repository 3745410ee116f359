#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test restores into directories that have a default ACL, and over directories that have got ACLs and attributes since: what comes back
# has those of the backup and no others, so that nobody gets in who was not let in then. The same for a shadow copy by provider files.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq setfacl getfacl setfattr
cleanup_fn "$UMBRA" delete --all

state() {
  local names
  cd "$1"
  mapfile -t names < <(find . | sort)
  getfacl -n "${names[@]}"
  getfattr -h -d -m 'user|trusted' "${names[@]}"
  cd - >/dev/null
}

for type in ext4 xfs btrfs; do
  case $type in xfs) size=320M ;; *) size=128M ;; esac
  make_volume $type $type $size
  top=$WORK/$type/top
  mkdir -p "$top/shared/sub"
  echo secret >"$top/shared/file"
  mkfifo "$top/shared/fifo"
  chmod 600 "$top/shared/file"
  setfacl -d -m u:1234:rwx "$top/shared" # what is there already has no ACL
  state "$top" >"$WORK/before"

  id=$("$UMBRA" create --json --provider files --no-writers "$WORK/$type" | jq -r '.set.shadows[0].id')
  tree=$("$UMBRA" mount "$id")
  state "$tree/top" | diff - "$WORK/before" || fail "$type: the shadow copy by provider files has other attributes"
  expect_status 0 "$UMBRA" delete "$id"

  "$UMBRA" backup --quiet --provider files --no-writers "$top" --to "$WORK/backup-$type" >/dev/null
  rm -r "$top/shared/file" "$top/shared/sub" "$top/shared/fifo"
  expect_status 0 "$UMBRA" restore "$WORK/backup-$type"
  state "$top" | diff - "$WORK/before" || fail "$type: what was made anew has inherited something"
  setfacl -m u:99:rwx "$top/shared/sub"
  setfacl -d -m u:99:rwx "$top/shared/sub"
  setfattr -n user.later -v 1 "$top/shared/sub"
  setfattr -n trusted.later -v 1 "$top"
  chmod 777 "$top/shared/sub"
  expect_status 0 "$UMBRA" restore "$WORK/backup-$type"
  state "$top" | diff - "$WORK/before" || fail "$type: a directory keeps what it got later"
  [ "$(cat "$top/shared/file")" = secret ] || fail "$type: the content"
done
