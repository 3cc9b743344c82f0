# A PVH guest boots from a VHD through the NBD export: xenblk-img serves the VHD, QEMU's NBD client makes it the block
# device nbd0 of dom0, and xenblkd gives that to the guest, whose boot loader finds its kernel there.
# shellcheck shell=bash

exported=$scratch/boot.sock

bootable_vhd_is_made() {
  local tree=$scratch/boot-tree
  mkdir -p "$tree/boot/grub"
  cp /guest/vmlinuz "$tree/vmlinuz"
  cat "$job/guest.cpio" /guest/initrd.zst > "$tree/initrd"
  printf '%s\n' 'linux /vmlinuz console=hvc0 quiet mitigations=off' 'initrd /initrd' boot > "$tree/boot/grub/grub.cfg"
  truncate -s 128M "$images/bootable.img"
  # What lies behind is for the guest to write.
  mke2fs -q -F -t ext2 -d "$tree" "$images/bootable.img" 112M
  xenblk_img convert "raw:$images/bootable.img" "vhd:$images/bootable.vhd"
  rm -r "$images/bootable.img" "$tree"
}

vhd_is_a_device_of_nbd() {
  "$programs/xenblk-img" export "vhd:$images/bootable.vhd" --socket "$exported" --persistent > "$scratch/export.said" 2>&1 &
  echo "$!" > "$scratch/export.pid"
  disown
  wait_for 30 test -S "$exported" || fail "nothing serves: $(<"$scratch/export.said")"
  modprobe nbd nbds_max=1
  qemu-nbd --fork -f raw --connect=/dev/nbd0 "nbd+unix:///?socket=$exported"
  wait_for 30 nbd_has_its_size || fail "nbd0 has $(blockdev --getsize64 /dev/nbd0) bytes"
}

nbd_has_its_size() { [ "$(blockdev --getsize64 /dev/nbd0)" = $((128 << 20)) ]; }

guest_boots() {
  GRUB_MEMORY=384 grub_create exported "vcpus = 1
kernel = \"/guest/grub-i386-xen_pvh.bin\"
type = \"pvh\"" "$(disk xvda rw raw:/dev/nbd0)"
  guest_await_text exported GUEST-READY 240
  guest_expect exported 60 'disk_appears xvda && fio_verify xvda 4m --offset=120m'
  guest_expect exported 30 no_kernel_complaint
}

guest_leaves() {
  guest_power_off exported
  wait_for 30 no_backends || true
  expect_no_backends
}

vhd_is_sound() {
  qemu-nbd --disconnect /dev/nbd0
  kill -TERM "$(<"$scratch/export.pid")"
  wait_for 30 export_is_gone || fail "the export does not end"
  xenblk_img check "vhd:$images/bootable.vhd"
}

export_is_gone() { ! kill -0 "$(<"$scratch/export.pid")" 2>/dev/null; }

# Some minutes, most of them the boot loader's: not each time.
if [ ! -e "$job/long" ]; then
  echo "SKIPPED: a guest that boots through an export, which only a long run has"
else
  require "xenblkd starts for a guest from an export" start_daemon
  require "a VHD with a boot loader's files is made" bootable_vhd_is_made
  require "QEMU's NBD client makes the exported VHD a block device" vhd_is_a_device_of_nbd
  require "a PVH guest boots from the VHD through the export, and verifies what it writes" guest_boots
  check "that guest powers off" guest_leaves
  check "the VHD is sound" vhd_is_sound
  # The end is judged whatever the guest did.
  missing=
  check "xenblkd ends with status 0 on SIGTERM after that" end_daemon
fi
