# XenStore as the tests see it. Sourced by `run`.
# shellcheck shell=bash

# The number that blkif gives a disk's name: 202 is blkfront's major number, 16 minors a disk.
device_id() {
  local letter
  printf -v letter '%d' "'${1#xvd}"
  echo $(((202 << 8) + (letter - 97) * 16))
}

backend_directory() { echo "/local/domain/0/backend/vbd/$(guest_domid "$1")/$(device_id "$2")"; }
frontend_directory() { echo "/local/domain/$(guest_domid "$1")/device/vbd/$(device_id "$2")"; }

# expect_node PATH VALUE
expect_node() {
  expect_equal "$1" "$2" "$(xenstore-read "$1" 2>&1)"
}

# Every node of the disk, of all guests: backend, frontend and libxl's own. Error texts stay, as the kernel's do.
nodes_of_device() { xenstore-ls -f | grep -E "/vbd3?/[0-9]+/$1(/| )|/device/vbd/$1(/| )" | grep -v '/error/'; }

expect_no_nodes_of_device() {
  local left
  left=$(nodes_of_device "$1") || true
  [ -z "$left" ] || fail "left in XenStore: $(head -n 3 <<< "$left")"
}

expect_no_backends() {
  local left
  left=$(xenstore-ls -f /local/domain/0/backend 2>/dev/null | grep -E '/vbd3?/[0-9]') || true
  [ -z "$left" ] || fail "left in XenStore: $(head -n 3 <<< "$left")"
}

# device_is_gone DISK, no_backends: to wait for what is expected.
device_is_gone() { (expect_no_nodes_of_device "$(device_id "$1")") > /dev/null 2>&1; }
no_backends() { (expect_no_backends) > /dev/null 2>&1; }

no_backends_of_domain() { ! xenstore-ls -f /local/domain/0/backend 2>/dev/null | grep -qE "/vbd3?/$1/"; }
