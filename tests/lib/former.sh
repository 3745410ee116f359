# Sourced after functions.sh by the tests of former programs: programs that know nothing of umbra, run over shadow copies.
# shellcheck shell=bash

# manifest DIRECTORY: a line a file: type, mode, owner, links, time, size, path, target, and a checksum each; the same for equal trees.
# MANIFEST_TIMES=seconds: for programs that keep whole seconds, and none of symbolic links.
cat >"$WORK/manifest" <<'EOS'
#!/bin/bash
set -o pipefail
cd "$1" || exit 1
fraction=()
[ "${MANIFEST_TIMES:-}" = seconds ] && fraction=(-e 's/^(([^ ]* ){4}[0-9]+)\.[0-9]+/\1/' -e 's/^(l ([^ ]* ){3})[0-9]+/\1-/')
find . -mindepth 1 ! -name lost+found \( -type f -printf '%y %m %U:%G %n %T@ %s %p\0' -o -type d -printf '%y %m %U:%G - %T@ - %p\0' -o -printf '%y %m %U:%G %n %T@ - %p %l\0' \) |
  sed -zE -e '' "${fraction[@]}" | sort -z -k7 | tr '\0\n' '\n?'
find . -type f -print0 | sort -z | xargs -0r sha256sum
EOS
chmod +x "$WORK/manifest"
MANIFEST=$WORK/manifest

# make_tree DIRECTORY: what a real tree has: many small files, a big one, links, a sparse file, odd names, times of the past
make_tree() {
  local i
  mkdir -p "$1"/{bin,doc/deep/deeper,state}
  for i in {1..120}; do echo "file $i of $1" >"$1/doc/f$i"; done
  head -c 3000000 /dev/urandom >"$1/bin/big"
  cp /bin/true "$1/bin/true" && chmod 4755 "$1/bin/true"
  ln "$1/doc/f1" "$1/doc/deep/linked" && ln -s ../f2 "$1/doc/deep/symbolic"
  truncate -s 8M "$1/state/sparse" && echo end >>"$1/state/sparse"
  echo x >"$1/doc/with space" && echo y >"$1/doc/with'quote"
  for i in {1..30}; do echo "$i 0" >"$1/state/count$i"; done
  find "$1" -type f -exec touch -d '2024-03-01 12:00:00' {} +
}

# churn DIRECTORY: goes on changing the tree (contents, names, files that come and go) until killed
churn() {
  local n=0 i
  while :; do
    n=$((n + 1))
    for i in {1..30}; do echo "$i $n" >"$1/state/count$i"; done
    echo "$n" >>"$1/state/log"
    echo "$n" >"$1/state/new.$n" && rm -f "$1/state/new.$((n - 20))"
    mv "$1/doc/f$((n % 50 + 20))" "$1/state/moved" 2>/dev/null && mv "$1/state/moved" "$1/doc/f$((n % 50 + 20))"
    echo "$n" >"$WORK/churned.new" && mv "$WORK/churned.new" "$WORK/churned"
    sleep 0.03 # a load that leaves the processors to the rest
  done
}
churned() { [ "$(cat "$WORK/churned" 2>/dev/null || echo 0)" -ge "$1" ]; }
start_churn() {
  background churn "$1"
  wait_for 30 churned 2 || fail "nothing is changing"
}

# in_shadow SCRIPT: runs the script (bash -euo pipefail) over the shadow copy of the volume $WORK/v. It starts with the manifest of what
# it sees in $WORK/seen, and waits until the live tree has moved on, so that reading the live tree by mistake shows.
in_shadow() {
  {
    echo "set -euo pipefail; export HOME=$WORK/home XDG_CACHE_HOME=$WORK/home/cache MANIFEST_TIMES=${MANIFEST_TIMES:-}"
    echo "$MANIFEST $WORK/v/tree >$WORK/seen"
    echo "before=\$(cat $WORK/churned); until [ \$(cat $WORK/churned) -gt \$((before + 3)) ]; do sleep 0.02; done"
    echo "$1"
    echo "$MANIFEST $WORK/v/tree >$WORK/seen-after; cmp $WORK/seen $WORK/seen-after"
  } >"$WORK/script"
  mkdir -p "$WORK/home"
  "$UMBRA" run --of "$WORK/v" ${PROVIDER:+--provider "$PROVIDER"} -- bash "$WORK/script" ||
    fail "status $? under run (provider ${PROVIDER:-default})"
}

# same_tree DIRECTORY: it equals what the program saw, and the live tree by now does not
same_tree() {
  export MANIFEST_TIMES=${MANIFEST_TIMES:-}
  "$MANIFEST" "$1" >"$WORK/got"
  diff "$WORK/seen" "$WORK/got" >"$WORK/difference" || { head -n 20 "$WORK/difference"; fail "$1 is not what the shadow copy showed"; }
  "$MANIFEST" "$WORK/v/tree" 2>/dev/null | cmp -s - "$WORK/seen" && fail "the live tree has not changed: the test proves nothing"
  true
}
