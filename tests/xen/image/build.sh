# Makes the lab's images from Debian packages, without installing a kernel or a hypervisor on this machine.
# Sourced by `lab`, after packages.sh.
# shellcheck shell=bash

# build_images DIR: leaves xen, vmlinuz, initrd.gz and dom0.img there.
build_images() {
  local target=$1 work kernel
  work=$(mktemp -d)
  apt-get update -q >/dev/null
  kernel=$(apt-cache depends linux-image-amd64 | awk '/Depends:/ {print $2; exit}')
  unpack_packages "$work/xen" "xen-hypervisor-$xen_version-amd64" "$kernel" busybox-static grub-xen-host
  depmod -b "$work/xen" "$(ls "$work/xen/lib/modules")"
  gunzip -c "$work/xen/boot/xen-$xen_version-amd64.gz" > "$target/xen"
  cp "$work"/xen/boot/vmlinuz-* "$target/vmlinuz"

  make_dom0_tree "$work"
  make_guest_files "$work" "$target/vmlinuz"
  make_initrd "$work" "$target/initrd.gz"
  rm -f "$target/dom0.img"
  truncate -s 8G "$target/dom0.img"
  mke2fs -q -t ext4 -O ^has_journal -d "$work/dom0" "$target/dom0.img"
  rm -rf "$work"
  ls -lsh "$target"
}

install_host_tools() {
  local line command packages missing=()
  for line in "${host_tools[@]}"; do
    read -r command packages <<< "$line"
    # shellcheck disable=SC2206  # a list of package names
    command -v "$command" >/dev/null || missing+=($packages)
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  apt-get update -q
  apt-get install -y -q --no-install-recommends "${missing[@]}"
}

make_dom0_tree() {
  local work=$1 sources=/etc/apt/sources.list.d/debian.sources
  [ -e "$sources" ] || sources=/etc/apt/sources.list
  mmdebstrap --quiet --variant=apt --include="$dom0_packages" --aptopt='APT::Install-Recommends "false"' \
    "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/dom0.tar" "$sources"
  mkdir "$work/dom0"
  tar -C "$work/dom0" -xf "$work/dom0.tar" --exclude='./dev/*'
  rm -rf "$work/dom0.tar" "$work"/dom0/usr/share/{doc,man,locale,info} "$work"/dom0/var/{cache/apt,lib/apt/lists}
  copy_modules "$work/xen" "$work/dom0"
  install -m755 "$here/image/dom0-init" "$work/dom0/dom0-init"
}

# /guest in dom0: a kernel, an initramfs with blkfront and fio, and the PV boot loaders, whose blkfront is another
# program by other people.
make_guest_files() {
  local work=$1 kernel=$2 program
  mkdir -p "$work/dom0/guest"
  cp "$kernel" "$work/dom0/guest/vmlinuz"
  cp "$work"/xen/usr/lib/grub-xen/grub-*.bin "$work/dom0/guest/"
  make_busybox_tree "$work/guest" "$work/xen/bin/busybox"
  copy_modules "$work/xen" "$work/guest"
  for program in "${guest_programs[@]}"; do
    copy_program "$work/dom0" "$program" "$work/guest"
  done
  install -m755 "$here/image/guest-init" "$work/guest/init"
  # fio brings some 80 MB of libraries; zstd unpacks them in a fraction of gzip's time, and that is most of a guest's boot.
  pack "$work/guest" "zstd -q -6" > "$work/dom0/guest/initrd.zst"
}

# The first initramfs of dom0 knows only how to mount its disk.
make_initrd() {
  local work=$1 target=$2
  make_busybox_tree "$work/initrd" "$work/xen/bin/busybox"
  copy_modules "$work/xen" "$work/initrd"
  install -m755 "$here/image/initrd-init" "$work/initrd/init"
  pack "$work/initrd" "gzip -1" > "$target"
}

# unpack_packages DIR PACKAGE...: download and unpack, install nothing.
unpack_packages() {
  local directory=$1 package
  shift
  mkdir -p "$directory.debs" "$directory"
  # The tree is apt's own user's as long as it downloads; without this it warns for each package.
  (cd "$directory.debs" && apt-get -q -o APT::Sandbox::User=root download "$@")
  for package in "$directory.debs"/*.deb; do
    dpkg -x "$package" "$directory"
  done
}

# copy_modules KERNEL_TREE TARGET: the wanted modules and what they depend on.
copy_modules() {
  local tree=$1 target=$2 version module path
  version=$(ls "$tree/lib/modules")
  mkdir -p "$target/lib/modules/$version"
  for module in "${kernel_modules[@]}"; do
    modprobe -S "$version" -d "$tree" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" {print $2}'
  done | sort -u | while read -r path; do
    install -D "$path" "$target/lib/modules/$version/kernel/$(basename "$path")"
  done
  cp "$tree/lib/modules/$version"/modules.{order,builtin}* "$target/lib/modules/$version/" 2>/dev/null || true
  depmod -b "$target" "$version"
}

# make_busybox_tree DIR BUSYBOX: a root directory with every applet.
make_busybox_tree() {
  local directory=$1 busybox=$2 applet
  mkdir -p "$directory"/{bin,proc,sys,dev,mnt,tmp,etc,root,lib,lib64,usr/bin,newroot}
  cp "$busybox" "$directory/bin/busybox"
  "$busybox" --list | while read -r applet; do
    [ -e "$directory/bin/$applet" ] || ln -s busybox "$directory/bin/$applet"
  done
}

# copy_program TREE PROGRAM TARGET: with its libraries, into TARGET/usr/bin, which comes first in the guest's PATH.
copy_program() {
  local tree=$1 program=$2 target=$3 library
  install -D "$tree$(chroot "$tree" readlink -f "$program")" "$target/usr/bin/$(basename "$program")"
  chroot "$tree" ldd "$program" | awk '{for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i}' |
    while read -r library; do
      install -D "$tree$(chroot "$tree" readlink -f "$library")" "$target$library"
    done
}

# pack DIR COMPRESSOR: an initramfs, on stdout.
pack() {
  # shellcheck disable=SC2086  # a command with options
  (cd "$1" && find . | cpio -o -H newc --quiet | $2)
}
