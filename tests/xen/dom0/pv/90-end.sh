# xenblkd goes, and stays away where the kernel's backend is.
# shellcheck shell=bash

# Whatever the package says against it.
kernel_backend_is_respected() {
  modprobe --ignore-install xen-blkback
  [ -e /sys/bus/xen-backend/drivers/vbd ] || fail "xen-blkback did not load"
  expect_daemon_refuses 'blkback.*(rmmod|modprobe -r|unload|blacklist)|(rmmod|modprobe -r|unload|blacklist).*blkback'
}

# vbd3 has no driver in the kernel, so there is nothing to be in the way of.
other_backend_name_is_free() {
  start_daemon -n vbd3
  end_daemon
}

unload_kernel_backend() {
  modprobe -r xen-blkback
  [ ! -e /sys/bus/xen-backend/drivers/vbd ] || fail "xen-blkback is still there"
}

check "xenblkd ends with status 0 on SIGTERM" end_daemon
check "xenblkd refuses to start beside xen-blkback" kernel_backend_is_respected
check "xenblkd serves vbd3 beside xen-blkback" other_backend_name_is_free
check "xen-blkback is unloaded again" unload_kernel_backend
