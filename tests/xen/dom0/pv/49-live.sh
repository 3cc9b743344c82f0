# What xenblkctl does to the VHD of a running guest, while fio verifies what it writes there: snapshots, checks,
# new sizes, and the daemon killed in the middle of them. Prints the longest pause that the guest saw.
# shellcheck shell=bash

live_rounds=4 live_kills=3
[ ! -e "$job/long" ] || { live_rounds=20 live_kills=15; }

attach_live() {
  xenblk_img create "vhd:$images/live.vhd" --size 64M
  xl_logged block-attach linux "$(disk xvdj rw "vhd:$images/live.vhd" | tr -d "'")" || fail "xl block-attach failed"
  guest_expect linux 60 'disk_appears xvdj && background_io xvdj && watch_pauses xvdj'
}

live_image() { xenblkctl info linux:xvdj --json | sed -n 's/^ *"image": "vhd:\(.*\)",$/\1/p'; }

# Each parent keeps the sum that it had when the guest went on in its child.
live_snapshots() {
  local round parent
  for round in $(seq "$live_rounds"); do
    parent=$(live_image)
    xenblkctl snapshot linux:xvdj --to "$images/live-$round.vhd"
    sha256sum "$parent" >> "$scratch/live.sums"
    expect_equal "the image after snapshot $round" "$images/live-$round.vhd" "$(live_image)"
    expect_node "$(backend_directory linux xvdj)/params" "vhd:$images/live-$round.vhd"
    guest_expect linux 60 'io_goes_on xvdj'
  done
}

live_checks() {
  local round
  for round in $(seq "$live_rounds"); do
    xenblkctl check linux:xvdj
    xenblkctl check linux:xvdj --bitmaps
  done
  guest_expect linux 60 'io_goes_on xvdj'
}

live_sizes() {
  local round
  for round in $(seq "$live_rounds"); do
    xenblkctl resize linux:xvdj "$((64 + 16 * round))M"
    guest_expect linux 60 "disk_has xvdj $(((64 + 16 * round) << 20)) && io_goes_on xvdj"
  done
  guest_expect linux 60 "fio_verify xvdj 4m --offset=$((60 + 16 * live_rounds))m"
}

# The daemon dies at some moment of a snapshot; whatever params names then is what the next one serves.
live_kills_amid() {
  local round named
  for round in $(seq "$live_kills"); do
    expect_daemon_alive
    xenblkctl snapshot linux:xvdj --to "$images/killed-$round.vhd" > "$scratch/live.ctl" 2>&1 &
    read -r -t "$((RANDOM % 2)).$((RANDOM % 10))$((RANDOM % 10))" -u "$idle" || true
    kill -KILL "$(<"$daemon_pid_file")"
    wait_for 30 test -s "$scratch/daemon-status" || fail "xenblkd did not end after SIGKILL"
    wait $! || true
    start_daemon
    named=$(xenstore-read "$(backend_directory linux xvdj)/params")
    echo "killed $round times: $(cat "$scratch/live.ctl") $named"
    guest_expect linux 240 'io_goes_on xvdj'
    expect_equal "the image after kill $round" "$named" "vhd:$(live_image)"
  done
}

# Of everything before the daemon is killed.
live_pauses() {
  local longest
  longest=$(guest_expect linux 60 'longest_pause xvdj')
  echo "$longest"
  verdict "lab: the longest pause that the guest saw: $(head -n 1 <<< "$longest" | tr -s ' ')"
}

live_ends() {
  guest_expect linux 240 'background_end xvdj'
  guest_expect linux 30 no_kernel_complaint
  sha256sum --quiet --check "$scratch/live.sums" || fail "a parent was written after its snapshot"
}

live_detaches() {
  local last
  last=$(live_image)
  xl_logged block-detach linux xvdj || fail "xl block-detach failed"
  guest_expect linux 60 'disk_goes xvdj'
  wait_for 30 device_is_gone xvdj || fail "xvdj stays in XenStore"
  xenblk_img check "$last"
  local status=0
  xl_logged block-attach linux "$(disk xvdj rw "vhd:$images/live.vhd" | tr -d "'")" || status=$?
  [ "$status" != 0 ] || fail "the parent of a snapshot was attached for writing"
}

require "a VHD is attached and busy with verified I/O" attach_live
check "snapshots are taken under the guest, and it goes on in the children" live_snapshots
check "the running image is checked" live_checks
check "the VHD grows under the guest" live_sizes
check "the guest waited, and saw no error" live_pauses
check_seconds_max=600 check "killed amid a snapshot, the next daemon goes on with what params names" live_kills_amid
check_seconds_max=600 check "fio found nothing wrong, and no parent was written" live_ends
check "the last child is sound, and the first parent is not attached for writing" live_detaches
