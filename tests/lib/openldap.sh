# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh: a private slapd with two databases, under load, and reading shadow copies of it.
# shellcheck shell=bash
: "${WORK:?functions.sh comes first}"
. "$TOP/tests/lib/writers.sh"
for p in slapd slapadd slapcat; do command -v "$p" >/dev/null || skip "program '$p' is not installed"; done
WORKERS=(1 2 3)
AS_USER=(setpriv --reuid=nobody --regid=nogroup --clear-groups)

# openldap_configure DIRECTORY [OPTION]: DIRECTORY/slapd.d with two databases in DIRECTORY/first and /second; OPTION is a line of both
openldap_configure() {
  local base
  install -d -o nobody -g nogroup "$1" "$1/slapd.d" "$1/first" "$1/second"
  {
    printf 'dn: cn=config\nobjectClass: olcGlobal\ncn: config\n\ndn: cn=module{0},cn=config\nobjectClass: olcModuleList\ncn: module{0}\nolcModuleLoad: back_mdb\n\n'
    printf 'dn: cn=schema,cn=config\nobjectClass: olcSchemaConfig\ncn: schema\n\n'
    for base in core cosine nis; do printf 'include: file:///etc/ldap/schema/%s.ldif\n\n' "$base"; done
    for base in first second; do
      printf 'dn: olcDatabase=mdb,cn=config\nobjectClass: olcDatabaseConfig\nobjectClass: olcMdbConfig\nolcDatabase: mdb\nolcSuffix: dc=%s\n' "$base"
      printf 'olcRootDN: cn=admin,dc=%s\nolcRootPW: secret\nolcDbDirectory: %s\nolcDbMaxSize: 67108864\n%s\n' "$base" "$1/$base" "${2:+$2$'\n'}"
    done
  } >"$WORK/config.ldif"
  "${AS_USER[@]}" slapadd -n 0 -F "$1/slapd.d" <"$WORK/config.ldif" >"$WORK/slapadd" 2>&1 || fail "slapadd: $(cat "$WORK/slapadd")"
  for base in first second; do
    printf 'dn: dc=%s\nobjectClass: dcObject\nobjectClass: organization\ndc: %s\no: test\n\n' "$base" "$base" |
      "${AS_USER[@]}" slapadd -b "dc=$base" -F "$1/slapd.d" >"$WORK/slapadd" 2>&1 || fail "slapadd: $(cat "$WORK/slapadd")"
  done
}

# openldap_server DIRECTORY SOCKET: of nobody; sets PID
openldap_server() {
  rm -f "$2"
  background "${AS_USER[@]}" slapd -d 0 -h "ldapi://${2//\//%2F}" -F "$1/slapd.d"
  wait_for 30 test -S "$2" || fail "no server at $2"
}

# openldap_start DIRECTORY [OPTION]: a server with its files there, and processes that write to it. A system-level writer, which freezes after
# all others, saves what was acknowledged by then. SERVER, DATA.
openldap_start() {
  local w
  DATA=$1
  chmod 711 "$WORK"
  openldap_configure "$DATA" "${2:-}"
  install -d -o nobody -g nogroup "$WORK/sockets"
  install -d "$WORK/acknowledged" "$WORK/frozen" "$UMBRA_CONFIG_DIR/writers.d"
  openldap_server "$DATA" "$WORK/sockets/live"
  SERVER=$PID
  ln -sf "$BUILD/writers/openldap/openldap" "$UMBRA_CONFIG_DIR/writers.d/openldap"
  make_writer acknowledged system '"components": []' \
    "[ \"\$1\" != freeze ] || cp '$WORK'/acknowledged/* '$WORK/frozen/'; ! [ -e '$WORK/hang' -a \"\$1\" = freeze ] || { touch '$WORK/hangs'; exec sleep 60; }"
  LOADS=()
  for w in "${WORKERS[@]}"; do
    background python3 "$TOP/tests/lib/openldap-load.py" transfer "$WORK/sockets/live" "$w" "$WORK/acknowledged/log.$w"
    LOADS+=("$PID")
  done
  for w in "${WORKERS[@]}"; do wait_for 30 test -s "$WORK/acknowledged/log.$w" || fail "nothing is written"; done
}
openldap_stop() {
  local pid
  for pid in "${LOADS[@]}" "$SERVER"; do kill_and_wait "$pid"; done
  rm -rf "$WORK/acknowledged" "$WORK/frozen" "$WORK/sockets"
}
openldap_goes_on() {
  local bytes pid
  bytes=$(acknowledged_bytes)
  wait_for 20 grew "$bytes" || fail "nothing more is written"
  for pid in "${LOADS[@]}"; do kill -0 "$pid" 2>/dev/null || fail "a client was told of an error"; done
}
acknowledged_bytes() { cat "$WORK/acknowledged"/* | wc -c; }
grew() { [ "$(acknowledged_bytes)" -gt "$1" ]; }

# openldap_check DIRECTORY: its databases, read with a configuration that names the copies, have all that was acknowledged and nothing half done
openldap_check() {
  local base
  rm -rf "$WORK/copy"
  cp -a "$1" "$WORK/copy"
  ! ls "$WORK/copy"/*/lock.mdb >/dev/null 2>&1 || [ "${2:-}" = whole ] || fail "a lock file came back"
  sed -i "s|^olcDbDirectory: $DATA/|olcDbDirectory: $WORK/copy/|" "$WORK/copy/slapd.d/cn=config/olcDatabase="*mdb.ldif
  for base in first second; do
    slapcat -b "dc=$base" -F "$WORK/copy/slapd.d" 2>"$WORK/slapcat"
  done >"$WORK/copy.ldif" || fail "slapcat: $(cat "$WORK/slapcat")"
  python3 "$TOP/tests/lib/openldap-load.py" check "$WORK/copy.ldif" "$WORK/frozen"/* || fail "the copy"
}

# openldap_shadow OPTION...: a set of $DATA's volume, its shadow copy checked
openldap_shadow() {
  local set
  set=$("$UMBRA" --quiet --json create --require application "$@" "$DATA") || fail "create"
  openldap_answers "$(jq -r .set.id <<<"$set")"
  jq -e '.["transaction-1"]' "$WORK/answers" >/dev/null || fail "it was not held: $(cat "$WORK/answers")"
  "$UMBRA" --quiet mount "$(jq -r '.set.shadows[0].id' <<<"$set")" "$WORK/mounted" >/dev/null || fail "mount"
  openldap_check "$WORK/mounted${DATA#"$(stat -c %m "$DATA")"}" whole
  "$UMBRA" --quiet unmount "$WORK/mounted" >/dev/null
  "$UMBRA" --quiet delete "$(jq -r .set.id <<<"$set")" >/dev/null
}

# openldap_answers SET: what the writer answered at freeze, in $WORK/answers
openldap_answers() { jq '.documents[] | select(.name == "openldap") | .answers.freeze' "$UMBRA_STATE_DIR/sets/$1.json" >"$WORK/answers"; }
