# PV GRUB, 64 bits: a second frontend by other people.
# shellcheck shell=bash
. /job/dom0/grub.sh

check "PV GRUB reads its configuration and two disks" grub_reads_disks grub64 /guest/grub-x86_64-xen.bin 'type = "pv"'
check "PV GRUB got what the images hold" grub_got_the_content grub64
check "no backend is left of GRUB" expect_no_backends
