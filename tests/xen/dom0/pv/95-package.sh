# The Debian package, from its installation to its purge, on a host whose kernel has the other backend loaded.
# shellcheck shell=bash

package_is_installed() {
  host_has_what_the_package_brings
  modprobe xen-blkback
  dpkg -i "$package"
  [ ! -e /sys/bus/xen-backend/drivers/vbd ] || fail "xen-blkback is loaded, and no disk needs it"
  id xenblk || fail "there is no user for the daemon"
  if modprobe xen-blkback 2>/dev/null; then fail "xen-blkback can be loaded"; fi
}

package_has_its_files() {
  local file
  for file in /usr/sbin/xenblkd /usr/bin/xenblk-img /etc/xen/scripts/block-xenblk /lib/modprobe.d/xenblk.conf \
    /etc/xenblk/xenblkd.toml "$unit" "$manual" /usr/share/doc/xenblk/copyright /usr/share/man/man8/xenblkd.8.gz \
    /usr/share/man/man5/xenblkd.toml.5.gz /usr/share/man/man1/xenblk-img.1.gz \
    /usr/bin/xenblkctl /usr/share/man/man1/xenblkctl.1.gz /usr/share/bash-completion/completions/xenblkctl; do
    [ -s "$file" ] || fail "$file is missing"
    dpkg -L xenblk | grep -qx "$file" || fail "$file is not the package's"
  done
  expect_equal "files that differ from the package's" "" "$(dpkg --verify xenblk)"
  xenblkd --version
}

unit_starts_the_daemon() {
  unit_starts
  expect_equal "the user of the daemon" xenblk "$(stat -c %U "/proc/$(<"$daemon_pid_file")")"
  local MAINPID
  MAINPID=$(<"$daemon_pid_file")
  eval "$(unit_says ExecReload)"
  expect_daemon_alive
}

# readme_disks: the disks of the example for this Xen, as it stands there.
readme_disks() { awk '/^### Xen 4.17/ {here = 1} here && /^disk = \[/ {on = 1} on {print} on && /\]/ {exit}' "$manual" | sed 's/^disk = \[//; s/\]$//'; }

# readme_line COMMAND VDEV: a line of the example on a running guest, for our guest.
readme_line() { grep -m1 "^xl $1 GUEST.*$2" "$manual" | sed 's/GUEST/packaged/'; }

readme_guest_starts() {
  expect_match "the manual" 'vdev=xvda.*vdev=xvdb.*vdev=xvdc' "$(readme_disks | tr '\n' ' ')"
  truncate -s 64M /srv/a.img
  truncate -s 16M /srv/c.img
  rm -f /srv/b.vhd /srv/d.vhd
  eval "$(grep -m1 -o 'xenblk-img create vhd:/srv/b.vhd --size 20G' "$manual")"
  xenblk-img create vhd:/srv/d.vhd --size 64M
  linux_guest_create packaged 'vcpus = 1' "$(readme_disks)"
  guest_expect packaged 90 'disk_appears xvda && disk_appears xvdb && disk_appears xvdc'
  guest_expect packaged 60 'fio_verify xvdb 4m --offset=19g'
  guest_expect packaged 60 'write_refused xvdc'
}

readme_disk_comes_and_goes() {
  eval "$(readme_line block-attach xvdd)"
  guest_expect packaged 60 'disk_appears xvdd && fio_verify xvdd 2m'
  eval "$(readme_line block-detach xvdd)"
  guest_expect packaged 60 'disk_goes xvdd'
  wait_for 30 device_is_gone xvdd || fail "xvdd stays in XenStore"
}

# readme_xenblkctl COMMAND: the manual's line with it, for our guest and with what else is said.
readme_xenblkctl() {
  local command=$1 line
  shift
  line=$(sed -n '/^### Looking at disks/,$p' "$manual" | grep -m1 "^xenblkctl $command" | sed 's/ *#.*//; s/web1/packaged/')
  # The function of that name takes another program.
  eval "command ${line:-false} $*"
}

readme_xenblkctl_works() {
  expect_match "list" 'packaged:xvda +connected +64 MiB' "$(readme_xenblkctl list)"
  expect_match "stats" 'packaged:xvda +connected' "$(readme_xenblkctl stats --count 1)"
  expect_match "explain" '^state: connected' "$(readme_xenblkctl explain)"
  expect_match "limit" '500 requests/s, 20 MiB/s' "$(readme_xenblkctl limit)"
  command xenblkctl limit packaged:xvda --none
  readme_xenblkctl pause
  expect_match "list" 'packaged:xvda +paused' "$(readme_xenblkctl list)"
  command xenblkctl resume packaged:xvda
  guest_expect packaged 60 'fio_verify xvda 2m'
}

# As systemd does it after an upgrade: SIGTERM, then ExecStart.
restarted_by_an_upgrade() {
  guest_expect packaged 30 'background_io xvda'
  guest_expect packaged 30 'background_io xvdb'
  dpkg -i "$package"
  unit_ends
  unit_starts
  guest_expect packaged 120 'background_end xvda'
  guest_expect packaged 120 'background_end xvdb'
  guest_expect packaged 30 no_kernel_complaint
}

edited_settings_survive() {
  echo 'max-queues = 2' >> /etc/xenblk/xenblkd.toml
  dpkg -i --force-confold "$package"
  grep -qx 'max-queues = 2' /etc/xenblk/xenblkd.toml || fail "the settings were replaced"
}

package_is_removed() {
  guest_power_off packaged
  wait_for 30 no_backends || true
  expect_no_backends
  unit_ends
  dpkg -r xenblk
  [ ! -e /usr/sbin/xenblkd ] || fail "the daemon is still there"
  [ ! -e "$unit" ] || fail "the unit is still there"
  [ -e /etc/xenblk/xenblkd.toml ] || fail "the settings went before the purge"
  modprobe xen-blkback || fail "the kernel's backend cannot be loaded again"
  modprobe -r xen-blkback
}

package_is_purged() {
  dpkg -P xenblk
  local left
  left=$(find /etc /usr /lib/systemd /lib/modprobe.d /var/lib/systemd -name '*xenblk*' 2>/dev/null) || true
  expect_equal "what is left" "" "$left"
}

require "dpkg -i installs the package, and an idle xen-blkback gives way" package_is_installed
check "the package has its files" package_has_its_files
require "the unit's ExecStart serves, and its ExecReload reloads" unit_starts_the_daemon
require "a guest starts with the disks of the manual as they are written there" readme_guest_starts
check "the manual's xl block-attach and block-detach work as they are written there" readme_disk_comes_and_goes
check "the manual's xenblkctl lines work as they are written there" readme_xenblkctl_works
check "an upgrade and a restart do not disturb a guest under verified I/O" restarted_by_an_upgrade
check "an upgrade keeps edited settings" edited_settings_survive
require "dpkg -r removes the package but for its settings, and the kernel's backend may come back" package_is_removed
check "dpkg -P leaves nothing" package_is_purged
