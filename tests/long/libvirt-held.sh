#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test stops umbra and the libvirt writer while a guest is frozen, so that neither can thaw it: it is thawed all the same, by its keeper's own limit of 60 s.
# timeout: 300
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/writers.sh"
. "$TOP/tests/lib/libvirt.sh"
libvirt_apart "$@"

libvirt_places
libvirt_start
make_writer after system '"components": []' "[ \"\$1\" != freeze ] || { touch '$WORK/hangs'; exec sleep 200; }"
"$UMBRA" --quiet create --provider null "$WORK/v" >/dev/null 2>&1 &
umbra=$!
wait_for 30 test -e "$WORK/hangs" || fail "nobody froze"
[ -e "$WORK/agent/frozen" ] || fail "the guest is not frozen"
session=$(pgrep -P "$umbra" -f "^$UMBRA_CONFIG_DIR/writers.d/libvirt session")
kill -STOP "$umbra" "$session"
runs() { [ ! -e "$WORK/agent/frozen" ]; }
wait_for 120 runs || fail "the guest stays frozen"
kill -KILL "$umbra" "$session"
wait "$umbra" 2>/dev/null || true
"$UMBRA" recover >/dev/null 2>&1 || true
