# What the README tells a newcomer, run as it stands there: install, the first guest, the first snapshot, a look at
# what its disk does. The image is an empty file system, and the guest's kernel and initramfs are the lab's.
# shellcheck shell=bash

# readme_block N: the Nth block of commands of the README's first guest; it is in the package.
readme_block() {
  dpkg-deb --fsys-tarfile "$package" | tar -xO ".$manual" |
    awk -v wanted="$1" '/^## The first guest/ {here = 1; next} /^## / {here = 0}
      here && /^```sh/ {inside = 1; n++; next} /^```/ {inside = 0} here && inside && n == wanted'
}

# Away from our functions, which take other programs.
paste_block() {
  readme_block "$1" > "$scratch/pasted"
  [ -s "$scratch/pasted" ] || fail "the README has no such block"
  bash -ex "$scratch/pasted"
}

newcomer_installs() {
  host_has_what_the_package_brings
  mkdir -p "$scratch/tree/build/release/package"
  cp "$package" "$scratch/tree/build/release/package/xenblk_1_amd64.deb"
  cd "$scratch/tree" || fail "no directory"
  paste_block 1
  unit_starts
}

newcomer_has_an_image() {
  truncate -s 64M /srv/web1.img
  mke2fs -q -t ext4 /srv/web1.img
  [ -e "$guest_initrd" ] || cat "$job/guest.cpio" /guest/initrd.zst > "$guest_initrd"
  ln -sf /guest/vmlinuz /vmlinuz
  ln -sf "$guest_initrd" /initrd.img
}

newcomer_starts_a_guest() {
  local text
  text=$(paste_block 2)
  echo "$text"
  expect_match "list" 'web1:xvda .* 64 MiB +read-write +vhd:/srv/web1.vhd' "$text"
  guest_await_text web1 GUEST-READY 120
  guest_expect web1 90 'disk_appears xvda && fio_verify xvda 4m && background_io xvda'
  expect_match "list" 'web1:xvda +connected' "$(command xenblkctl list)"
}

newcomer_takes_a_snapshot_and_looks() {
  local text
  text=$(paste_block 3)
  echo "$text"
  expect_match "info" '^image +vhd:/srv/web1-today.vhd$' "$text"
  expect_match "stats" 'READS/s' "$text"
  expect_match "explain" '^state: connected' "$text"
  [ ! -e /srv/web1-today.vhd ] || fail "the child is still there"
  expect_equal "the disk of the configuration" "target=vhd:/srv/web1.vhd" "$(grep -o 'target=[^'"'"']*' /etc/xen/web1.cfg)"
}

newcomers_guest_works() {
  guest_expect web1 120 'background_end xvda'
  guest_expect web1 30 no_kernel_complaint
  guest_power_off web1
  command xenblk-img check /srv/web1.vhd
}

newcomer_leaves() {
  wait_for 30 no_backends || true
  expect_no_backends
  unit_ends
  dpkg -P xenblk
}

require "the README's line installs the package, and the daemon runs" newcomer_installs
require "there is an image, and a kernel" newcomer_has_an_image
require "the README's lines make a disk and start a guest on it" newcomer_starts_a_guest
check "the README's lines take a snapshot, show the disk, and merge the child" newcomer_takes_a_snapshot_and_looks
check "the guest's verified I/O went on all the time" newcomers_guest_works
check "the newcomer leaves no trace" newcomer_leaves
