# Guests: create them as a user would, with xl, and let them run commands. Sourced by `run`.
# shellcheck shell=bash

GUEST_ARGUMENTS=
GRUB_MEMORY=128
guest_initrd=$scratch/guest-initrd

# disk VDEV ACCESS TARGET: an entry of a guest's disk list, as our documentation shows it.
disk() {
  echo "'vdev=$1,access=$2,script=block-xenblk,target=$3'"
}

# linux_guest_create NAME "CONFIGURATION LINES" DISK...: with what every guest here has; returns when it takes commands.
# GUEST_ARGUMENTS is appended to the kernel's command line.
linux_guest_create() {
  local name=$1 settings=$2
  shift 2
  # The kernel unpacks one archive after the other; the one that is not compressed has to come first.
  [ -e "$guest_initrd" ] || cat "$job/guest.cpio" /guest/initrd.zst > "$guest_initrd"
  write_config "$name" "$@" <<END
memory = 384
kernel = "/guest/vmlinuz"
ramdisk = "$guest_initrd"
extra = "console=hvc0 quiet mitigations=off $GUEST_ARGUMENTS"
$settings
END
  xl_create "$name" || fail "xl create: $(grep -i error "$scratch/xl-create" | head -n 3)"
  guest_await_text "$name" "GUEST-READY" 120
}

# two_disk_guest_create NAME "CONFIGURATION LINES": a raw disk xvda and a VHD xvdb of its own, 64 MiB each; returns when
# the guest sees both.
two_disk_guest_create() {
  truncate -s 64M "$images/$1.img"
  qemu-img create -q -f vpc -o subformat=dynamic,force_size=on "$images/$1.vhd" 64M
  linux_guest_create "$1" "$2" "$(disk xvda rw "raw:$images/$1.img")" "$(disk xvdb rw "vhd:$images/$1.vhd")"
  guest_expect "$1" 90 'disk_appears xvda && disk_appears xvdb'
}

# grub_create NAME "CONFIGURATION LINES" DISK...: a PV boot loader as the guest. It does what /boot/grub/grub.cfg on
# one of its disks says, and its blkfront is not the kernel's. GRUB_MEMORY is what it gets, in MiB.
grub_create() {
  local name=$1 settings=$2
  shift 2
  write_config "$name" "$@" <<< "memory = $GRUB_MEMORY
$settings"
  xl_create "$name" || fail "xl create: $(grep -i error "$scratch/xl-create" | head -n 3)"
}

write_config() {
  local name=$1
  shift
  local IFS=,
  { printf 'name = "%s"\non_poweroff = "destroy"\non_crash = "preserve"\ndisk = [ %s ]\n' "$name" "$*"; cat; } \
    > "$scratch/$name.cfg"
  cat "$scratch/$name.cfg"
}

# What xl said is in $scratch/xl-create, for the check that wants it to fail.
xl_create() { xl_logged create "$scratch/$1.cfg" > "$scratch/xl-create" 2>&1; }

# xl_logged ARGUMENTS...: xl with a time limit; its output is also kept for the failure report.
xl_logged() {
  echo "# xl $*" >> "$out/xl.log"
  timeout 300 xl "$@" 2>&1 | tee -a "$out/xl.log"
  return "${PIPESTATUS[0]}"
}

# attach_disk GUEST VDEV ACCESS TARGET: to a running guest.
attach_disk() {
  xl_logged block-attach "$1" "$(disk "$2" "$3" "$4" | tr -d "'")" || fail "xl block-attach of $2 failed"
}

# detach_disk GUEST VDEV: until neither the guest nor XenStore has it.
detach_disk() {
  xl_logged block-detach "$1" "$2" || fail "xl block-detach of $2 failed"
  guest_expect "$1" 60 "disk_goes $2"
  wait_for 30 device_is_gone "$2" || fail "$2 stays in XenStore"
}

guest_domid() { xl domid "$1" 2>/dev/null; }

guest_console_log() { echo "/var/log/xen/console/guest-$1.log"; }

guest_await_text() {
  local name=$1 text=$2 seconds_max=$3
  wait_for "$seconds_max" grep -qs -- "$text" "$(guest_console_log "$name")" ||
    fail "guest $name did not say '$text' in time"
}

# guest_run NAME SECONDS COMMAND: typed on the guest's console; prints what it printed, ends with its status.
guest_run() {
  local name=$1 seconds_max=$2 number=$EPOCHREALTIME tty log status
  log=$(guest_console_log "$name")
  tty=$(xenstore-read "/local/domain/$(guest_domid "$name")/console/tty") || fail "guest $name is not there"
  grep -qs GUEST-READY "$log" || fail "guest $name never took commands"
  printf '%s %s\n' "$number" "$3" > "$tty"
  wait_for "$seconds_max" grep -qs "^GUEST-DONE $number " "$log" ||
    fail "guest $name is not done with '$3' in time: $(guest_said "$name" "$number" | tail -n 3)"
  guest_said "$name" "$number"
  status=$(tr -d '\r' < "$log" | awk -v number="$number" '$1 == "GUEST-DONE" && $2 == number {print $3}')
  return "$status"
}

guest_said() {
  tr -d '\r' < "$(guest_console_log "$1")" |
    awk -v number="$2" '$1 == "GUEST-DONE" && $2 == number {exit} said && NF {print}
                        $1 == "GUEST-RUN" && $2 == number {said = 1}'
}

# guest_expect NAME SECONDS COMMAND: as guest_run, and the status must be 0.
guest_expect() {
  local said
  said=$(guest_run "$@") || fail "in guest $1, '$3': $(tail -n 4 <<< "$said")"
  echo "$said"
}

guest_power_off() {
  local name=$1 domid
  domid=$(guest_domid "$name") || fail "guest $name is not there"
  echo "0 poweroff -f" > "$(xenstore-read "/local/domain/$domid/console/tty")"
  guest_await_end "$name" 90
}

guest_await_end() {
  wait_for "$2" guest_gone "$1" || fail "guest $1 did not end in time"
}

guest_is_there() { guest_domid "$1" > /dev/null || fail "guest $1 is not there"; }

guest_gone() { ! guest_domid "$1" > /dev/null; }

# A domain whose pages somebody maps stays in this list as (null), dying.
domain_is_gone() { ! xl list | awk -v id="$1" '$2 == id { found = 1 } END { exit !found }'; }
