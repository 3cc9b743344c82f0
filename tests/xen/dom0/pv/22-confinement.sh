# What the daemon may still do, as the kernel sees it. Every other topic runs on the confined daemon too.
# shellcheck shell=bash

status_of_daemon() {
  awk -v name="$1:" '$1 == name { sub(/^[^\t]*\t/, ""); print }' "/proc/$(<"$daemon_pid_file")/status"
}

# expect_of_every_thread NAME VALUE: threads that were there before must not have been left out. Those that the kernel
# runs for io_uring come and go, also while this looks.
expect_of_every_thread() {
  local file value threads=0
  for file in /proc/"$(<"$daemon_pid_file")"/task/*/status; do
    value=$(awk -v name="$1:" '$1 == name { print $2 }' "$file" 2>/dev/null) || continue
    expect_equal "$1 of ${file%/status}" "$2" "$value"
    threads=$((threads + 1))
  done
  [ "$threads" -gt 2 ] || fail "only $threads thread(s) seen"
}

daemon_is_confined() {
  expect_of_every_thread Seccomp 2
  expect_of_every_thread NoNewPrivs 1
  expect_of_every_thread CapEff 0000000000000002
  expect_of_every_thread CapPrm 0000000000000002
  expect_of_every_thread CapBnd 0000000000000002
  expect_of_every_thread CapInh 0000000000000000
}

daemon_is_its_own_user() {
  local uid
  uid=$(id -u xenblk)
  expect_of_every_thread Uid "$uid"
  expect_of_every_thread Gid "$(id -g xenblk)"
}

# Addresses whose size says that they hold requests' data.
data_stays_out_of_core_files() {
  local marked
  marked=$(awk '/^Size:/ { kb = $2 } /^VmFlags:/ && kb >= 16384 && / dd / { n++ } END { print n + 0 }' \
    "/proc/$(<"$daemon_pid_file")/smaps")
  [ "$marked" -ge 1 ] || fail "no large mapping is kept out of core files"
}

daemon_warned_of_nothing() {
  ! grep -iE 'landlock|there is no user' "$out/xenblkd.log" || fail "a part of the confinement is missing"
}

check "every thread of xenblkd is under the filter and has one capability" daemon_is_confined
check "xenblkd runs as its own user" daemon_is_its_own_user
check "memory with requests' data stays out of core files" data_stays_out_of_core_files
check "this kernel has all that confines xenblkd" daemon_warned_of_nothing
