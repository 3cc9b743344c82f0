# PV GRUB, 64 bits: a second frontend by other people.
# shellcheck shell=bash
. /job/dom0/grub.sh

require "PV GRUB reads its configuration and two disks" grub_reads_disks grub64 /guest/grub-x86_64-xen.bin 'type = "pv"'
check "PV GRUB got what the images hold" grub_got_the_content grub64
# The end is judged whatever GRUB did.
missing=
check "no backend is left of GRUB" expect_no_backends
