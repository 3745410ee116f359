#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes sets with former hook scripts (the freeze/thaw convention of the QEMU guest agent) in place: they run unchanged, the
# instant lies between freeze and thaw, and one that fails is named and never left frozen.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume v ext4 48M
hooks=$UMBRA_CONFIG_DIR/fsfreeze-hook.d
mkdir "$hooks"
export HOOK_LOG=$WORK/log VOLUME=$WORK/v
# hook NAME: its script from standard input, with the log of its calls before it
hook() { { echo '#!/bin/sh'; echo 'echo "$(basename "$0") $1" >>"$HOOK_LOG"'; cat; } >"$hooks/$1"; chmod 755 "$hooks/$1"; }
create() {
  : >"$HOOK_LOG"
  STATUS=0
  "$UMBRA" --json create "$@" "$WORK/v" >"$WORK/set" 2>"$WORK/messages" || STATUS=$?
  timeout 5 touch "$WORK/v/written" || fail "the volume is still frozen"
}
shown() {
  local directory
  directory=$("$UMBRA" mount "$(jq -r '.set.shadows[0].id' "$WORK/set")")
  ls "$directory"
  "$UMBRA" unmount "$directory"
  "$UMBRA" delete --all >/dev/null
}

# The instant lies between freeze and thaw.
hook 10-marker <<'END'
case $1 in
  freeze) touch "$VOLUME/frozen" ;;
  thaw) rm -f "$VOLUME/frozen" ;;
esac
END
# One that keeps a process waiting from freeze to thaw, as the database samples do with a client behind a FIFO.
hook 20-session <<'END'
fifo=$HOOK_LOG.fifo
case $1 in
  freeze)
    mkfifo "$fifo" || exit 1
    { read -r word <"$fifo"; echo "session $word" >>"$HOOK_LOG"; rm "$fifo"; } &
    ;;
  thaw)
    [ ! -p "$fifo" ] || echo unlocked >"$fifo"
    while [ -p "$fifo" ]; do :; done
    ;;
esac
END
# Not hooks: a sample, an editor's leftover, a file that is not executable.
for ignored in 30.sample 40.bak 50.rpmsave .hidden; do hook "$ignored" </dev/null; done
hook 60-data </dev/null
chmod 644 "$hooks/60-data"

create
[ "$STATUS" = 0 ] || fail "status $STATUS: $(cat "$WORK/messages")"
shown | grep -qx frozen || fail "the instant is not between freeze and thaw: $(cat "$HOOK_LOG")"
[ ! -e "$WORK/v/frozen" ] || fail "not thawed"
grep -qx "session unlocked" "$HOOK_LOG" || fail "the process between freeze and thaw was lost: $(cat "$HOOK_LOG")"
[ "$(sort "$HOOK_LOG" | tr '\n' ' ')" = "10-marker freeze 10-marker thaw 20-session freeze 20-session thaw session unlocked " ] ||
  fail "called: $(cat "$HOOK_LOG")"
[ "$(awk '/thaw/ { t = 1 } /freeze/ && t { print "late" }' "$HOOK_LOG")" = "" ] || fail "a freeze after a thaw: $(cat "$HOOK_LOG")"

# Left out on request.
create --no-writers
[ ! -s "$HOOK_LOG" ] || fail "called in spite of --no-writers: $(cat "$HOOK_LOG")"
shown | grep -qx frozen && fail "frozen without writers"

# One that fails is named, the others are thawed, and the status tells.
hook 20-session <<'END'
[ "$1" = thaw ] || { echo "cannot lock the tables" >&2; exit 1; }
END
create
[ "$STATUS" = 3 ] || [ "$STATUS" = 1 ] || fail "status $STATUS for a failed hook"
grep -q "20-session" "$WORK/messages" || fail "not named: $(cat "$WORK/messages")"
grep -q "cannot lock the tables" "$WORK/messages" || fail "its words are lost: $(cat "$WORK/messages")"
grep -qx "10-marker thaw" "$HOOK_LOG" || fail "the other hook was not thawed: $(cat "$HOOK_LOG")"
[ ! -e "$WORK/v/frozen" ] || fail "not thawed"
"$UMBRA" delete --all >/dev/null
create --require application
[ "$STATUS" = 1 ] || fail "status $STATUS with --require application"
[ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "a set was kept"

# Writable by others: not run, by name.
hook 20-session </dev/null
chmod 777 "$hooks/20-session"
create
grep -q "20-session" "$WORK/messages" || fail "a hook that others can write was taken in silence: $(cat "$WORK/messages")"
grep -q "^20-session" "$HOOK_LOG" && fail "it was run: $(cat "$HOOK_LOG")"
"$UMBRA" delete --all >/dev/null
exit 0
