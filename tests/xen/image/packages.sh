# What the lab is made of. Sourced by `lab`; a change here makes it build the images anew.
# shellcheck shell=bash disable=SC2034

xen_version=4.17

# On the machine that runs the lab: command, then the packages that bring it.
host_tools=(
  "mmdebstrap mmdebstrap"
  "qemu-system-x86_64 qemu-system-x86 ipxe-qemu seabios"
  "cpio cpio"
  "zstd zstd"
  "mke2fs e2fsprogs"
  "debugfs e2fsprogs"
  "depmod kmod"
)

# dom0: a Xen host and the tools the tests use. qemu-utils and 7zip judge our VHD files.
dom0_tools=xen-utils-$xen_version,xenstore-utils,kmod,udev,mount,util-linux,procps,psmisc,bash,busybox-static
dom0_tools+=,strace,fio,e2fsprogs,cpio,qemu-utils,7zip
# dom0: the shared libraries of our own programs, with and without sanitizers.
dom0_libraries=libxenstore4,libxenevtchn1,libxengnttab1,libxentoolcore1,liburing2,libfmt9,libspdlog1.10
dom0_libraries+=,libsystemd0,libseccomp2,libstdc++6,libasan8,libubsan1,libtsan2,libaio1,libnuma1
dom0_packages=$dom0_tools,$dom0_libraries${XENBLK_LAB_PACKAGES:+,$XENBLK_LAB_PACKAGES}

# Kernel modules, for dom0 and the guests alike. nbd, loop and null_blk serve comparisons with other backends.
kernel_modules=(
  xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs xen-blkfront xen-blkback
  loop nbd null_blk brd ext4 virtio_pci virtio_blk crc32c_generic
)

# Programs of dom0 that go into the guests' initramfs too, with their libraries. The rest there is busybox.
guest_programs=(/usr/bin/fio /usr/sbin/mke2fs /usr/sbin/e2fsck /usr/sbin/blkdiscard)
