# A guest whose frontend is a program that keeps no rule (tests/xen/hostile), beside one that verifies what it reads.
# shellcheck shell=bash

hostile=/job/hostile_guest

# Persistent grants are offered too, so that they can be abused.
daemon_offers_all() {
  [ -x "$hostile" ] || fail "no $hostile; build it"
  echo 'data-path = "persistent"' > "$scratch/persistent.toml"
  end_daemon
  start_daemon -c "$scratch/persistent.toml"
  cp "$daemon_pid_file" "$scratch/hostile-pid"
  guest_expect linux 60 'background_io xvda && io_goes_on xvda'
  # Enough to lose something, and little enough to leave the lab's processors to the abuses.
  xenblkctl limit linux:xvda --iops 50
}

hostile_guest_starts() {
  echo "$SECONDS" > "$scratch/hostile-began"
  daemon_mapped_grants > "$scratch/grants-of-others"
  linux_guest_create hostile 'vcpus = 1'
  guest_expect hostile 60 blkfront_gives_way
  truncate -s 64M "$images/hostile.img"
  truncate -s 16M "$images/hostile-ro.img"
  attach_disk hostile xvda rw "raw:$images/hostile.img"
  attach_disk hostile xvdb ro "raw:$images/hostile-ro.img"
}

# One run of the program for all: each line of it becomes a verdict below.
every_abuse_is_committed() {
  guest_run hostile 900 '/guest/hostile_guest all' > "$scratch/abuses" || true
  cat "$scratch/abuses"
  daemon_is_unharmed
  expect_equal "the number of abuses" "$("$hostile" list | wc -l)" "$(grep -c '^hostile: ' "$scratch/abuses")"
}

# abuse_verdicts: as the program said it: "NAME: what came of it", and what else should have.
abuse_verdicts() {
  local line
  while read -r line; do
    line=${line#hostile: }
    case $line in
      *', instead of: '*) verdict "FAIL hostile guest: ${line%%: *}: ${line#*: }" ;;
      *) verdict "PASS hostile guest: ${line%%: *}" ;;
    esac
  done < <(grep '^hostile: ' "$scratch/abuses")
}

daemon_is_unharmed() {
  expect_daemon_alive
  expect_equal "the daemon's process" "$(<"$scratch/hostile-pid")" "$(<"$daemon_pid_file")"
  if grep -E 'AddressSanitizer|runtime error:' "$out/xenblkd.log"; then fail "a sanitizer complains"; fi
}

daemon_holds() { echo "$(daemon_descriptors) $(daemon_mapped_grants) $(daemon_memory_kb)"; }

# What the daemon holds after every abuse was committed once is what it holds after another time.
second_round_adds_nothing() {
  local descriptors grants memory_kb
  read -r descriptors grants memory_kb <<< "$(daemon_holds)"
  guest_expect hostile 900 '/guest/hostile_guest all'
  daemon_is_unharmed
  echo "before: $descriptors descriptors, $grants mapped grants, $memory_kb kB; after: $(daemon_holds)"
  expect_equal "the number of descriptors" "$descriptors" "$(daemon_descriptors)"
  expect_equal "the number of mapped grants" "$grants" "$(daemon_mapped_grants)"
  # The address sanitizer keeps what is freed, so its memory says nothing.
  if ldd "$daemon" | grep -q libasan; then return; fi
  [ "$(daemon_memory_kb)" -le $((memory_kb + 2048)) ] || fail "memory grew from $memory_kb to $(daemon_memory_kb) kB"
}

neighbour_requests() {
  xenblkctl stats linux:xvda --json |
    awk -F'[:,]' '/"total"/ {on = 1} on && /"(reads|writes)"/ {sum += $2} /"queues"/ {exit} END {print sum}'
}

# processor_times: milliseconds of each of the daemon's threads, of xenstored, and of each domain, a line each, so far.
processor_times() {
  awk '{ gsub(/[()]/, "", $2); print "xenblkd:" $2, ($14 + $15) * 10 }' "/proc/$(<"$daemon_pid_file")"/task/*/stat
  awk '{ print "xenstored", ($14 + $15) * 10 }' "/proc/$(pidof -s xenstored || pidof -s oxenstored)/stat"
  xl list | awk 'NR > 1 { print $1, int($6 * 1000) }'
}

# neighbour_rate WHEN: requests a second of the guest that means well, over some twenty seconds. Who used the
# processors then goes to a file.
neighbour_rate() {
  local from begin ms
  processor_times > "$scratch/times-before"
  from=$(neighbour_requests) begin=$(date +%s%N)
  read -r -t 20 -u "$idle" || true
  ms=$((($(date +%s%N) - begin) / 1000000))
  echo $((($(neighbour_requests) - from) * 1000 / ms))
  processor_times |
    awk -v when="$1" -v ms="$ms" '
      NR == FNR { before[$1] += $2; next }
      { after[$1] += $2 }
      END { for (who in after) printf "%s: %s %d %%\n", when, who, (after[who] - before[who]) * 100 / ms }
    ' "$scratch/times-before" - >> "$out/hostile-processors"
}

# For a reader: what is right here is that all of it goes on. Beside the storm stands a guest that does nothing but
# use its processor, because those are few in the lab.
neighbour_goes_on() {
  local quiet spinning storming
  xenblkctl limit linux:xvda --none
  quiet=$(neighbour_rate quiet)
  guest_expect hostile 30 '/guest/hostile_guest spin 45 > /dev/null &'
  spinning=$(neighbour_rate spinning)
  guest_expect hostile 240 hostile_ends
  guest_expect hostile 30 '/guest/hostile_guest storm 45 > /tmp/storm &'
  storming=$(neighbour_rate storming)
  guest_expect hostile 240 hostile_ends
  echo "requests a second: $quiet quiet, $spinning beside a busy guest, $storming beside a hostile one" |
    tee "$out/hostile-rates"
  guest_expect hostile 30 '[ ! -s /tmp/storm ] || { cat /tmp/storm; false; }'
  [ "$storming" -gt 0 ] || fail "the neighbour stands still"
  daemon_is_unharmed
}

# What the daemon says of the disk without -D: forty lines at once, one more each ten seconds, the first of each of the
# twelve kinds of trouble and of a state that changes without end, and before a line one that says how many were left out.
log_is_bounded() {
  local device seconds lines left_out bound
  device="vbd $(guest_domid hostile)/51712:"
  seconds=$((SECONDS - $(<"$scratch/hostile-began")))
  grep "$device" "$out/xenblkd.log" | grep -v " debug $device" > "$scratch/hostile-lines"
  lines=$(wc -l < "$scratch/hostile-lines")
  left_out=$(awk '/ more lines were left out here/ { sum += $5 } END { print sum + 0 }' "$scratch/hostile-lines")
  bound=$((2 * (41 + seconds / 10) + 13))
  echo "in $seconds s: $lines lines, at most $bound, and $left_out left out" | tee "$out/hostile-lines"
  [ "$lines" -le "$bound" ] || fail "the daemon wrote $lines lines about the guest's disk"
  [ "$left_out" -gt 0 ] || fail "the guest did not cause enough lines to tell"
}

# The directory of its read-only disk is removed before, which no guest can take back.
destroyed_in_the_storm() {
  local domid
  domid=$(guest_domid hostile)
  guest_expect hostile 240 '/guest/hostile_guest vanish'
  guest_expect hostile 30 '/guest/hostile_guest storm 3600 > /tmp/storm &'
  wait_for 60 hostile_disk_is_used || fail "the storm does not begin"
  xl_logged destroy hostile || fail "xl destroy failed"
  wait_for 60 domain_is_gone "$domid" || fail "domain $domid is a zombie: $(xl list)"
  wait_for 60 no_backends_of_domain "$domid" || fail "a backend directory of the guest is left"
  wait_for 30 only_grants_of_others || fail "$(daemon_mapped_grants) grants are mapped"
  daemon_is_unharmed
}

hostile_disk_is_used() { xenblkctl list | grep -q 'hostile:xvda *connected'; }
only_grants_of_others() { [ "$(daemon_mapped_grants)" = "$(<"$scratch/grants-of-others")" ]; }

neighbour_lost_nothing() {
  guest_expect linux 240 'background_end xvda'
  guest_expect linux 30 no_kernel_complaint
}

usual_daemon_again() {
  end_daemon
  start_daemon
  guest_expect linux 60 'touch_disk xvda'
}

# Some minutes: not each time.
if [ ! -e "$job/long" ]; then
  echo "SKIPPED: the hostile guest, which only a long run has"
else
  require "the first guest is there for a neighbour of a hostile one" guest_is_there linux
  require "xenblkd offers everything, and the neighbour is busy" daemon_offers_all
  require "a hostile guest has two disks" hostile_guest_starts
  check_seconds_max=900 require "a hostile guest commits every abuse" every_abuse_is_committed
  [ -n "$missing" ] || abuse_verdicts
  check_seconds_max=900 check "hostile guest: all of it again adds nothing to what the daemon holds" second_round_adds_nothing
  check_seconds_max=600 check "hostile guest: its neighbour goes on" neighbour_goes_on
  check "hostile guest: the log about it is bounded" log_is_bounded
  check "hostile guest: destroyed in the middle of it, it leaves no mapped grant and no zombie" destroyed_in_the_storm
  check_seconds_max=300 check "hostile guest: its neighbour lost nothing" neighbour_lost_nothing
  check "the usual daemon follows the one of the hostile guest" usual_daemon_again
fi
