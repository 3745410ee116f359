#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test runs the example requester: it copies a directory as it was when its writer stood still, says so when a writer failed, and leaves nothing.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4

make_volume v ext4 48M
mkdir -p "$WORK/v/data/deep" "$UMBRA_CONFIG_DIR/writers.d"
echo before >"$WORK/v/data/deep/file"
# From freeze on the file says what the shadow copy is to show; at post-snapshot it is something else.
cat >"$UMBRA_CONFIG_DIR/writers.d/marker" <<'END'
#!/bin/sh
case $1 in
  identify) echo "{\"name\": \"marker\", \"components\": [{\"name\": \"data\", \"files\": [{\"path\": \"$MARKED\"}]}]}" ;;
  freeze) echo frozen >"$MARKED/deep/file" ;;
  thaw) echo "$FAIL_THAW" | grep -q yes && exit 1; echo after >"$MARKED/deep/file" ;;
  backup-complete) grep -q '"succeeded": true' && echo yes >"$MARKED/../succeeded" ;;
esac
exit 0
END
chmod 755 "$UMBRA_CONFIG_DIR/writers.d/marker"
export MARKED=$WORK/v/data FAIL_THAW=no
"$BUILD/examples/requester-copy" "$WORK/v/data" "$WORK/copy" || fail "status $?"
[ "$(cat "$WORK/copy/deep/file")" = frozen ] || fail "the copy says: $(cat "$WORK/copy/deep/file")"
[ "$(cat "$WORK/v/data/deep/file")" = after ] || fail "the writer did not go on"
[ "$(cat "$WORK/v/succeeded")" = yes ] || fail "the writer does not know that the backup succeeded"
[ "$("$UMBRA" --json list sets | jq '.sets | length')" = 0 ] || fail "a set is left"
# The whole volume, and a target that is not absolute.
(cd "$WORK" && "$BUILD/examples/requester-copy" "$WORK/v" whole) || fail "status $?"
cmp "$WORK/whole/data/deep/file" "$WORK/copy/deep/file" || fail "the whole volume"
status=0; FAIL_THAW=yes "$BUILD/examples/requester-copy" "$WORK/v/data" "$WORK/again" 2>"$WORK/messages" || status=$?
[ "$status" = 3 ] && grep -q "marker.*failed-at-thaw" "$WORK/messages" || fail "status $status: $(cat "$WORK/messages")"
status=0; "$BUILD/examples/requester-copy" "$WORK/nothing" "$WORK/x" 2>/dev/null || status=$?
[ "$status" = 1 ] || fail "status $status of a source that is not there"

# What has been deleted since; and a link that was there at the instant, and is a directory now, leads nowhere.
mkdir "$WORK/outside"; echo secret >"$WORK/outside/file"
ln -s "$WORK/outside" "$WORK/v/link"
mkdir "$WORK/v/gone"; echo was >"$WORK/v/gone/file"
cat >"$UMBRA_CONFIG_DIR/writers.d/marker" <<'END'
#!/bin/sh
case $1 in
  identify) echo "{\"name\": \"marker\", \"components\": [{\"name\": \"data\", \"files\": [{\"path\": \"$MARKED\"}]}]}" ;;
  thaw) rm -rf "$MARKED/../gone" "$MARKED/../link"; mkdir "$MARKED/../link" ;;
esac
END
mkdir "$WORK/v/gone/deeper"
"$BUILD/examples/requester-copy" "$WORK/v/gone" "$WORK/back" || fail "what is gone by now: status $?"
[ "$(cat "$WORK/back/file")" = was ] && [ ! -e "$WORK/v/gone" ] || fail "not what it was"
rmdir "$WORK/v/link"; ln -s "$WORK/v/data" "$WORK/v/link2"; ln -s "$WORK/outside" "$WORK/v/link"
mv "$WORK/v/link" "$WORK/v/link.later"; mkdir "$WORK/v/link"
cat >"$UMBRA_CONFIG_DIR/writers.d/marker" <<'END'
#!/bin/sh
case $1 in
  identify) echo "{\"name\": \"marker\", \"components\": [{\"name\": \"data\", \"files\": [{\"path\": \"$MARKED\"}]}]}" ;;
  freeze) rmdir "$MARKED/../link"; mv "$MARKED/../link.later" "$MARKED/../link" ;;
  thaw) rm "$MARKED/../link"; mkdir "$MARKED/../link" ;;
esac
END
status=0; "$BUILD/examples/requester-copy" "$WORK/v/link" "$WORK/stolen" 2>"$WORK/messages" || status=$?
[ "$status" = 1 ] && [ ! -e "$WORK/stolen" ] || fail "a link led out of the shadow copy: status $status: $(cat "$WORK/messages")"
