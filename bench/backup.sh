#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# How fast are backup and restore of 100,000 files of 2 GB against tar and zstd at the same level, the archive of either on the disk (fsync)
# before it counts; what does an incremental backup cost with nothing changed; how much memory do they take?
. "$(dirname "$0")/../tests/lib/functions.sh"
. "$TOP/bench/figures.sh"
requires_root
requires_program python3 zstd tar mkfs.btrfs

FILES=${FILES:-100000} BYTES=${BYTES:-2000000000} ROUNDS=${ROUNDS:-3}
# btrfs: the shadow copy costs nothing there, so that the backup itself is what is compared.
make_volume v btrfs 12G
python3 "$TOP/tests/lib/many-files.py" "$WORK/v/tree" "$FILES" "$BYTES"
sync -f "$WORK/v"
live=$BUILD/tests/backup-live

plain_save() {
  tar -c -C / "${WORK#/}/v/tree" 2>/dev/null | zstd -q -3 -T0 -o "$WORK/plain.tar.zst"
  sync "$WORK/plain.tar.zst"
}
plain_restore() { mkdir "$WORK/v/plain" && zstd -dcq "$WORK/plain.tar.zst" | tar -x -C "$WORK/v/plain"; }
saved() { "$live" "$WORK/target" "$1" "$WORK/v/tree"; }
restored() { "$UMBRA" --quiet restore "$WORK/target" --to "$WORK/v/out"; }

for _ in $(seq "$ROUNDS"); do
  rm -rf "$WORK/plain.tar.zst" "$WORK/target"
  milliseconds plain_save >>"$WORK/plain-save"
  milliseconds saved full >>"$WORK/save"
  milliseconds saved incremental >>"$WORK/incremental"
  milliseconds plain_restore >>"$WORK/plain-restore"
  rm -rf "$WORK/v/plain"
  milliseconds restored >>"$WORK/restore"
  rm -rf "$WORK/v/out"
done
rm -rf "$WORK/target"
/usr/bin/time -f %M -o "$WORK/rss" "$UMBRA" --quiet backup "$WORK/v/tree" --to "$WORK/target" >&2
rss_save=$(tail -n 1 "$WORK/rss")
/usr/bin/time -f %M -o "$WORK/rss" "$UMBRA" --quiet restore "$WORK/target" --to "$WORK/v/out" >&2
rss_restore=$(tail -n 1 "$WORK/rss")
figure "backup of $FILES files, time of tar | zstd -T0" "$(ratio "$(median <"$WORK/save")" "$(median <"$WORK/plain-save")")" "x" 1
figure "restore, time of zstd -d | tar -x" "$(ratio "$(median <"$WORK/restore")" "$(median <"$WORK/plain-restore")")" "x" 1
figure "incremental with nothing changed, full against it" "$(ratio "$(median <"$WORK/save")" "$(median <"$WORK/incremental")")" "x" 10 more
figure "memory of a backup" "$((rss_save / 1024))" " MiB" 128
figure "memory of a restore" "$((rss_restore / 1024))" " MiB" 128
figure "archive, size of zstd's (frames are independent)" "$(ratio "$(stat -c %s "$WORK"/target/*/files.tar.zst)" "$(stat -c %s "$WORK/plain.tar.zst")")" "x" 1.15
