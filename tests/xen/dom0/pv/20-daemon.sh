# xenblkd takes the place of the kernel's backend, once.
# shellcheck shell=bash

daemon_starts_without_blkback() {
  [ ! -e /sys/bus/xen-backend/drivers/vbd ] || fail "xen-blkback is loaded"
  start_daemon
}

second_daemon_is_refused() {
  expect_daemon_refuses 'running|already|in use|lock'
  expect_daemon_alive
}

require "xenblkd starts where xen-blkback is not loaded" daemon_starts_without_blkback
check "a second xenblkd ends with status 1 and one line" second_daemon_is_refused
