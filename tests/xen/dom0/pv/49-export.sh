# A VHD that a guest has, served to QEMU's NBD client at the same time, and an image that no guest has. The daemon is
# confined, as in every topic, and serves clients all the same.
# shellcheck shell=bash

nbd_of() { echo "nbd+unix:///?socket=$1"; }

attach_exported() {
  xenblk_img create "vhd:$images/export.vhd" --size 32M
  attach_disk linux xvdk rw "vhd:$images/export.vhd"
  guest_expect linux 120 'disk_appears xvdk && fill_disk xvdk'
}

client_reads_what_the_guest_wrote() {
  local uri
  uri=$(xenblkctl export linux:xvdk --socket linux.nbd)
  expect_equal "what export says" "$(nbd_of /run/xenblk/linux.nbd)" "$uri"
  expect_match "qemu-img" 'virtual size: 32 MiB' "$(qemu-img info "$uri")"
  guest_expect linux 120 'disk_sum xvdk' > "$scratch/export.sum"
  qemu-img convert -f raw -O raw "$uri" "$scratch/exported.img"
  expect_equal "the sum of the copy" "$(<"$scratch/export.sum")" "$(sha256sum < "$scratch/exported.img" | cut -d' ' -f1)"
  rm "$scratch/exported.img"
}

# Those that the kernel runs for io_uring come and go, also while this looks.
every_thread_is_under_the_filter() {
  local task text seen=0
  for task in /proc/"$(<"$daemon_pid_file")"/task/*; do
    text=$(cat "$task/status" 2>/dev/null) || continue
    expect_match "$task" '^Seccomp:.2$' "$text"
    seen=$((seen + 1))
  done
  [ "$seen" -ge 3 ] || fail "only $seen threads were looked at"
}

client_may_only_read() {
  local text
  text=$(qemu-io -f raw -c 'write -P 1 0 64k' "$(nbd_of /run/xenblk/linux.nbd)" 2>&1) || true
  expect_match "qemu-io" 'read-only|permission denied' "$text"
  expect_equal "the disk's sum" "$(<"$scratch/export.sum")" "$(guest_expect linux 120 'disk_sum xvdk')"
}

# The guest's I/O stays in the first mebibytes, the client's is behind.
guest_reads_what_the_client_wrote() {
  local uri
  xenblkctl export linux:xvdk --stop
  uri=$(xenblkctl export linux:xvdk --socket linux.nbd --writable)
  guest_expect linux 30 'background_io xvdk'
  qemu-io -f raw -c 'write -P 0xa5 8M 64k' -c 'write -z 8256k 64k' -c 'flush' -c 'read -P 0xa5 8M 64k' "$uri" |
    tee "$scratch/qemu-io"
  expect_equal "qemu-io's complaints" "" "$(grep -iE 'fail|error' "$scratch/qemu-io" || true)"
  guest_expect linux 60 'disk_repeats xvdk 8192 245 && disk_repeats xvdk 8256 000'
  qemu-img bench -f raw -c 200 -d 8 -s 64k -o 16M -S 64k -w "$uri"
  guest_expect linux 60 'io_goes_on xvdk'
  expect_match "xenblkctl info" 'export requests +[0-9]{3}' "$(xenblkctl info linux:xvdk)"
}

export_ends() {
  xenblkctl export linux:xvdk --stop
  [ ! -e /run/xenblk/linux.nbd ] || fail "the socket is still there"
  guest_expect linux 120 'background_end xvdk'
  guest_expect linux 30 no_kernel_complaint
}

# Between two guests: the client's image is locked, and what it wrote is there when the guest is back.
image_without_a_guest_is_served() {
  local server status=0
  xl_logged block-detach linux xvdk || fail "xl block-detach failed"
  wait_for 30 device_is_gone xvdk || fail "xvdk stays in XenStore"
  xenblk_img export "vhd:$images/export.vhd" --socket "$scratch/export.sock" > "$scratch/export.said" 2>&1 &
  server=$!
  wait_for 30 test -S "$scratch/export.sock" || fail "nothing serves: $(cat "$scratch/export.said")"
  xl_logged block-attach linux "$(disk xvdk rw "vhd:$images/export.vhd" | tr -d "'")" || status=$?
  [ "$status" != 0 ] || fail "a guest got an image that is exported"
  xl_logged block-detach linux xvdk || fail "the disk that failed cannot be detached"
  wait_for 30 device_is_gone xvdk || fail "xvdk stays in XenStore"
  qemu-io -f raw -c 'write -P 0x5a 24M 64k' -c flush "$(nbd_of "$scratch/export.sock")"
  wait "$server" || fail "xenblk-img export: $(cat "$scratch/export.said")"
  xenblk_img check "vhd:$images/export.vhd"
  attach_disk linux xvdk rw "vhd:$images/export.vhd"
  guest_expect linux 60 'disk_appears xvdk && disk_repeats xvdk 24576 132'
  xl_logged block-detach linux xvdk || fail "xl block-detach failed"
  wait_for 30 device_is_gone xvdk || fail "xvdk stays in XenStore"
}

require "a VHD is attached, and the guest fills it" attach_exported
require "QEMU's NBD client reads what the guest wrote" client_reads_what_the_guest_wrote
check "the daemon that serves it is confined, its thread for clients too" every_thread_is_under_the_filter
check "a client may only read unless the administrator says otherwise" client_may_only_read
check "the guest reads what QEMU's NBD client writes, beside verified I/O" guest_reads_what_the_client_wrote
check "the export ends, and the guest saw no error" export_ends
check "xenblk-img export serves an image that no guest has, and no guest gets it meanwhile" image_without_a_guest_is_served
