# Two disks on a small file system, which their guest fills while it verifies what it writes. It waits, and goes on when
# there is room; `on-enospc = "pause"`.
# shellcheck shell=bash

small=$images/small

small_file_system() {
  truncate -s 64M "$images/small.fs"
  mke2fs -q -F -t ext4 -m 0 "$images/small.fs"
  mkdir -p "$small"
  mount -o loop "$images/small.fs" "$small"
  truncate -s 48M "$small/full.img"
  xenblk_img create "vhd:$small/full.vhd" --size 48M
  # Some megabytes stay free.
  fallocate -l "$((($(stat -f -c '%a * %S' "$small")) - (5 << 20)))" "$small/filler"
}

daemon_waits_for_room() {
  small_file_system
  echo 'on-enospc = "pause"' > "$scratch/full.toml"
  end_daemon
  start_daemon -c "$scratch/full.toml"
  attach_disk linux xvdk rw "raw:$small/full.img"
  attach_disk linux xvdl rw "vhd:$small/full.vhd"
  guest_expect linux 60 'disk_appears xvdk && disk_appears xvdl'
}

waits_for_room() {
  xenblkctl list | grep "linux:$1 " | grep -q storage-waits &&
    [ "$(xenstore-read "$(backend_directory linux "$1")/storage-state")" = waiting ]
}
has_room() { xenblkctl list | grep "linux:$1 " | grep -q ' connected '; }

guest_fills_it() {
  guest_expect linux 30 'verify_later xvdk 12m'
  guest_expect linux 30 'verify_later xvdl 12m'
  wait_for 120 waits_for_room xvdk || fail "the raw disk does not wait: $(xenblkctl list)"
  wait_for 120 waits_for_room xvdl || fail "the VHD does not wait: $(xenblkctl list)"
  xenblkctl explain linux:xvdk
  df "$small"
  guest_expect linux 30 'still_verifies xvdk && still_verifies xvdl'
}

# It is killed, too, with requests that wait.
others_go_on() {
  guest_expect linux 60 'touch_disk xvda'
  kill_daemon
  start_daemon -c "$scratch/full.toml"
  guest_expect linux 60 'touch_disk xvda'
  wait_for 60 waits_for_room xvdk || fail "the raw disk does not wait any more: $(xenblkctl list)"
  guest_expect linux 30 'still_verifies xvdk && still_verifies xvdl'
}

goes_on_with_room() {
  rm "$small/filler"
  guest_expect linux 240 'verified xvdk'
  guest_expect linux 240 'verified xvdl'
  wait_for 60 has_room xvdk || fail "the raw disk is not as usual: $(xenblkctl list)"
  wait_for 60 has_room xvdl || fail "the VHD is not as usual: $(xenblkctl list)"
  guest_expect linux 30 no_kernel_complaint
}

full_storage_ends() {
  local disk
  for disk in xvdk xvdl; do
    detach_disk linux "$disk"
  done
  xenblk_img check "vhd:$small/full.vhd"
  umount "$small"
  rm "$images/small.fs"
  end_daemon
  start_daemon
  guest_expect linux 60 'touch_disk xvda'
}

require "two disks are on a file system with little room" daemon_waits_for_room
require "their guest fills it, and both disks wait" guest_fills_it
check "meanwhile another disk goes on, and the daemon may die" others_go_on
check_seconds_max=500 check "with room they go on: fio found nothing wrong, the guest's kernel saw no error" goes_on_with_room
check "the disks are detached, and the VHD is in order" full_storage_ends
