# VHDs that xenblk-img made, a chain among them, on a guest's disks; other programs judge what the guest wrote.
# shellcheck shell=bash

vhd_bytes=$((48 << 20))

make_vhd_images() {
  xenblk_img create "vhd:$images/made.vhd" --size "$vhd_bytes"
  head -c 20M /dev/urandom > "$scratch/base.img"
  truncate -s "$vhd_bytes" "$scratch/base.img"
  qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$scratch/base.img" "$images/base.vhd"
  sha256sum < "$scratch/base.img" | cut -d' ' -f1 > "$scratch/base.sum"
  sha256sum < "$images/base.vhd" > "$scratch/base-file.sum"
  xenblk_img create "vhd:$images/child.vhd" --parent "vhd:$images/base.vhd"
}

attach_vhd_images() {
  attach_disk linux xvde rw "vhd:$images/made.vhd"
  attach_disk linux xvdf rw "vhd:$images/child.vhd"
  guest_expect linux 60 'disk_appears xvde && disk_appears xvdf'
}

child_shows_its_parent() {
  expect_equal "the sum in the guest" "$(<"$scratch/base.sum")" "$(guest_expect linux 60 'disk_sum xvdf')"
}

# The first disk becomes a copy of the second, so that one sum stands for both.
guest_writes_both() {
  guest_expect linux 60 'fio_verify xvdf 8m --offset=16m'
  guest_expect linux 60 'copy_disk xvdf xvde'
  guest_expect linux 60 'disk_sum xvdf' > "$scratch/vhd.sum"
  expect_equal "the sum of the copy" "$(<"$scratch/vhd.sum")" "$(guest_expect linux 60 'disk_sum xvde')"
  [ "$(<"$scratch/vhd.sum")" != "$(<"$scratch/base.sum")" ] || fail "the guest changed nothing"
}

detach_vhd_images() {
  local name
  for name in xvde xvdf; do
    detach_disk linux "$name"
  done
}

expect_content() {
  expect_equal "the sum by $1" "$(<"$scratch/vhd.sum")" "$(sha256sum | cut -d' ' -f1)"
}

others_read_the_same() {
  qemu-img convert -f vpc -O raw "$images/made.vhd" "$scratch/made.img"
  expect_content qemu-img < "$scratch/made.img"
  7zz x -tvhd -so "$images/made.vhd" 2> /dev/null | expect_content 7zz
  # It follows the child to its parent in the same directory.
  7zz x -tvhd -so "$images/child.vhd" 2> /dev/null | expect_content "7zz (chain)"
  xenblk_img convert "vhd:$images/child.vhd" - | expect_content "xenblk-img (chain)"
  expect_equal "the parent's file" "$(<"$scratch/base-file.sum")" "$(sha256sum < "$images/base.vhd")"
}

images_check_clean() {
  xenblk_img check "$images/made.vhd"
  xenblk_img check "$images/child.vhd"
  xenblk_img info "vhd:$images/child.vhd"
}

# A raw and a dynamic disk, filled and discarded by the guest.
discard_gives_space_back() {
  local target blocks
  truncate -s 32M "$images/full.img"
  xenblk_img create "vhd:$images/full.vhd" --size 32M
  for target in "raw:$images/full.img" "vhd:$images/full.vhd"; do
    attach_disk linux xvdg rw "$target"
    guest_expect linux 60 'disk_appears xvdg && fill_disk xvdg'
    blocks=$(stat -c '%b' "${target#*:}")
    [ "$blocks" -ge 65536 ] || fail "$target has only $blocks blocks when it is full"
    guest_expect linux 60 'discard_disk xvdg'
    blocks=$(stat -c '%b' "${target#*:}")
    [ "$blocks" -lt 8192 ] || fail "$target still has $blocks blocks"
    detach_disk linux xvdg
  done
}

require "xenblk-img makes a dynamic image and a child of qemu-img's" make_vhd_images
require "the guest gets both" attach_vhd_images
check "a differencing disk shows its parent's content" child_shows_its_parent
check "fio verifies the differencing disk, and it is copied" guest_writes_both
check "both disks are detached" detach_vhd_images
check "qemu-img, 7zz and xenblk-img read what the guest wrote" others_read_the_same
check "xenblk-img check has nothing to say" images_check_clean
check "blkdiscard in the guest gives the space back" discard_gives_space_back
