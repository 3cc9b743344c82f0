# xenblkd as a process: start it, end it, measure it. Sourced by `run`.
# shellcheck shell=bash

# Where the programs are; a run with the installed package changes both.
programs=/job daemon=/job/xenblkd
daemon_pid_file=/run/xenblk/xenblkd.pid

xenblk_img() { "$programs/xenblk-img" "$@"; }
xenblkctl() { "$programs/xenblkctl" "$@"; }

# start_daemon [OPTIONS...]: returns when it serves. Its exit status will be in $scratch/daemon-status: it is nobody's
# child by then.
start_daemon() {
  rm -f "$scratch/daemon-status"
  (
    trap '' HUP
    status=0
    "$daemon" -D "$@" >> "$out/xenblkd.log" 2>&1 < /dev/null || status=$?
    echo "$status" > "$scratch/daemon-status"
  ) &
  disown
  wait_for 30 daemon_serves_or_ended || true
  [ ! -e "$scratch/daemon-status" ] || fail "xenblkd ended at its start: $(tail -n 3 "$out/xenblkd.log")"
  daemon_serves || fail "no $daemon_pid_file in time"
}

daemon_serves_or_ended() { [ -e "$scratch/daemon-status" ] || daemon_serves; }

daemon_serves() { [ -s "$daemon_pid_file" ] && kill -0 "$(<"$daemon_pid_file")" 2>/dev/null; }

expect_daemon_alive() { daemon_serves || fail "xenblkd is gone: $(tail -n 3 "$out/xenblkd.log")"; }

# end_daemon: SIGTERM, and its status must be 0.
end_daemon() {
  expect_daemon_alive
  kill -TERM "$(<"$daemon_pid_file")"
  wait_for 30 test -s "$scratch/daemon-status" || fail "xenblkd did not end after SIGTERM"
  expect_equal "the exit status of xenblkd" 0 "$(<"$scratch/daemon-status")"
}

kill_daemon() {
  expect_daemon_alive
  kill -KILL "$(<"$daemon_pid_file")"
  wait_for 30 test -s "$scratch/daemon-status" || fail "xenblkd did not end after SIGKILL"
  expect_equal "the exit status of xenblkd" 137 "$(<"$scratch/daemon-status")"
}

# expect_daemon_refuses PATTERN [OPTIONS...]: a start that must end with status 1 and one line that matches. It is
# started as a user would, without the log on stderr that -D adds.
expect_daemon_refuses() {
  local pattern=$1 status=0 text
  shift
  text=$(timeout 120 "$daemon" "$@" 2>&1 >/dev/null) || status=$?
  echo "$text"
  expect_equal "the exit status" 1 "$status"
  expect_one_line "its message" "$text"
  expect_match "its message" "$pattern" "$text"
}

daemon_descriptors() {
  local all=(/proc/"$(<"$daemon_pid_file")"/fd/*)
  echo ${#all[@]}
}

# A mapped grant is a mapping of /dev/xen/gntdev.
daemon_mapped_grants() { grep -c /dev/xen/gntdev "/proc/$(<"$daemon_pid_file")/maps" || true; }

no_grants_mapped() { [ "$(daemon_mapped_grants)" = 0 ]; }

daemon_memory_kb() { awk '/^VmRSS:/ {print $2}' "/proc/$(<"$daemon_pid_file")/status"; }
