# Guests end at once while their disks are as busy as they can make them.
# shellcheck shell=bash

doomed_guest_starts() {
  GUEST_ARGUMENTS=xen_blkfront.max_ring_page_order=4 two_disk_guest_create doomed 'vcpus = 2'
  guest_expect doomed 30 'full_load xvda && full_load xvdb'
}

destroyed_under_load() {
  local domid
  domid=$(guest_domid doomed)
  xl_logged destroy doomed || fail "xl destroy failed"
  wait_for 60 domain_is_gone "$domid" || fail "domain $domid is a zombie: $(xl list)"
  wait_for 30 no_backends || true
  expect_no_backends
  wait_for 30 no_grants_mapped || fail "$(daemon_mapped_grants) grants are still mapped"
  expect_daemon_alive
}

image_is_whole() {
  xenblk_img check "$images/doomed.vhd"
}

require "a guest loads two disks with all it has" doomed_guest_starts
check "xl destroy under full load leaves no mapped grant and no zombie" destroyed_under_load
check "the VHD of the destroyed guest is in order" image_is_whole
