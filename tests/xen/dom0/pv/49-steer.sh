# xenblkctl on a disk that is in use: what it shows, limits, pauses, a new size.
# shellcheck shell=bash

attach_controlled() {
  truncate -s 32M "$images/control.img"
  attach_disk linux xvdi rw "raw:$images/control.img"
  guest_expect linux 60 'disk_appears xvdi && background_io xvdi'
}

ctl_shows_the_disk() {
  local text
  text=$(xenblkctl list)
  echo "$text"
  expect_match "list" "linux:xvdi +connected +32 MiB +read-write +raw:$images/control.img" "$text"
  text=$(xenblkctl info linux:xvdi)
  echo "$text"
  expect_match "info" 'negotiated ring-pages +1$' "$text"
  text=$(xenblkctl stats linux:xvdi)
  echo "$text"
  expect_match "stats" 'linux:xvdi +connected +[0-9]+' "$text"
  text=$(xenblkctl metrics)
  expect_match "metrics" 'xenblk_requests_total\{disk="[0-9]+/[0-9]+",guest="linux",vdev="xvdi",operation="write"\} [1-9]' "$text"
}

ctl_explains_the_disk() {
  local text
  text=$(xenblkctl explain linux:xvdi)
  echo "$text"
  expect_match "explain" 'the guest took 1 of the [0-9]+ ring pages offered' "$text"
  expect_match "explain" 'xen_blkfront.max_ring_page_order' "$text"
}

# requests_done: of xvdi, reads and writes together.
requests_done() {
  xenblkctl stats linux:xvdi --json | awk -F'[:,]' '/"total"/ {on = 1} on && /"(reads|writes)"/ {sum += $2} /"queues"/ {exit} END {print sum}'
}

wait_seconds() { read -r -t "$1" -u "$idle" || true; }

# rate_now: requests in ten seconds, measured over about as many.
rate_now() {
  local begin end from to
  from=$(requests_done) begin=$(date +%s%N)
  wait_seconds 10
  to=$(requests_done) end=$(date +%s%N)
  echo $(((to - from) * 10000 / ((end - begin) / 1000000)))
}

# limit_to IOPS: the burst is large enough for a machine that stops for a while, and is used up a second later.
limit_to() {
  xenblkctl limit linux:xvdi --iops "$1" --burst 1000
  wait_seconds 1
}

# expect_rate IOPS: what the guest's fio gets. A machine that stops for longer than the burst gets another chance.
expect_rate() {
  local rate attempt
  for attempt in 1 2 3; do
    rate=$(rate_now)
    echo "attempt $attempt: limit $1 a second: $((rate / 10)).$((rate % 10)) a second"
    if [ "$rate" -ge $(($1 * 9)) ] && [ "$rate" -le $(($1 * 11)) ]; then return 0; fi
  done
  fail "$((rate / 10)) requests a second with a limit of $1"
}

limits_hold() {
  limit_to 40
  expect_rate 40
  limit_to 20
  expect_rate 20
  xenblkctl limit linux:xvdi --none
}

# Not less than the limit is for the check before; here a slow machine must not look like a limit that was lost.
limits_outlive_the_daemon() {
  local rate
  limit_to 20
  end_daemon
  start_daemon
  guest_expect linux 120 'io_goes_on xvdi'
  expect_match "xenblkctl info" 'limits iops +20$' "$(xenblkctl info linux:xvdi)"
  # What the new daemon takes as saved up is used.
  wait_seconds 3
  rate=$(rate_now)
  [ "$rate" -le 220 ] || fail "$((rate / 10)) requests a second with a limit of 20"
  xenblkctl limit linux:xvdi --none
  expect_node "$(backend_directory linux xvdi)/limit-iops" 0
}

pause_holds() {
  local before
  xenblkctl pause linux:xvdi
  before=$(requests_done)
  wait_seconds 2
  expect_equal "the count of requests after two seconds of pause" "$before" "$(requests_done)"
  expect_match "list" 'linux:xvdi +paused' "$(xenblkctl list)"
  xenblkctl resume linux:xvdi
  wait_for 30 more_than "$before" || fail "nothing goes on after resume"
}

more_than() { [ "$(requests_done)" -gt "$1" ]; }

ctl_resizes() {
  xenblkctl resize linux:xvdi 64M
  guest_expect linux 60 'disk_has xvdi 67108864'
  guest_expect linux 60 'fio_verify xvdi 4m --offset=40m'
}

ctl_refuses() {
  local status text
  for arguments in "info linux:xvdz" "limit linux:xvdi --iops 0" "resize linux:xvdi 1M" "resume linux:xvdi"; do
    status=0
    # shellcheck disable=SC2086  # words
    text=$(xenblkctl $arguments 2>&1 > "$scratch/stdout") || status=$?
    echo "$text"
    expect_equal "the status of xenblkctl $arguments" 1 "$status"
    expect_one_line "xenblkctl $arguments" "$text"
    [ ! -s "$scratch/stdout" ] || fail "xenblkctl $arguments says something on stdout"
  done
}

ctl_closes() {
  guest_expect linux 120 'background_end xvdi'
  guest_expect linux 30 no_kernel_complaint
  xenblkctl close linux:xvdi
  expect_match "list" 'linux:xvdi +closed' "$(xenblkctl list)"
  # Linux keeps its device, without a disk behind it, until the toolstack removes the nodes.
  detach_disk linux xvdi
}

require "a disk that will be steered is attached and busy" attach_controlled
check "xenblkctl list, info, stats and metrics show it" ctl_shows_the_disk
check "xenblkctl explain says what the guest could take more of" ctl_explains_the_disk
check "the guest's fio follows xenblkctl limit within a second, by a tenth" limits_hold
check "a limit is kept by the next daemon" limits_outlive_the_daemon
check "nothing is served during xenblkctl pause, and all after resume" pause_holds
check "the guest sees the new size after xenblkctl resize" ctl_resizes
check "xenblkctl refuses what cannot be done with one line" ctl_refuses
check "the verified I/O went on, and xenblkctl close takes the disk away" ctl_closes
