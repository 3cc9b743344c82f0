#!/bin/bash
# What dom0 of the lab does for bench/xen/run: gives one guest a disk of every backend, and lets fio use them in turns.
# Each measurement is a line of /job/out/results.jsonl.
# shellcheck disable=SC2154  # /job/settings sets what this file does not
set -u
# shellcheck source=tests/xen/dom0/lib.sh
. /job/dom0/lib.sh
# shellcheck source=tests/xen/dom0/xenstore.sh
. /job/dom0/xenstore.sh
# shellcheck source=tests/xen/dom0/daemon.sh
. /job/dom0/daemon.sh
# shellcheck source=tests/xen/dom0/guest.sh
. /job/dom0/guest.sh
# rounds, seconds, image_mib, loads and contenders
# shellcheck source=/dev/null
. /job/settings

bench=/bench

make_images() {
  mkdir -p "$bench"
  mke2fs -q -F -t ext4 /dev/vdc
  mount -t ext4 /dev/vdc "$bench"
  head -c "${image_mib}M" /dev/urandom > "$bench/file.img"
  xenblk_img convert "raw:$bench/file.img" "vhd:$bench/ours.vhd" --type dynamic
  cp "$bench/ours.vhd" "$bench/qemu.vhd"
  sync
  losetup --direct-io=on /dev/loop0 "$bench/file.img"
}

# One guest with the disks of the backends that xl knows; ours come under a name that the kernel's driver leaves alone.
guest_starts() {
  modprobe xen-blkback
  start_daemon -n vbd3
  linux_guest_create bench 'vcpus = 1
memory = 512' "'phy:/dev/loop0,xvda,w'" "'phy:/dev/vdd,xvdb,w'" \
    "'format=raw,vdev=xvdc,access=rw,backendtype=qdisk,target=$bench/file.img'" \
    "'format=vhd,vdev=xvdd,access=rw,backendtype=qdisk,target=$bench/qemu.vhd'"
  attach xvde "raw:$bench/file.img"
  attach xvdf "raw:/dev/vde"
  attach xvdg "vhd:$bench/ours.vhd"
  # shellcheck disable=SC2016  # the guest's variable
  guest_expect bench 90 'for disk in xvda xvdb xvdc xvdd xvde xvdf xvdg; do disk_appears $disk || exit; done'
}

# attach DISK PARAMS: the nodes that a toolstack makes, under vbd3. The directories come first, since their nodes inherit
# who may read them; then all nodes in one transaction, which is what xenstore-write makes of its arguments.
attach() {
  local domid device back front
  domid=$(guest_domid bench) device=$(device_id "$1")
  back=/local/domain/0/backend/vbd3/$domid/$device front=/local/domain/$domid/device/vbd/$device
  xenstore-write "$back" "" "$front" ""
  xenstore-chmod "$back" n0 "r$domid"
  xenstore-chmod "$front" "n$domid" r0
  xenstore-write "$back/frontend" "$front" "$back/frontend-id" "$domid" "$back/online" 1 "$back/params" "$2" \
    "$back/mode" w "$back/type" phy "$back/device-type" disk "$back/removable" 0 "$back/state" 1 \
    "$front/backend" "$back" "$front/backend-id" 0 "$front/virtual-device" "$device" "$front/device-type" disk \
    "$front/state" 1
}

disk_of() {
  case $1 in
    blkback-file) echo xvda ;;
    blkback-disk) echo xvdb ;;
    qdisk-raw) echo xvdc ;;
    qdisk-vhd) echo xvdd ;;
    xenblk-file) echo xvde ;;
    xenblk-disk) echo xvdf ;;
    xenblk-vhd) echo xvdg ;;
  esac
}

# measure ROUND CONTENDER RW BYTES DEPTH
measure() {
  local before after iops
  before=$(dom0_seconds)
  iops=$(bench_run "bench_load $(disk_of "$2") $3 $4 $5 $seconds $image_mib") || fail "fio on $2: $iops"
  after=$(dom0_seconds)
  printf '{"round": %s, "contender": "%s", "pattern": "%s", "block_bytes": %s, "depth": %s, "iops": %s, "dom0_seconds": %s}\n' \
    "$1" "$2" "$3" "$4" "$5" "$iops" "$(awk "BEGIN { print $after - $before }")" | tee -a "$out/results.jsonl"
}

dom0_seconds() { xl list 0 | awk 'NR == 2 { print $6 }'; }

# As guest_expect, but dom0 starts no process while fio runs: they would count as the backend's.
bench_run() {
  local number=$EPOCHREALTIME log
  log=$(guest_console_log bench)
  printf '%s %s\n' "$number" "$1" > "$(xenstore-read "/local/domain/$(guest_domid bench)/console/tty")"
  read -r -t $((seconds + 1)).5 -u "$idle" || true
  wait_for 60 grep -qs "^GUEST-DONE $number " "$log" || fail "no answer in time"
  guest_said bench "$number"
}

# Each round begins with another contender, so that none is always the first.
all_rounds() {
  local round load turn rw bytes depth count=${#contenders[@]}
  for round in $(seq "$rounds"); do
    for load in "${loads[@]}"; do
      read -r rw bytes depth <<< "$load"
      for turn in $(seq 0 $((count - 1))); do
        measure "$round" "${contenders[(round + turn) % count]}" "$rw" "$bytes" "$depth"
      done
    done
  done
}

require "images are made" make_images
require "a guest has a disk of every backend" guest_starts
check_seconds_max=7200 require "all rounds are measured" all_rounds
! grep -q '^FAIL' "$out/results"
