# The 32-bit GRUB in a PVH guest: a frontend with the x86_32 layout of requests.
# shellcheck shell=bash
. /job/dom0/grub.sh

pvh_is_possible() {
  expect_match "xl info" 'virt_caps.*(hvm|pvh)' "$(xl info)"
}

require "xenblkd starts" start_daemon
check "this Xen can run PVH guests" pvh_is_possible
require "32-bit GRUB reads its configuration and two disks" \
  grub_reads_disks grub32 /guest/grub-i386-xen_pvh.bin 'type = "pvh"'
check "32-bit GRUB spoke x86_32-abi" expect_equal "the protocol" x86_32-abi "$(cat "$scratch/grub32.protocol" 2>&1)"
check "32-bit GRUB got what the images hold" grub_got_the_content grub32
# The end is judged whatever GRUB did.
missing=
check "no backend is left" expect_no_backends
check "xenblkd ends with status 0 on SIGTERM" end_daemon
