#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test copies some paths of a volume: they are whole, the directories on the way are there with their metadata, the rest is absent; what is
# mounted on the volume is not copied, what lies under it is; files of directories and names that begin alike are kept apart.
. "$(dirname "$0")/../../lib/functions.sh"
. "$(dirname "$0")/files.sh"

make_volume v ext4 200M
volume=$WORK/v
mkdir -p "$volume/a/b/wanted/sub" "$volume/a/b/wanted-not" "$volume/a/b/other" "$volume/z/mounted"
echo w >"$volume/a/b/wanted/file"; echo s >"$volume/a/b/wanted/sub/file"; echo n >"$volume/a/b/wanted-not/file"
echo o >"$volume/a/b/other/file"; echo single >"$volume/a/single"; echo not >"$volume/a/single.not"; echo under >"$volume/z/mounted/under"
chmod 0750 "$volume/a"; chown 5:6 "$volume/a/b"; touch -d 2012-12-12 "$volume/a/b" "$volume/a"
mount -t tmpfs none "$volume/z/mounted"; echo over >"$volume/z/mounted/over"

copy_of "$volume" --prepared "echo o2 >$volume/a/b/other/new" --precommitted "echo w2 >$volume/a/b/wanted/new; mkdir $volume/a/b/also; echo n >$volume/a/nothing" \
  --then "cd \$IMAGE && find . -not -type d | sort >$WORK/found; stat -c '%n %a %u:%g %Y' a a/b >$WORK/ways" \
  -- "$volume/a/b/wanted" "$volume/a/single" "$volume/a/b/wanted/sub" || fail "no copy"
diff - "$WORK/found" <<'END' || fail "other files than wanted"
./a/b/wanted/file
./a/b/wanted/new
./a/b/wanted/sub/file
./a/single
END
(cd "$volume"; stat -c '%n %a %u:%g %Y' a a/b) | diff - "$WORK/ways" || fail "the directories on the way differ"

copy_of "$volume" --then "cd \$IMAGE && find . -not -type d | sort >$WORK/found" || fail "no copy"
grep -qx './z/mounted/under' "$WORK/found" || fail "what lies under a mount is missing"
! grep -q over "$WORK/found" || fail "another filesystem was copied"
! copy_of "$volume" -- /proc/self 2>/dev/null || fail "a path of another volume was taken"
