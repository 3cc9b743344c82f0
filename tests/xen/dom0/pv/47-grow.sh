# A raw image becomes larger under a guest that is busy with it.
# shellcheck shell=bash

attach_growing() {
  truncate -s 32M "$images/grow.img"
  attach_disk linux xvdh rw "raw:$images/grow.img"
  guest_expect linux 60 'disk_appears xvdh && background_io xvdh'
}

guest_sees_growth() {
  truncate -s 64M "$images/grow.img"
  kill -HUP "$(<"$daemon_pid_file")"
  wait_for 30 grown_node || fail "sectors is still $(xenstore-read "$(backend_directory linux xvdh)/sectors")"
  guest_expect linux 60 'disk_has xvdh 67108864'
  guest_expect linux 60 'fio_verify xvdh 4m --offset=40m'
}

grown_node() { [ "$(xenstore-read "$(backend_directory linux xvdh)/sectors")" = 131072 ]; }

shrinking_is_refused() {
  truncate -s 48M "$images/grow.img"
  kill -HUP "$(<"$daemon_pid_file")"
  wait_for 30 grep -q 'the file has become smaller: 98304 sectors, and the disk has 131072' "$out/xenblkd.log" ||
    fail "the daemon does not say so"
  expect_node "$(backend_directory linux xvdh)/sectors" 131072
  truncate -s 64M "$images/grow.img"
}

detach_growing() {
  guest_expect linux 120 'background_end xvdh'
  guest_expect linux 30 no_kernel_complaint
  detach_disk linux xvdh
}

require "a disk that will grow is attached and busy" attach_growing
check "the guest sees a grown raw image while fio runs" guest_sees_growth
check "a raw image that became smaller is refused" shrinking_is_refused
check "the verified I/O went on, and the disk is detached" detach_growing
