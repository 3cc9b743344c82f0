# Guests go, and what they wrote is judged by another program.
# shellcheck shell=bash

# The guest copies the VHD disk to the raw disk of the same size, so the raw image is what qemu-img must find in the VHD.
copy_is_made() {
  guest_expect linux 60 'copy_disk xvdb xvda'
  guest_expect linux 120 'disk_sum xvdb' > "$scratch/b.sum"
}

images_are_identical() {
  qemu-img compare -f raw -F vpc "$images/a.img" "$images/b.vhd" ||
    fail "qemu-img finds other data in the VHD than the guest did"
  expect_equal "the sum of the copy" "$(<"$scratch/b.sum")" "$(sha256sum < "$images/a.img" | cut -d' ' -f1)"
  # The comparison would mean nothing for a disk that was never written.
  [ "$(stat -c '%b' "$images/b.vhd")" -gt 4096 ] || fail "the VHD holds no data"
}

nothing_is_left() {
  wait_for 30 no_backends || true
  expect_no_backends
  wait_for 30 no_grants_mapped || fail "$(daemon_mapped_grants) grants are mapped with no guest there"
  expect_daemon_alive
}

check "the guest copies its VHD disk" copy_is_made
check "the guest powers off" guest_power_off linux
check "qemu-img compare finds what the guest wrote" images_are_identical
check "no backend and no mapped grant is left" nothing_is_left
