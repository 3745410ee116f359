# Sourced after functions.sh by tests of umbrad: a message bus of the test's own, umbrad on it, and calls by busctl.
# shellcheck shell=bash
: "${WORK:?functions.sh comes first}"
requires_program dbus-daemon busctl jq setpriv
UMBRAD=$BUILD/umbrad CLIENT=$BUILD/tests/bus-client
UMBRA_NAME=org.umbra.Umbra1 MANAGER=/org/umbra/Umbra1
BUS_SOCKET=$WORK/bus
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$BUS_SOCKET
# Users that every Debian has: one that umbrad becomes, one in the group that may, one that may not.
UMBRAD_USER=games MEMBER=daemon GROUP=daemon STRANGER=nobody
chmod 755 "$WORK"

start_bus() {
  cat >"$WORK/bus.conf" <<XML
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=$BUS_SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
  <limit name="max_connections_per_user">4096</limit>
  <limit name="max_completed_connections">4096</limit>
  <limit name="max_replies_per_connection">4096</limit>
</busconfig>
XML
  dbus-daemon --config-file="$WORK/bus.conf" --nofork --nopidfile 2>"$WORK/bus.log" &
  BUS_PID=$!
  cleanup_fn kill_and_wait "$BUS_PID"
  wait_for 20 test -S "$BUS_SOCKET" || fail "the message bus does not start"
  busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --json=short --match="type=error" monitor >"$WORK/errors" 2>/dev/null &
  cleanup_fn kill_and_wait "$!"
}

on_the_bus() { busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" status "$UMBRA_NAME"; }

# start_umbrad [OPTION...]: sets UMBRAD_PID (on the bus) and HOST_PID; its messages are in $WORK/umbrad.log
start_umbrad() {
  "$UMBRAD" --state-dir "$UMBRA_STATE_DIR" --user "$UMBRAD_USER" --group "$GROUP" "$@" 2>>"$WORK/umbrad.log" &
  UMBRAD_PID=$!
  cleanup_fn end_umbrad "$UMBRAD_PID"
  wait_for 30 on_the_bus || fail "umbrad does not come: $(cat "$WORK/umbrad.log")"
  HOST_PID=$(pgrep -P "$UMBRAD_PID" -x umbrad-host) || fail "there is no host process"
}
# In order: SIGTERM, and all its processes have ended.
end_umbrad() {
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
# Other tests have theirs; a fork has the command line of its parent.
umbrad_left() { pgrep -af "^$UMBRAD --state-dir $UMBRA_STATE_DIR "; }
no_umbrad_left() { ! umbrad_left >/dev/null; }

bus() { busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --json=short "$@"; }
# manage METHOD [SIGNATURE ARGUMENT...]: a call of the manager; the reply as JSON on standard output
manage() { bus --timeout=100 call "$UMBRA_NAME" "$MANAGER" "$UMBRA_NAME.Manager" "$@"; }
# create_set OPTION_COUNT OPTION... PATH...: as busctl wants a{sv}: NAME TYPE VALUE for each; prints the set's path
create_set() {
  local count=$1 options=(); shift
  local -i n=$((count * 3))
  options=("${@:1:n}"); shift "$n"
  manage CreateSet "asa{sv}" $# "$@" "$count" "${options[@]}" | jq -r '.data[0]'
}
on_set() { bus --timeout=100 call "$UMBRA_NAME" "$1" "$UMBRA_NAME.Set" "${@:2}"; }
on_shadow() { bus --timeout=100 call "$UMBRA_NAME" "$1" "$UMBRA_NAME.Shadow" "${@:2}"; }
# property PATH INTERFACE NAME: its value, as jq -r prints it
property() { bus get-property "$UMBRA_NAME" "$1" "$UMBRA_NAME.$2" "$3" | jq -r '.data'; }
set_of_id() { echo "$MANAGER/set/${1//-/}"; }
shadow_of_id() { echo "$MANAGER/shadow/${1//-/}"; }
sets_on_bus() { manage ListSets | jq -r '.data[0][][0]'; }
as_user() { local user=$1; shift; setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups "$@"; }
# refused ERROR COMMAND...: it fails, and names that error of umbra's
refused() {
  local error=$1; shift
  if "$@" >"$WORK/output" 2>&1; then fail "not refused: $*: $(cat "$WORK/output")"; fi
  grep -q -- "$error" "$WORK/output" || wait_for 10 last_error_is "$error" ||
    fail "refused otherwise than with $error: $*: $(cat "$WORK/output"; tail -n 1 "$WORK/errors")"
}
last_error_is() { tail -n 1 "$WORK/errors" | grep -q -- "Error.$1\""; }

# watch_signals: what umbrad says goes to $WORK/signals, a JSON object a line
watch_signals() {
  busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" --json=short --match="type=signal,sender=$UMBRA_NAME" monitor >"$WORK/signals" 2>"$WORK/monitor" &
  cleanup_fn kill_and_wait "$!"
  wait_for 20 grep -q . "$WORK/monitor" || fail "no monitor"
}
# said MEMBER [JQ CONDITION]: such a signal was seen
said() { jq -e -s --arg m "$1" "any(.[]; .member == \$m and (${2:-true}))" "$WORK/signals"; }
