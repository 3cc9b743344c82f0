# A disk comes and goes twenty or a hundred times in a guest that is busy with another one: nothing may pile up.
# shellcheck shell=bash

rounds=20
[ ! -e "$job/long" ] || rounds=100

make_hotplug_images() {
  truncate -s 32M "$images/d.img"
  qemu-img create -q -f vpc -o subformat=dynamic,force_size=on "$images/d.vhd" 32M
}

# hotplug_round N: odd rounds attach the raw image, even ones the VHD.
hotplug_round() {
  local target=raw:$images/d.img
  [ $(($1 % 2)) = 1 ] || target=vhd:$images/d.vhd
  attach_disk linux xvdd rw "$target"
  guest_expect linux 60 'disk_appears xvdd && touch_disk xvdd'
  xl_logged block-detach linux xvdd || fail "round $1: xl block-detach failed"
  guest_expect linux 60 'disk_goes xvdd'
}

# The first two rounds may still fill caches and pools, so what is compared is the state after them.
first_rounds() {
  make_hotplug_images
  guest_expect linux 30 'background_io xvda'
  hotplug_round 1
  hotplug_round 2
  echo "$(daemon_descriptors) $(daemon_mapped_grants) $(daemon_memory_kb)" > "$scratch/before-rounds"
}

more_rounds() {
  local round
  for round in $(seq 3 "$rounds"); do hotplug_round "$round"; done
  guest_expect linux 30 '[ ! -e /tmp/background.xvda.ended ]'
}

nothing_piled_up() {
  local descriptors grants memory_kb
  expect_no_nodes_of_device "$(device_id xvdd)"
  read -r descriptors grants memory_kb < "$scratch/before-rounds"
  echo "before: $descriptors descriptors, $grants mapped grants, $memory_kb kB"
  echo "after:  $(daemon_descriptors) descriptors, $(daemon_mapped_grants) mapped grants, $(daemon_memory_kb) kB"
  expect_equal "the number of descriptors" "$descriptors" "$(daemon_descriptors)"
  expect_equal "the number of mapped grants" "$grants" "$(daemon_mapped_grants)"
  # The address sanitizer keeps what is freed, so its memory says nothing.
  if ldd "$daemon" | grep -q libasan; then return; fi
  # Rounds that each lost a disk's buffers would be far above this.
  [ "$(daemon_memory_kb)" -le $((memory_kb + 2048)) ] || fail "memory grew from $memory_kb to $(daemon_memory_kb) kB"
}

require "the first guest is there" guest_is_there linux
check_seconds_max=300 require "a disk is attached and detached under I/O" first_rounds
check_seconds_max=$((rounds * 15)) check "$((rounds - 2)) more rounds of attach and detach" more_rounds
check "nothing is left of $rounds rounds" nothing_piled_up
check "the other disk's verified I/O went on" guest_expect linux 120 'background_end xvda'
