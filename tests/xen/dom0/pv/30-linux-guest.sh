# A Linux guest with the default ring (one page, one queue), and a raw, a VHD and a read-only disk.
# shellcheck shell=bash

image_bytes=$((80 << 20))

make_images() {
  truncate -s "$image_bytes" "$images/a.img"
  qemu-img create -q -f vpc -o subformat=dynamic,force_size=on "$images/b.vhd" "$image_bytes"
  head -c 16M /dev/urandom > "$images/c.img"
  sha256sum < "$images/c.img" | cut -d' ' -f1 > "$scratch/c.sum"
}

guest_starts() {
  linux_guest_create linux 'vcpus = 1' \
    "$(disk xvda rw "raw:$images/a.img")" "$(disk xvdb rw "vhd:$images/b.vhd")" "$(disk xvdc ro "raw:$images/c.img")"
  guest_expect linux 90 'disk_appears xvda && disk_appears xvdb && disk_appears xvdc'
}

nodes_are_right() {
  local name backend
  for name in xvda xvdb xvdc; do
    backend=$(backend_directory linux "$name")
    expect_node "$backend/state" 4
    expect_node "$backend/image-state" open
    expect_node "$backend/hotplug-status" connected
  done
  expect_node "$(backend_directory linux xvdb)/physical-device-path" "$images/b.vhd"
  expect_node "$(backend_directory linux xvdb)/sectors" $((image_bytes / 512))
  # Without a page order the frontend uses the one-page scheme.
  xenstore-read "$(frontend_directory linux xvda)/ring-ref" || fail "the ring is not a single page"
}

disk_facts_are_right() {
  local facts
  facts=$(guest_expect linux 60 'disk_facts xvdb')
  echo "$facts"
  expect_match "the guest" "bytes=$image_bytes " "$facts"
  expect_match "the guest" "queues=1 " "$facts"
  # Without a flush the guest would trust a volatile cache.
  expect_match "the guest" "cache=write-back" "$facts"
}

read_only_disk_holds() {
  guest_expect linux 60 'write_refused xvdc'
  expect_equal "the sum in the guest" "$(<"$scratch/c.sum")" "$(guest_expect linux 60 'disk_sum xvdc')"
  expect_equal "the sum of the image" "$(<"$scratch/c.sum")" "$(sha256sum < "$images/c.img" | cut -d' ' -f1)"
}

require "images are made" make_images
require "xl create starts a guest with raw, VHD and read-only disks" guest_starts
check "XenStore shows three connected disks with one-page rings" nodes_are_right
check "the guest sees size, queue and flush" disk_facts_are_right
check "a file system on the raw disk keeps its files" guest_expect linux 60 'file_system xvda 16'
check "a file system on the VHD disk keeps its files" guest_expect linux 60 'file_system xvdb 16'
check "fio verifies the raw disk at depth 32" guest_expect linux 60 'fio_verify xvda 4m'
check "fio verifies the VHD disk at depth 32" guest_expect linux 60 'fio_verify xvdb 4m --offset=40m'
check "fio verifies large requests on the VHD disk" guest_expect linux 60 'fio_verify xvdb 16m --offset=64m --bs=128k'
check "the read-only disk refuses writes and keeps its content" read_only_disk_holds
check "blkfront has no complaint" guest_expect linux 30 no_kernel_complaint
