# The daemon is killed, ended, and followed by another binary, while a guest's raw disk and VHD are busy with verified
# I/O. The guest sees a pause.
# shellcheck shell=bash

kills=4 ends=2
[ ! -e "$job/long" ] || { kills=20 ends=10; }

disks_are_busy_again() {
  guest_is_there linux
  guest_expect linux 30 'background_io xvda'
  guest_expect linux 30 'background_io xvdb'
  guest_expect linux 30 'watch_pauses xvda'
}

disks_go_on() {
  guest_expect linux 240 'io_goes_on xvda && io_goes_on xvdb'
  expect_node "$(backend_directory linux xvda)/state" 4
  expect_node "$(backend_directory linux xvdb)/state" 4
}

killed_and_started() {
  local round
  for round in $(seq "$kills"); do
    kill_daemon
    start_daemon
    disks_go_on
  done
  echo "$kills times killed"
}

ended_and_started() {
  local round
  for round in $(seq "$ends"); do
    end_daemon
    start_daemon
    disks_go_on
  done
  echo "$ends times ended"
}

# As a package does when it is upgraded: another file, started when the old daemon has ended. And then back, killed.
followed_by_the_next_binary() {
  local usual=$daemon
  end_daemon
  daemon=/job/xenblkd-next start_daemon
  expect_match "the program that runs" xenblkd-next "$(readlink "/proc/$(<"$daemon_pid_file")/exe")"
  disks_go_on
  kill_daemon
  daemon=$usual start_daemon
  disks_go_on
}

io_was_right() {
  guest_expect linux 240 'background_end xvda'
  guest_expect linux 240 'background_end xvdb'
  guest_expect linux 60 'longest_pause xvda'
  guest_expect linux 30 no_kernel_complaint
}

journals_are_there() {
  local files
  files=$(stat -c '%a %n' /run/xenblk/journal/vbd-"$(guest_domid linux)"-*)
  echo "$files"
  if grep -v '^600 ' <<< "$files"; then fail "others may read a journal"; fi
}

require "a guest's disks are busy with verified I/O" disks_are_busy_again
check "each queue has a journal that is root's alone" journals_are_there
check_seconds_max=$((kills * 120)) check "the daemon is killed $kills times, and the next one goes on" killed_and_started
check_seconds_max=$((ends * 120)) check "the daemon ends $ends times, and the next one goes on" ended_and_started
check_seconds_max=600 check "another binary follows, and is followed when it is killed" followed_by_the_next_binary
check_seconds_max=600 check "fio found nothing wrong, and the guest's kernel saw no error" io_was_right
