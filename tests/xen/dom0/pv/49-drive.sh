# A drive whose medium changes under a running guest. `xl cd-insert` is for HVM guests alone; what it and xapi do to a
# backend is done here by hand: `params` gets another value.
# shellcheck shell=bash

put_into_drive() { xenstore-write "$(backend_directory linux xvdj)/params" "$1"; }

drive_is_attached() {
  guest_is_there linux
  head -c 1M /dev/urandom > "$images/first.iso"
  head -c 3M /dev/urandom > "$images/second.iso"
  xl_logged block-attach linux "vdev=xvdj,access=ro,devtype=cdrom,script=block-xenblk,target=raw:$images/first.iso" ||
    fail "xl block-attach failed"
  guest_expect linux 60 'disk_appears xvdj'
  # A drive, with a medium that can be taken out, read-only.
  expect_node "$(backend_directory linux xvdj)/info" 7
  guest_has_medium first
}

# guest_has_medium NAME: all of it, as the guest reads it.
guest_has_medium() {
  local file=$images/$1.iso
  guest_expect linux 60 "disk_has xvdj $(stat -c %s "$file")"
  expect_equal "the sum in the guest" "$(sha256sum < "$file" | cut -d' ' -f1)" "$(guest_expect linux 60 'disk_sum xvdj')"
}

medium_is_changed() {
  put_into_drive "raw:$images/second.iso"
  guest_has_medium second
  # Nobody holds the old one any more.
  rm "$images/first.iso"
  head -c 2M /dev/urandom > "$images/first.iso"
}

medium_is_taken_out() {
  put_into_drive ""
  guest_expect linux 60 'disk_has xvdj 0'
  put_into_drive "raw:$images/first.iso"
  guest_has_medium first
}

bad_medium_leaves_it_empty() {
  local domid
  domid=$(guest_domid linux)
  put_into_drive raw:/nowhere.iso
  guest_expect linux 60 'disk_has xvdj 0'
  expect_match "the error node" 'the drive is empty: /nowhere.iso' \
    "$(xenstore-read "error/backend/vbd/$domid/$(device_id xvdj)/error")"
  put_into_drive "raw:$images/second.iso"
  guest_has_medium second
}

drive_is_detached() {
  detach_disk linux xvdj
  guest_expect linux 30 no_kernel_complaint
}

require "a guest gets a drive with a medium" drive_is_attached
check "the guest sees another medium in its drive" medium_is_changed
check "the drive can be emptied and filled again" medium_is_taken_out
check "a medium that cannot be opened leaves the drive empty, with the reason" bad_medium_leaves_it_empty
check "the drive can be detached" drive_is_detached
