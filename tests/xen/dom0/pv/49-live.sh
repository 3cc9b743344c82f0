# What xenblkctl does to the VHD of a running guest, while fio verifies what it writes there: snapshots, checks,
# new sizes, children merged into their parents, and the daemon killed in the middle of a snapshot and of a merge.
# Prints the longest pause that the guest saw of each.
# shellcheck shell=bash

live_rounds=4 live_kills=3 merge_kills=2
[ ! -e "$job/long" ] || { live_rounds=20 live_kills=15 merge_kills=10; }

attach_live() {
  xenblk_img create "vhd:$images/live.vhd" --size 64M
  attach_disk linux xvdj rw "vhd:$images/live.vhd"
  guest_expect linux 60 'disk_appears xvdj && background_io xvdj'
}

# pause_of WHAT COMMAND...: how long the guest waited at most meanwhile.
pause_of() {
  local what=$1 longest
  shift
  guest_expect linux 60 'watch_pauses xvdj && io_goes_on xvdj'
  "$@"
  longest=$(guest_expect linux 60 'longest_pause xvdj')
  echo "$longest"
  verdict "lab: the longest pause that the guest saw of $what: $(head -n 1 <<< "$longest" | tr -s ' ')"
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

# The parent is written now, so that its sum says nothing any more.
merge_once() {
  local child parent=$1
  child=$(live_image)
  xenblkctl coalesce linux:xvdj --wait
  sed -i "\\#  $parent\$#d" "$scratch/live.sums"
  expect_equal "the image after the merge" "$parent" "$(live_image)"
  expect_node "$(backend_directory linux xvdj)/params" "vhd:$parent"
  [ ! -e "$child" ] || fail "$child is still there"
  guest_expect linux 60 'io_goes_on xvdj'
}

# All but the first of the children, so that two images are left that nobody may write.
live_merges() {
  local round
  for round in $(seq $((live_rounds - 1)) -1 2); do merge_once "$images/live-$round.vhd"; done
}

# The next daemon serves whatever params names.
killed_and_named() {
  local named
  kill_daemon
  start_daemon
  named=$(xenstore-read "$(backend_directory linux xvdj)/params")
  echo "killed, and goes on with $named"
  guest_expect linux 240 'io_goes_on xvdj'
  expect_equal "the image after a kill" "$named" "vhd:$(live_image)"
}

wait_at_random() { read -r -t "$((RANDOM % 2)).$((RANDOM % 10))$((RANDOM % 10))" -u "$idle" || true; }

live_kills_amid() {
  local round asked
  for round in $(seq "$live_kills"); do
    expect_daemon_alive
    xenblkctl snapshot linux:xvdj --to "$images/killed-$round.vhd" > "$scratch/live.ctl" 2>&1 &
    asked=$!
    wait_at_random
    killed_and_named
    wait "$asked" || true
    cat "$scratch/live.ctl"
    # Of a snapshot that came to nothing an empty child may be left, which would be in the way of a merge.
    [ "$(live_image)" = "$images/killed-$round.vhd" ] || rm -f "$images/killed-$round.vhd"
  done
  xenblkctl snapshot linux:xvdj --to "$images/survived.vhd"
  guest_expect linux 60 'io_goes_on xvdj'
}

merge_state() { xenblkctl info linux:xvdj --json | sed -n '/"coalesce"/,/}/s/^ *"state": "\(.*\)",*$/\1/p'; }

# A slow merge, so that the daemon dies in the middle of it. The child is whole until the end, and the last round is
# left alone.
merge_kills_amid() {
  local round child
  child=$(live_image)
  for round in $(seq "$merge_kills"); do
    xenblkctl coalesce linux:xvdj --bandwidth 256K
    expect_equal "the state of merge $round" running "$(merge_state)"
    wait_at_random
    killed_and_named
    expect_equal "the image that is served after a kill amid a merge" "$child" "$(live_image)"
  done
  xenblkctl coalesce linux:xvdj --wait
  [ "$(live_image)" != "$child" ] || fail "nothing was merged"
  [ ! -e "$child" ] || fail "$child is still there"
  guest_expect linux 60 'io_goes_on xvdj'
}

live_ends() {
  guest_expect linux 240 'background_end xvdj'
  guest_expect linux 30 no_kernel_complaint
  sha256sum --quiet --check "$scratch/live.sums" || fail "a parent was written after its snapshot"
}

live_detaches() {
  local last
  last=$(live_image)
  detach_disk linux xvdj
  xenblk_img check "$last"
  local status=0
  xl_logged block-attach linux "$(disk xvdj rw "vhd:$images/live.vhd" | tr -d "'")" || status=$?
  [ "$status" != 0 ] || fail "the parent of a snapshot was attached for writing"
}

require "a VHD is attached and busy with verified I/O" attach_live
check "snapshots are taken under the guest, and it goes on in the children" pause_of snapshots live_snapshots
check "the running image is checked" pause_of checks live_checks
check "the VHD grows under the guest" pause_of "new sizes" live_sizes
check "children are merged into their parents under the guest" pause_of merges live_merges
check_seconds_max=600 check "killed amid a snapshot, the next daemon goes on with what params names" live_kills_amid
check_seconds_max=600 check "killed amid a merge, the next daemon goes on in the child, and merges it" merge_kills_amid
check_seconds_max=600 check "fio found nothing wrong, and no parent was written" live_ends
check "the last child is sound, and the first parent is not attached for writing" live_detaches
