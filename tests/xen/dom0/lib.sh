# The test library of dom0: checks with a verdict each, waits with a bound each. Sourced by `run`.
# shellcheck shell=bash disable=SC2034  # the files sourced after this one use the variables

job=/job
out=/job/out
scratch=/tmp/lab
images=/srv

# Any one check may take this long.
check_seconds_max=240
# Bounds are written for a quiet machine with two cores and multiplied by this: they are there to catch what hangs, and
# the machine below may be busy with other things.
patience=4

# The name of the required check that failed in this topic.
missing=

mkdir -p "$scratch" "$out/failures" "$out/checks"
# Reading from a pipe that never has anything is a sleep that starts no process; those are dear in a software CPU.
exec {idle}<> <(:)

# check NAME COMMAND [ARGUMENTS...]: run the command in a subshell under `set -e`, and report it. The command says why
# it fails with `fail`; whatever else ends it is reported by its line.
check() {
  local name=$1 log reason status started=$SECONDS
  shift
  if [ -n "$missing" ]; then
    verdict "FAIL $name: not tried, because '$missing' failed"
    return 1
  fi
  log=$out/checks/${name//[^a-zA-Z0-9.-]/_}.log
  rm -f "$scratch/reason"
  (
    set -eE
    trap 'note_failing_line "$LINENO" "$BASH_COMMAND"' ERR
    "$@"
  ) > "$log" 2>&1 &
  await_child $! "$check_seconds_max"
  status=$?
  if [ $status = 0 ]; then
    verdict "PASS $name"
  else
    reason=$(cat "$scratch/reason" 2>/dev/null || echo "ended with status $status")
    verdict "FAIL $name: $reason"
    explain_failure "$name" "$log" | tee "$out/failures/$(basename "$log")"
  fi
  echo "$((SECONDS - started)) s: $name" >> "$out/timings"
  return "$status"
}

# require NAME COMMAND...: a check without which the rest of its topic is not worth the time.
require() { check "$@" || missing=${missing:-$1}; }

# The subshell's reason; the first one counts, what follows from it does not.
fail() {
  note_reason "$*"
  exit 1
}

note_reason() {
  [ -e "$scratch/reason" ] || tr '\n' ' ' <<< "$*" | cut -c1-400 > "$scratch/reason"
}

note_failing_line() {
  note_reason "'$2' failed at line $1 of ${BASH_SOURCE[1]##*/}"
}

# The driver on the host counts these lines, on the console and in the file.
verdict() {
  echo "$1" | tee -a "$out/results"
}

# What a reader wants to see first, kept short on the console; all of it is in the output directory.
explain_failure() {
  local name=$1 log=$2 file
  echo "---- why '$name' failed: the check's own output"
  tail -n 30 "$log"
  for file in "$out/xenblkd.log" "$out/xl.log" /var/log/xen/xen-hotplug.log /var/log/xen/console/guest-*.log; do
    [ -s "$file" ] || continue
    echo "---- end of $file"
    tail -n 15 "$file" | tr -d '\r' | cut -c1-200
  done
  echo "---- end of dmesg"
  dmesg | tail -n 5
  echo "----"
}

# await_child PID SECONDS: its status, or 124 after ending it.
await_child() {
  local pid=$1 deadline=$((SECONDS + $2 * patience))
  while kill -0 "$pid" 2>/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      note_reason "not done after $(($2 * patience)) s"
      kill -KILL "$pid"
      wait "$pid" 2>/dev/null
      return 124
    fi
    pause
  done
  wait "$pid"
}

# wait_for SECONDS COMMAND...: until the command succeeds; status 1 when time is up.
wait_for() {
  local deadline=$((SECONDS + $1 * patience))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    pause
  done
}

pause() {
  read -r -t 0.2 -u "$idle" || true
}

expect_equal() {
  local what=$1 expected=$2 actual=$3
  [ "$expected" = "$actual" ] || fail "$what is '$actual' instead of '$expected'"
}

# expect_match WHAT PATTERN TEXT: the pattern is an extended regular expression, upper and lower case alike.
expect_match() {
  local what=$1 pattern=$2 text=$3
  grep -qiE -- "$pattern" <<< "$text" || fail "$what does not say '$pattern': ${text:-(nothing)}"
}

expect_one_line() {
  local what=$1 text=$2
  [ -n "$text" ] || fail "$what is silent"
  [ "$(wc -l <<< "$text")" = 1 ] || fail "$what has more than one line: $text"
}
