# Images that cannot be opened: xl shows why, and the neighbours notice nothing.
# shellcheck shell=bash

make_bad_images() {
  qemu-img create -q -f vpc -o subformat=dynamic,force_size=on "$images/whole.vhd" 32M
  head -c 1000 "$images/whole.vhd" > "$images/truncated.vhd"
  truncate -s 32M "$images/locked.img"
  hold_lock "$images/locked.img"
  guest_expect linux 30 'background_io xvda'
}

# An open file description lock over the whole file (F_OFD_SETLK is 37), held by a process of its own.
hold_lock() {
  # shellcheck disable=SC2016  # perl's variables
  perl -e 'open(my $file, "+<", $ARGV[0]) or die "$!\n";
           my $lock = pack("s s x4 q q l x4", 1, 0, 0, 0, 0);
           fcntl($file, 37, $lock) or die "cannot lock: $!\n";
           open(my $mark, ">", $ARGV[1]); close($mark);
           sleep 3600' "$1" "$scratch/lock-held" &
  echo $! > "$scratch/lock-holder"
  disown
  wait_for 30 test -e "$scratch/lock-held" || fail "cannot lock $1"
}

# create_shows NAME TARGET PATTERN
create_shows() {
  write_config "$1" "$(disk xvda rw "$2")" <<END
memory = 128
kernel = "/guest/vmlinuz"
END
  if xl_create "$1"; then fail "xl create accepted $2"; fi
  cat "$scratch/xl-create"
  expect_match "xl create" "${2#*:}" "$(<"$scratch/xl-create")"
  expect_match "xl create" "$3" "$(<"$scratch/xl-create")"
  guest_gone "$1" || fail "the guest exists all the same"
}

# attach_shows TARGET PATTERN
attach_shows() {
  local said
  if said=$(xl_logged block-attach linux "$(disk xvde rw "$1" | tr -d "'")"); then fail "xl block-attach accepted $1"; fi
  echo "$said"
  expect_match "xl block-attach" "${1#*:}" "$said"
  expect_match "xl block-attach" "$2" "$said"
  # libxl leaves the nodes of a disk that it could not attach, and the user detaches it.
  xl_logged block-detach linux xvde || fail "the disk that failed cannot be detached"
  expect_no_nodes_of_device "$(device_id xvde)"
}

# While the disk that failed is there, the reason stands where toolstacks look for it; it goes with the disk.
error_node_names_reason() {
  local node
  xl_logged block-attach linux "$(disk xvde rw "raw:$images/missing.img" | tr -d "'")" || true
  node=/local/domain/0/error/backend/vbd/$(guest_domid linux)/$(device_id xvde)/error
  expect_match "$node" "missing.img.*No such file" "$(xenstore-read "$node")"
  xl_logged block-detach linux xvde || fail "the disk that failed cannot be detached"
  wait_for 30 node_is_gone "$node" || fail "$node is left"
}

node_is_gone() { ! xenstore-exists "$1"; }

bystander_is_untouched() {
  guest_expect linux 120 'background_end xvda'
  guest_expect linux 30 no_kernel_complaint
  expect_daemon_alive
}

locked_image_serves_later() {
  kill "$(<"$scratch/lock-holder")"
  attach_disk linux xvde rw "raw:$images/locked.img"
  guest_expect linux 60 'disk_appears xvde && touch_disk xvde'
  xl_logged block-detach linux xvde || fail "xl block-detach failed"
}

require "the first guest is there for a neighbour" guest_is_there linux
require "a busy neighbour and bad images are ready" make_bad_images
check "xl create says that an image is missing" create_shows missing "raw:$images/missing.img" "No such file"
check "xl create says that an image is locked" create_shows locked "raw:$images/locked.img" "lock|in use|busy"
check "xl create says that a VHD is truncated" create_shows truncated "vhd:$images/truncated.vhd" "footer|truncated|short|too small|not a"
check "xl block-attach says that an image is missing" attach_shows "raw:$images/missing.img" "No such file"
check "xl block-attach says that an image is locked" attach_shows "raw:$images/locked.img" "lock|in use|busy"
check "xl block-attach says that a VHD is truncated" attach_shows "vhd:$images/truncated.vhd" "footer|truncated|short|too small|not a"
check "xl block-attach says that an image lies outside the roots" attach_shows "raw:/etc/hostname" "image-roots"
check "XenStore's error directory has the reason" error_node_names_reason
check "the neighbour's verified I/O went on" bystander_is_untouched
check "a lock that is given up lets the image be attached" locked_image_serves_later
