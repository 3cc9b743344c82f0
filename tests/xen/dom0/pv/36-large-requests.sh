# Requests of one mebibyte, and a daemon that offers persistent grants, to guests that take them and that do not.
# shellcheck shell=bash

large_guest_starts() {
  GUEST_ARGUMENTS=xen_blkfront.max_indirect_segments=256 two_disk_guest_create large 'vcpus = 1'
}

# Were a request of the guest split, its kernel would count more than one.
requests_are_large() {
  local name
  for name in xvda xvdb; do
    expect_node "$(backend_directory large "$name")/feature-max-indirect-segments" 256
    expect_equal "the number of requests for 16 MiB" 16 "$(guest_expect large 60 "requests_of_reads $name 16")"
  done
}

# A daemon with other settings takes over while the first guest's disks are busy.
daemon_with_persistent_grants() {
  guest_expect linux 30 'background_io xvda'
  end_daemon
  echo 'data-path = "persistent"' > "$scratch/persistent.toml"
  start_daemon -c "$scratch/persistent.toml"
  expect_node "$(backend_directory linux xvda)/state" 4
  guest_expect linux 120 'background_end xvda'
  guest_expect linux 30 no_kernel_complaint
}

# attached_with Y|N: what the guest's parameter leads to. The parameter counts when a disk is connected.
attached_with() {
  local grants expected=$1 said=0
  [ "$expected" = N ] || said=1
  truncate -s 64M "$images/grants.img"
  guest_expect large 30 "echo $expected > /sys/module/xen_blkfront/parameters/feature_persistent"
  attach_disk large xvdi rw "raw:$images/grants.img"
  guest_expect large 60 'disk_appears xvdi'
  expect_node "$(backend_directory large xvdi)/feature-persistent" 1
  expect_equal "the frontend's feature-persistent" $said \
    "$(xenstore-read "$(frontend_directory large xvdi)/feature-persistent" 2>/dev/null || echo 0)"
  guest_expect large 120 'fio_verify xvdi 4m'
  guest_expect large 120 'fio_verify xvdi 32m --offset=16m --bs=1m --iodepth=4'
  grants=$(daemon_mapped_grants)
  detach_disk large xvdi
  echo "mappings with the disk: $grants, after it: $(daemon_mapped_grants)"
}

usual_daemon_is_back() {
  guest_expect large 30 no_kernel_complaint
  guest_power_off large
  end_daemon
  start_daemon
  guest_expect linux 60 'fio_verify xvda 2m'
}

require "xl create starts a guest that asks for 256 indirect segments" large_guest_starts
check "a request of the guest has one mebibyte, raw and VHD" requests_are_large
check "fio verifies requests of one mebibyte on the VHD disk" \
  guest_expect large 60 'fio_verify xvdb 24m --bs=1m --iodepth=4'
require "a daemon that offers persistent grants takes over under verified I/O" daemon_with_persistent_grants
check "a guest with feature_persistent on uses them" attached_with Y
check "a guest with feature_persistent off does without" attached_with N
check "the usual daemon takes over again" usual_daemon_is_back
