# A guest that asks for all: sixteen pages a ring, and a queue for each of its two CPUs.
# shellcheck shell=bash

wide_guest_starts() {
  GUEST_ARGUMENTS=xen_blkfront.max_ring_page_order=4 two_disk_guest_create wide 'vcpus = 2'
}

wide_ring_is_negotiated() {
  local name frontend
  for name in xvda xvdb; do
    expect_node "$(backend_directory wide "$name")/state" 4
    frontend=$(frontend_directory wide "$name")
    xenstore-ls "$frontend"
    expect_node "$frontend/multi-queue-num-queues" 2
    expect_node "$frontend/ring-page-order" 4
    xenstore-read "$frontend/queue-1/ring-ref15" || fail "the second queue has no sixteenth page"
  done
}

require "xl create starts a guest with two CPUs" wide_guest_starts
check "16-page rings and 2 queues are negotiated" wide_ring_is_negotiated
check "fio verifies the raw disk over 2 queues" \
  guest_expect wide 60 'fio_verify xvda 2m --numjobs=2 --offset_increment=8m --group_reporting'
check "fio verifies the VHD disk over 2 queues" \
  guest_expect wide 60 'fio_verify xvdb 2m --numjobs=2 --offset_increment=8m --group_reporting'
check "fio verifies deep queues on the VHD disk" \
  guest_expect wide 60 'fio_verify xvdb 3m --offset=24m --iodepth=256 --numjobs=2 --offset_increment=12m --group_reporting'
check "blkfront has no complaint about wide rings" guest_expect wide 30 no_kernel_complaint
check "the guest with two CPUs powers off" guest_power_off wide
