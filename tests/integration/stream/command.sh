#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test reads, lists, cuts, resumes and writes streams through pipes, of live files and of a shadow copy; what is damaged, unknown, too long or leads out
# of its root is refused, in words, and leaves nothing.
. "$(dirname "$0")/../../lib/functions.sh"
requires_root
requires_program jq mkfs.ext4 setfattr setfacl xxd

make_volume v ext4 64M
cd "$WORK/v"
stream() { "$UMBRA" stream "$@"; }
# refused WORDS COMMAND...: ends with 1 and says so
refused() {
  local words=$1 status=0; shift
  "$@" >"$WORK/out" 2>"$WORK/messages" || status=$?
  [ "$status" = 1 ] && grep -q -- "$words" "$WORK/messages" || fail "$*: status $status: $(cat "$WORK/messages")"
}
# hex HEX...: those bytes
hex() { printf '%s' "$@" | tr -d ' \n' | xxd -r -p; }
write_hex() { local name=$1; shift; hex "$@" | stream write "${OPTIONS[@]}" "$name"; }
OPTIONS=()

# All there is of one file, in order, with its sizes.
head -c 300000 /dev/urandom >file
setfattr -n user.comment -v words file
setfattr -n 'user.DosStream.Zone.Identifier:$DATA' -v 0x5b5a6f6e655d00 file
setfacl -m u:1234:rw file
chown 5:6 file
chmod 4750 file
stream read file >file.streams
[ "$(stream list <file.streams | awk '{ print $3 }' | paste -sd' ')" = "SECURITY_DATA EA_DATA DATA ALTERNATE_DATA ALTERNATE_DATA" ] || fail "$(stream list <file.streams)"
[ "$(stream --json list <file.streams | jq -r 'select(.id == 4) | .name' | head -n 1)" = ':Zone.Identifier:$DATA' ] || fail "$(stream --json list <file.streams)"
[ "$(stream --json list <file.streams | jq -s 'map(20 + .bytes + 2 * (.name // "" | length)) | add')" = "$(stat -c %s file.streams)" ] || fail "sizes"
stream write back <file.streams
cmp file back
[ "$(stat -c '%a %u %g' back)" = "4750 5 6" ] || fail "$(stat back)"
diff <(getfattr -d -m - --absolute-names file | tail -n +2) <(getfattr -d -m - --absolute-names back | tail -n +2) || fail "attributes"
# Without security there is nothing of it.
[ "$(stream read --no-security file | stream list | awk '{ print $3 }' | paste -sd' ')" = "EA_DATA DATA ALTERNATE_DATA" ] || fail "without security"
stream read --no-security file | stream write plain
[ "$(stat -c '%a %u' plain)" = "600 0" ] || fail "$(stat plain)"

# Cut at any byte, the rest is read from there on.
size=$(stat -c %s file.streams)
for at in 0 1 19 20 21 150 1000 299999 "$((size - 1))" "$size"; do
  (head -c "$at" file.streams; stream seek file "$at") | cmp - file.streams || fail "resumed at $at"
done
refused "less than" stream seek file "$((size + 1))"

# Of a shadow copy, while the live file is another.
id=$("$UMBRA" --json create --provider clone "$WORK/v" | jq -r '.set.shadows[0].id')
there=$("$UMBRA" mount "$id")
echo changed >file
stream read "$there/file" | cmp - file.streams || fail "of the shadow copy"
cd "$WORK" && "$UMBRA" --quiet delete --all && cd "$WORK/v"

# Holes, and what is no file of data.
truncate -s 3M sparse && printf x | dd of=sparse bs=1 seek=1M conv=notrunc status=none
ln -s 'a\b/é' link && mkfifo fifo && mknod null c 1 3
for f in sparse link fifo null; do stream read "$f" | stream write "$f.back" || fail "$f"; done
cmp sparse sparse.back && [ "$(stat -c %b sparse.back)" -le "$(stat -c %b sparse)" ] || fail "holes"
[ "$(readlink link.back)" = 'a\b/é' ] && [ -p fifo.back ] && [ "$(stat -c '%t %T' null.back)" = "1 3" ] || fail "$(ls -l)"
# One more name: only that is said, and found again below the root, not outside.
mkdir in && cp plain in/first
stream read --link first in/first | stream write in/second
[ in/first -ef in/second ] || fail "no name of the same file"
echo outside >outside
refused "leads\|cross-device\|No such" bash -c 'umask 077; "$1" stream read --link ../outside in/first | "$1" stream write in/third' - "$UMBRA"
ln -s "$WORK/v" in/way
refused "." bash -c '"$1" stream read --link way/outside in/first | "$1" stream write in/fourth' - "$UMBRA"

# By the documents, byte by byte: [MS-BKUP] 2.2, a sparse file as go-winio's backuptar has it, and a relative symbolic link of Windows ([MS-FSCC] 2.1.2.4).
write_hex one "01000000 00000000 0300000000000000 00000000 616263"
[ "$(cat one)" = abc ] || fail "DATA: $(xxd one)"
write_hex two "01000000 08000000 0000000000000000 00000000" "09000000 08000000 0900000000000000 00000000 0100000000000000 62" \
  "09000000 08000000 0800000000000000 00000000 0400000000000000"
[ "$(xxd -p two)" = 00620000 ] || fail "sparse: $(xxd two)"
write_hex three "08000000 00000000 2400000000000000 00000000" "0c0000a0 1c00 0000 0000 0600 0600 0600 01000000 61005c006200 78005c007900 00000000"
[ "$(readlink three)" = a/b ] || fail "symbolic link: $(ls -l three)"
# Samba finds a descriptor that says more than Linux has where it looks for it; Unix users and modes are taken out of it.
write_hex four "03000000 02000000 5000000000000000 00000000" "01000480 14000000 24000000 00000000 34000000" \
  "01020000 00000016 01000000 05000000" "01020000 00000016 02000000 06000000" "0200 1c00 0100 0000" "00001400 89001200 010100000000000100000000"
[ "$(stat -c '%a %u %g' four)" = "444 5 6" ] && getfattr -n security.NTACL four >/dev/null || fail "$(stat four)"

# Samba's attribute, versions 1 to 4, as its own library packs them: O:S-1-22-1-5 G:S-1-22-2-6, everyone reads.
ntacl() { # VERSION BYTES-BEFORE-THE-DESCRIPTOR
  local at=$(($2 / 2)) o
  printf '%02x00%02x0000000200%s' "$1" "$1" "${3:-}"
  printf 01000480; for o in 20 36 0 52; do [ "$o" = 0 ] && printf 00000000 || printf '%02x%02x0000' $(((at + o) % 256)) $(((at + o) / 256)); done
  printf '010200000000001601000000050000000102000000000016020000000600000002001c0001000000000014008900120001010000000000010 0000000' | tr -d ' '
}
sixteen=07070707070707070707070707070707 sixty_four=$(printf '07%.0s' {1..64})
for value in "$(ntacl 1 16)" "$(ntacl 2 56 "04000200$sixteen")" "$(ntacl 3 160 "040002000100${sixty_four}0000")" \
  "$(ntacl 4 320 "040002000100${sixty_four}706f7369785f61636c000080350cd1dfd601$sixty_four")"; do
  : >samba; chown 0:0 samba; setfattr -n security.NTACL -v "0x$value" samba
  stream read samba >samba.streams
  cmp <(head -c 100 samba.streams | tail -c 80 | xxd -p -c 80) <(ntacl 1 0 | cut -c 17-176) || fail "descriptor of $value: $(xxd samba.streams)"
  "$TOP/tests/lib/streams.py" check samba <samba.streams || fail "$value"
  rm -f samba.back; stream write samba.back <samba.streams
  [ "$(getfattr -e hex -n security.NTACL --only-values samba.back | xxd -p -c 400)" = "$value" ] || fail "came back otherwise: $value"
done

# What is damaged, unknown, or claims what cannot be.
refused "in the midst" bash -c 'head -c 1000 file.streams | "$1" stream write cut' - "$UMBRA"
export -f hex write_hex stream; export UMBRA
refused "stream 6 has no counterpart" write_hex unknown "06000000 00000000 0100000000000000 00000000 61"
OPTIONS=(--unknown skip); write_hex skipped "06000000 00000000 0100000000000000 00000000 61" "01000000 00000000 0100000000000000 00000000 62"
[ "$(cat skipped)" = b ] && [ -z "$(getfattr -d -m - skipped)" ] || fail "skipped"
OPTIONS=(--unknown keep); write_hex kept "06000000 04000000 0100000000000000 00000000 61"
stream read kept | stream list | grep -q PROPERTY_DATA || fail "$(stream read kept | stream list)"
OPTIONS=()
refused "bytes long" write_hex long "03000000 00000000 ffffffffffffff7f 00000000 61"
refused "bytes long" write_hex negative "01000000 00000000 ffffffffffffffff 00000000 61"
refused "in the midst" write_hex half "01000000 00000000 ffffffffffffff7f 00000000 61"
refused "name of" write_hex name "04000000 00000000 0100000000000000 fffffffe 61"
refused "beyond all files" write_hex beyond "09000000 08000000 0900000000000000 00000000 ffffffffffffff7f 61"
refused "not sound" write_hex descriptor "03000000 00000000 1400000000000000 00000000" "01000480 14000000 ff000000 00000000 00000000"
refused "no meaning here" write_hex windows "08000000 00000000 2000000000000000 00000000" "0c0000a0 1800 0000 0000 0600 0600 0600 00000000 61005c006200 78005c007900"
refused "alternate stream" write_hex slash "04000000 00000000 0000000000000000 10000000" "3a002f003a002400440041005400 4100"
refused "File exists" write_hex file "01000000 00000000 0100000000000000 00000000 61"
refused "cut off" bash -c 'head -c 1000 file.streams | "$1" stream list' - "$UMBRA"
# Nobody gets a file of root's by an attribute of his own: it is read as an attribute, whatever it is called.
: >mine && chown 1000 mine
setfattr -n user.umbra.stream.2.0 -v 0x0000000000060400244c5855494400 mine && setfattr -n user.umbra.stream.5.0 -v 0x66006900 mine
setfattr -n user.SmbReparse -v 0x1d0000a0080000000200000078787878 mine
setfattr -n 'user.DosStream.umbra.xattr.security.capability:$DATA' -v 0x0100000200040000000000000000000000000000 mine
stream read mine >mine.streams
[ "$(stream list <mine.streams | awk '{ print $3 }' | paste -sd' ')" = "SECURITY_DATA EA_DATA DATA ALTERNATE_DATA ALTERNATE_DATA ALTERNATE_DATA ALTERNATE_DATA" ] || fail "$(stream list <mine.streams)"
stream write mine.back <mine.streams
[ "$(getfattr -d -m '^security' mine.back)" = "" ] || fail "capabilities: $(getfattr -d -m - mine.back)"
diff <(getfattr -e hex -d -m - mine | tail -n +2) <(getfattr -e hex -d -m - mine.back | tail -n +2) || fail "its attributes are others"
[ "$(stat -c '%F %u' mine.back)" = "regular empty file 1000" ] || fail "$(stat mine.back)"
# What says whose and what a file is comes once; a LINK stands alone; what takes the place of a file has no data.
ea="02000000 00000000 1300000000000000 00000000 00000000 00 06 0400 244c584d4f4400 ed890000"
link="05000000 00000000 0a00000000000000 00000000 66006900 6c00 6500 3200"
head -c 10 /dev/urandom >file2 && chmod 600 file2
refused "where none can be" write_hex twice "$ea" "$ea"
refused "where none can be" write_hex linked "$link" "$ea"
refused "where none can be" write_hex linked2 "$ea" "$link"
[ "$(stat -c %a file2)" = 600 ] || fail "a file that was there has another mode: $(stat file2)"
refused "where none can be" write_hex placed "08000000 00000000 0800000000000000 00000000 24000080 00000000" "01000000 00000000 0100000000000000 00000000 61"
refused "is something else" write_hex replaced "01000000 00000000 0100000000000000 00000000 61" "08000000 00000000 0800000000000000 00000000 24000080 00000000"
refused "sparse file" write_hex sparse2 "01000000 08000000 0000000000000000 00000000" "09000000 08000000 0900000000000000 00000000 0100000000000000 62"
refused "alternate stream" write_hex empty "04000000 00000000 0000000000000000 26000000" "3a0075006d006200720061002e00780061007400740072002e003a00240044004100540041 00"
# Rights of an owner that was not told are nobody's: a set-user-ID bit comes with its owner only.
write_hex armed "$ea"
[ "$(stat -c %a armed)" = 755 ] || fail "set-user-ID without its owner: $(stat armed)"
refused "Invalid argument" stream write "" </dev/null

# No memory for what is only claimed (a sanitizer's runtime needs more than this to start with).
if ! ldd "$BUILD/umbra" | grep -q libasan; then
  for kind in 01 09; do
    (ulimit -v 200000; hex "${kind}000000 00000000 ffffffffffffff7f 00000000 61" | "$UMBRA" stream write "claimed$kind") 2>"$WORK/messages" && fail "claimed"
    grep -q "in the midst" "$WORK/messages" || fail "claimed: $(cat "$WORK/messages")"
  done
fi
