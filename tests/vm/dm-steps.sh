#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test kills, in a virtual machine with Linux 6.12, who switches a device-mapper volume between its origin and the engine: at each of its
# system calls to device-mapper, in both directions. The volume is never suspended and always writable, what was not made says so, nothing is left.
# timeout: 600
. "$(dirname "$0")/../lib/functions.sh"
. "$(dirname "$0")/../lib/vm.sh"
requires_program jq mkfs.ext4 dmsetup python3 e2fsck strace
in_vm --timeout 580 --disk 96M
. "$TOP/tests/lib/dm-switch.sh"
trace() { echo "$SECONDS s: $*"; }
# Never longer suspended than the one system call, in which dmsetup does not see it.
runs() { [ "$(way a)" != suspended ] && accepts_write "$WORK/a" 10; }
create() { "$UMBRA" --json create --no-writers --provider cow "$WORK/a" >"$WORK/created" 2>"$WORK/create.err"; }

# A program beside it whose processes that switch die at a system call that the file "at" names, without carrying it out.
mkdir "$WORK/bin"
cp "$UMBRA" "$WORK/bin/umbra"
UMBRA=$WORK/bin/umbra
cat >"$WORK/bin/umbra-cow" <<END
#!/bin/sh
case \$1 in
  direct | through-engine)
    while [ -e "$WORK/late" ]; do sleep 0.1; done
    if [ -s "$WORK/at" ] && mv "$WORK/at" "$WORK/at.taken"; then # one of them: it is tried again
      exec strace -o "$WORK/strace" -e trace=ioctl -e inject=ioctl:signal=KILL:when=\$(cat "$WORK/at.taken") "$BUILD/umbra-cow" "\$1"
    fi ;;
esac
exec "$BUILD/umbra-cow" "\$1"
END
chmod +x "$WORK/bin/umbra-cow"
mapped_volume a ext4 /dev/vda --limit 300000000
killed_there() { grep -q 'killed by SIGKILL' "$WORK/strace"; }

trace "each step to the engine, then back"
for ((at = 1, killed = 0; at < 40; at++)); do
  rm -f "$WORK/strace"
  echo "$at" >"$WORK/at"
  status=0
  create || status=$?
  runs || fail "killed at call $at, and the volume is $(way a)"
  killed_there || break
  killed=$((killed + 1))
  # Made although it was killed: then it was done. Otherwise it was not made, and says so.
  if [ "$status" = 0 ]; then
    goes a engine
  else
    grep -q "did not switch device-mapper device 'umbra-a'" "$WORK/create.err" || fail "$(cat "$WORK/create.err")"
    ! is_way a half-switched || fail "killed at call $at, a table is left"
  fi
  rm -f "$WORK/at"
  "$UMBRA" --quiet delete --all
  goes a direct
done
[ "$killed" -ge 4 ] && [ "$status" = 0 ] || fail "only $killed kills on the way to the engine, then status $status: $(cat "$WORK/create.err" "$WORK/strace")"
trace "killed $killed times"
rm -f "$WORK/at"
for ((at = 1, killed = 0; at < 40; at++)); do
  create || fail "$(cat "$WORK/create.err")"
  goes a engine
  rm -f "$WORK/strace"
  echo "$at" >"$WORK/at"
  "$UMBRA" --quiet delete --all
  done_with() { [ -e "$WORK/strace" ] && grep -q '^+++' "$WORK/strace"; }
  wait_for 60 done_with || fail "nobody switched back"
  runs || fail "killed at call $at, and the volume is $(way a)"
  killed_there || break
  killed=$((killed + 1))
  rm -f "$WORK/at"
  goes a direct
done
[ "$killed" -ge 4 ] || fail "only $killed kills on the way back"
trace "killed $killed times"
rm -f "$WORK/at"
goes a direct

trace "one who is late"
# Whoever was to switch back, and had not begun when the server died, does not do so when there is another shadow copy.
create || fail "$(cat "$WORK/create.err")"
goes a engine
touch "$WORK/late"
"$UMBRA" --quiet delete --all
late() { pgrep -f "$WORK/bin/umbra-cow direct" >"$WORK/late.pid"; }
wait_for 30 late || fail "nobody is to switch back"
server=$(attached_status a pid)
kill -STOP "$(head -n 1 "$WORK/late.pid")"
rm "$WORK/late" # the next server's are not late
kill -KILL "$server"
another() { local now; now=$(attached_status a pid) && [ "$now" != "$server" ]; }
wait_for 60 another || fail "no other server came"
wait_for 60 create || fail "$(cat "$WORK/create.err")"
goes a engine
while read -r pid; do kill -CONT "$pid" 2>/dev/null || true; done <"$WORK/late.pid"
sleep 3
is_way a engine || fail "writes pass a shadow copy: one who was late has switched"
"$UMBRA" --quiet delete --all
goes a direct

plain_again a /dev/vda
nothing_mapped
trace "done"
