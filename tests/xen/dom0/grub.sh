# What a PV boot loader reads through its own blkfront, beside what the images hold. Sourced by the GRUB topics.
# shellcheck shell=bash

grub_content_mb=4
# Areas as offset and length in bytes: the start, across page and VHD block borders, the end.
grub_areas=("0 512" "4000 256" "2096896 512" "$((grub_content_mb * 1048576 - 300)) 300")

# The boot disk has grub.cfg on a file system; the other two hold the same random bytes as raw and as VHD.
make_grub_images() {
  local tree=$scratch/grub-tree
  mkdir -p "$tree/boot/grub"
  head -c 3M /dev/urandom > "$tree/random.bin"
  write_grub_config > "$tree/boot/grub/grub.cfg"
  sha256sum < "$tree/random.bin" | cut -d' ' -f1 > "$scratch/grub-file.sum"
  rm -f "$images/boot.img"
  truncate -s 16M "$images/boot.img"
  mke2fs -q -F -t ext2 -d "$tree" "$images/boot.img"
  head -c "${grub_content_mb}M" /dev/urandom > "$images/content.img"
  qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$images/content.img" "$images/content.vhd"
}

# In GRUB (xen/xvdb)0+8 is a file made of the disk's first eight sectors.
write_grub_config() {
  local sectors=$((grub_content_mb * 2048)) disk area
  echo 'echo "GRUB-READY"'
  echo 'hashsum --hash sha256 /random.bin'
  for disk in xvdb xvdc; do
    echo "hashsum --hash sha256 (xen/$disk)0+$sectors"
    for area in "${grub_areas[@]}"; do
      echo "echo \"GRUB-AREA $disk $area\""
      echo "hexdump --skip ${area% *} --length ${area#* } (xen/$disk)0+$sectors"
    done
  done
  echo "cmp (xen/xvdb)0+$sectors (xen/xvdc)0+$sectors"
  echo 'echo "GRUB-END"'
  # dom0 looks at the nodes of the living guest and then sends an escape.
  echo 'sleep --interruptible 60'
  echo 'halt'
}

# grub_reads_disks NAME KERNEL SETTINGS
grub_reads_disks() {
  local name=$1
  make_grub_images
  grub_create "$name" "kernel = \"$2\"
vcpus = 1
$3" "$(disk xvda ro "raw:$images/boot.img")" "$(disk xvdb rw "raw:$images/content.img")" \
    "$(disk xvdc rw "vhd:$images/content.vhd")"
  guest_await_text "$name" GRUB-END 90
  xenstore-ls -f "/local/domain/$(guest_domid "$name")/device/vbd" || true
  xenstore-read "$(frontend_directory "$name" xvda)/protocol" > "$scratch/$name.protocol" || true
  printf '\033' > "$(xenstore-read "/local/domain/$(guest_domid "$name")/console/tty")"
  guest_await_end "$name" 60
}

# What GRUB printed, without its terminal codes.
grub_said() { tr -d '\r' < "$(guest_console_log "$1")" | sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g; s/\x1bc//g'; }

grub_got_the_content() {
  local said joined area disk sum
  said=$(grub_said "$1")
  echo "$said"
  # GRUB shows its progress on the line of a sum, and breaks a line at the terminal's edge.
  joined=$(tr -d '\n' <<< "$said")
  expect_match "GRUB" "$(<"$scratch/grub-file.sum") */random.bin" "$joined"
  sum=$(sha256sum < "$images/content.img" | cut -d' ' -f1)
  for disk in xvdb xvdc; do
    expect_match "GRUB" "$sum *\(xen/$disk\)" "$joined"
    for area in "${grub_areas[@]}"; do
      expect_equal "area $area of $disk" "$(bytes_of_image "$area")" "$(bytes_in_grub "$disk $area" <<< "$said")"
    done
  done
  expect_match "GRUB's cmp" "files are identical" "$said"
}

bytes_of_image() { od -An -v -tx1 -j "${1% *}" -N "${1#* }" "$images/content.img" | tr -d ' \n'; }

# The hexadecimal columns of one dump. Debian's awk has no {8}.
bytes_in_grub() {
  awk -v mark="GRUB-AREA $1" '$0 == mark {inside = 1; next}
    inside && substr($0, 1, 10) ~ /^[0-9a-f]+  $/ {printf "%s", substr($0, 11, 49); next}
    inside {exit}' | tr -d ' '
}
