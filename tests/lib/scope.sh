# Sourced by the tests of providers/clone/scope*.c, after functions.sh: extract the scope of paths from an image, mount what came out
# and compare it with the source.
# shellcheck shell=bash
requires_root
requires_program python3 setfacl fsfreeze
SCOPE_IMAGE=$BUILD/tests/scope-image

# scope_options FSTYPE: how a shadow copy is mounted
scope_options() {
  case $1 in
    xfs) echo ro,norecovery,nouuid ;;
    ext2) echo ro ;;
    *) echo ro,noload ;;
  esac
}

# scope_mount IMAGE FSTYPE DIRECTORY [OPTIONS]: mounts it, on a loop device that goes with the mount, and sets LOOP to its name
scope_mount() {
  mkdir -p "$3"
  cleanup_fn umount "$3"
  mount -t "$2" -o "loop,${4:-$(scope_options "$2")}" "$1" "$3"
  LOOP=$(findmnt -n -o SOURCE "$3")
}

# scope_complaints LOOP SINCE: what the kernel log says about that device since then (as in /proc/uptime) that is no mere news
scope_complaints() {
  dmesg 2>/dev/null | awk -F'[][]' -v device="(${1#/dev/})" -v error="(device ${1#/dev/})" -v since="$2" '
    $2 + 0 >= since && (index($0, error) || (index($0, device) && /orrupt|rror|epair/))'
}

# scope_make FSTYPE SIZE TREE [MKFS OPTION...]: a volume at $WORK/source over the image SOURCE, with a tree by scope-tree.py (its
# arguments in one word). scope_drop takes it away.
scope_make() {
  local type=$1 size=$2 tree=$3; shift 3
  # A name of its own: mount reuses a loop device over the same file that is still on its way out.
  SOURCE=$(mktemp "$WORK/source-XXXXXX.img")
  truncate -s "$size" "$SOURCE"
  case $type in
    xfs) mkfs.xfs -q -f "$@" "$SOURCE" ;;
    *) "mkfs.$type" -q -F "$@" "$SOURCE" 2>"$WORK/mkfs" || { cat "$WORK/mkfs" >&2; fail "mkfs.$type $*"; } ;;
  esac
  scope_mount "$SOURCE" "$type" "$WORK/source" rw,noatime
  # shellcheck disable=SC2086
  python3 "$TOP/tests/lib/scope-tree.py" "$WORK/source" $tree
}
scope_drop() { umount "$WORK/source"; rm "$SOURCE"; }

# scope_extract FSTYPE GRANULE_SHIFT PATH...: freezes the volume, makes the image PART of the scope of the paths and thaws; BYTES were wanted
scope_extract() {
  local type=$1 shift_=$2; shift 2
  PART=$(mktemp "$WORK/part-XXXXXX.img")
  cleanup_fn fsfreeze -u "$WORK/source"
  fsfreeze -f "$WORK/source"
  BYTES=$("$SCOPE_IMAGE" "$SOURCE" "$PART" "$type" "$shift_" "$@") || BYTES=
  fsfreeze -u "$WORK/source"
  [ -n "$BYTES" ] || fail "no scope of $*"
}

# scope_compare FSTYPE GRANULE_SHIFT PATH...: the scope of the paths, extracted from the volume, equals it and holds little else; the
# kernel finds nothing wrong with it
scope_compare() {
  local type=$1 data=0 since path
  scope_extract "$@"; shift 2
  since=$(cut -d' ' -f1 /proc/uptime)
  scope_mount "$PART" "$type" "$WORK/part"
  for path; do
    "$TOP/tests/lib/tree-lines.py" "$WORK/source/$path" >"$WORK/source-lines"
    "$TOP/tests/lib/tree-lines.py" "$WORK/part/$path" >"$WORK/part-lines"
    diff "$WORK/source-lines" "$WORK/part-lines" >&2 || fail "'$path' differs"
    data=$((data + $(du -s --block-size=1 "$WORK/source/$path" | head -n 1 | cut -f1)))
  done
  [ -z "$(scope_complaints "$LOOP" "$since")" ] || fail "$(scope_complaints "$LOOP" "$since")"
  # The promise is 64 MiB; these volumes are small, so most of that would be all of them.
  [ "$BYTES" -le $((data * 11 / 10 + (16 << 20))) ] || fail "$BYTES bytes for $data of data"
  [ "$(du --block-size=1 "$PART" | cut -f1)" -le $((BYTES + (4 << 20))) ] || fail "the image holds more than it says"
  umount "$WORK/part"
  rm "$PART"
}

# ---- clones of paths of a volume in use ----
# scope_drive FSTYPE [OPTION OF provider-drive...] -- PATH...: clones what these paths of $WORK/source need. The lines of each path under
# the hold must be those of the clone. BYTES: what the clone takes. PREPARED, THAWED: shell commands for those moments
# STORAGE: where the image is
PREPARED='' THAWED='' STORAGE=$WORK/storage
scope_drive() {
  local type=$1 path held='true' then='true' number=0 paths=(); shift
  mkdir -p "$STORAGE" "$WORK/part"
  cleanup_fn umount "$WORK/part"
  for path; do
    paths+=("$WORK/source/$path")
    number=$((number + 1))
    held+=" && $(printf '%q ' "$TOP/tests/lib/tree-lines.py" "$WORK/source/$path") >$WORK/held-$number"
    then+=" && $(printf '%q ' "$TOP/tests/lib/tree-lines.py" "$WORK/part/$path") >$WORK/part-$number"
  done
  "$BUILD/tests/provider-drive" --auto-release ${PREPARED:+--prepared "$PREPARED"} --held "$held" ${THAWED:+--thawed "$THAWED"} \
    --then "mount -t $type -o loop,$(scope_options "$type") \$IMAGE $WORK/part && { $then; s=\$?; umount $WORK/part; exit \$s; }" \
    clone "$WORK/source" "$STORAGE" "${paths[@]}" >"$WORK/drive.out" 2>"$WORK/drive.err" || return 1
  for ((; number > 0; number--)); do
    diff "$WORK/held-$number" "$WORK/part-$number" >&2 || fail "path $number of $* is not as it was under the hold"
  done
  BYTES=$(sed -n 's/^storage_bytes //p' "$WORK/drive.err")
}
