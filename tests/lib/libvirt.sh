# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced after functions.sh: a libvirtd of the test's own, with a QEMU domain whose guest agent is qemu-with-agent.py.
# shellcheck shell=bash
: "${WORK:?functions.sh comes first}"

# libvirt_apart ARGUMENT...: the script runs again in a mount namespace of its own, and this does not return; in there it does nothing. Call it
# with the script's arguments.
libvirt_apart() {
  [ "${1:-}" != inside ] || return 0
  requires_root
  requires_program unshare libvirtd virsh qemu-system-x86_64 qemu-img jq python3 mkfs.ext4
  [ -x "$BUILD/writers/libvirt/libvirt" ] || skip "the build has no writers/libvirt"
  unshare -m --propagation private "$0" inside
  exit
}
virsh() { command virsh -q -c qemu:///system "$@"; }
AGENT_CHANNEL="<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
agent_answers() { virsh domfsfreeze one && virsh domfsthaw one; }
# domain NAME [CHANNEL]: its document; two disks of its own, one over a base image, and a CD-ROM
domain() {
  cat <<XML
<domain type='qemu'><name>$1</name><memory unit='MiB'>32</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><emulator>$WORK/qemu</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$WORK/v/images/$1-a.raw'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$WORK/v/images/$1-b.raw'/><target dev='vdb' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$WORK/v/images/$1-c.qcow2'/><target dev='vdc' bus='virtio'/></disk>
<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='$WORK/cd.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
${2:-}</devices></domain>
XML
}

# libvirt_places: a machine's, of this mount namespace alone, and a volume for images
libvirt_places() {
  for directory in /run /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do mount -t tmpfs none "$directory"; done
  mount -t tmpfs none /etc/libvirt
  printf 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nremember_owner = 0\nnamespaces = []\ncgroup_controllers = []\nstdio_handler = "file"\n' >/etc/libvirt/qemu.conf
  make_volume v ext4 128M
  mkdir -p "$WORK/mounted" "$WORK/v/images" "$WORK/agent" "$UMBRA_CONFIG_DIR/writers.d"
  cp "$TOP/tests/lib/qemu-with-agent.py" "$WORK/qemu"
  ln -s "$BUILD/writers/libvirt/libvirt" "$UMBRA_CONFIG_DIR/writers.d/libvirt"
}

# libvirt_start: libvirtd, and domain one with an agent, running
libvirt_start() {
  background libvirtd 2>"$WORK/libvirtd"
  wait_for 30 test -S /run/libvirt/libvirt-sock || fail "no libvirtd"
  cleanup_fn eval 'for d in one two one-restored; do virsh destroy "$d"; done'
  truncate -s 1M "$WORK/cd.iso"
  qemu-img create -q -f qcow2 "$WORK/v/images/base.qcow2" 4M
  for name in one two; do
    truncate -s 1M "$WORK/v/images/$name-a.raw" "$WORK/v/images/$name-b.raw"
    qemu-img create -q -f qcow2 -b "$WORK/v/images/base.qcow2" -F qcow2 "$WORK/v/images/$name-c.qcow2"
  done
  printf '%s\n' "$WORK/v/images/one-a.raw" "$WORK/v/images/one-b.raw" >"$WORK/agent/disks"
  domain one "$AGENT_CHANNEL" >"$WORK/one.xml"
  virsh define "$WORK/one.xml" && virsh start one || fail "the domain does not start: $(cat /var/log/libvirt/qemu/one.log)"
  wait_for 30 agent_answers || fail "no agent: $(virsh domfsfreeze one 2>&1)"
}
