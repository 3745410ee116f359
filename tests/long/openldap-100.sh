#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test makes 100 shadow copies of a slapd under load, with and without dbnosync, by clone, files and btrfs, and reads each.
# timeout: 3000
. "$(dirname "$0")/../lib/functions.sh"
. "$TOP/tests/lib/openldap.sh"
requires_root
requires_program jq python3 mkfs.ext4 mkfs.btrfs setpriv

mkdir "$WORK/mounted"
make_volume v ext4 512M
make_volume b btrfs 512M
# sets COUNT DIRECTORY OPTION PROVIDER...
sets() {
  local count=$1 directory=$2 option=$3 i provider; shift 3
  openldap_start "$directory" "$option"
  for ((i = 0; i < count; i++)); do
    for provider in "$@"; do openldap_shadow --provider "$provider"; done
  done
  openldap_goes_on
  openldap_stop
  rm -r "$directory"
}
for option in 'olcDbNoSync: FALSE' 'olcDbNoSync: TRUE'; do
  sets 20 "$WORK/v/ldap" "$option" clone files
  sets 10 "$WORK/b/ldap" "$option" btrfs
done
