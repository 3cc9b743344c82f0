# The Debian package on this host, where systemd does not run: what the installed unit names is run as it stands there.
# Sourced by `run`.
# shellcheck shell=bash disable=SC2034  # the topics use the variables

package=/job/xenblk.deb
unit=/lib/systemd/system/xenblkd.service
manual=/usr/share/doc/xenblk/README.md

unit_says() { sed -n "s/^$1=//p" "$unit"; }

install_package() {
  host_has_what_the_package_brings
  dpkg -i "$package"
}

# The lab's own means are taken away: from here on the host has what the package brings, and that is not installed yet.
host_has_what_the_package_brings() {
  [ -e "$package" ] || fail "no package: ./dev package makes it"
  dpkg -P xenblk
  rm -f /etc/modprobe.d/no-blkback.conf /etc/xen/scripts/block-xenblk
  sed -i '/^xenblk:/d' /etc/passwd /etc/group
}

unit_starts() {
  eval "$(unit_says ExecStart)" || fail "ExecStart ended with status $?"
  expect_daemon_alive
}

# unit_ends: as systemd ends it.
unit_ends() {
  local pid
  pid=$(<"$daemon_pid_file")
  kill -TERM "$pid"
  wait_for 60 process_is_gone "$pid" || fail "the daemon does not end"
}

process_is_gone() { ! kill -0 "$1" 2>/dev/null; }
