# The contract tests of the Xen seam against the real libraries, before anything else uses them.
# shellcheck shell=bash

libraries_found() {
  local program missing
  for program in "$daemon" /job/xen_contract_test; do
    [ -x "$program" ] || fail "no $program"
    missing=$(ldd "$program" 2>&1 | grep 'not found') || true
    [ -z "$missing" ] || fail "dom0 lacks: $missing"
  done
}

contract_tests_pass() {
  local said
  said=$(cd "$scratch" && timeout 600 /job/xen_contract_test 2>&1) || {
    echo "$said"
    fail "$(grep -E '^\[ +FAILED' <<< "$said" | head -n 3)"
  }
  echo "$said"
  expect_match "gtest" '\[ +PASSED +\] [1-9]' "$said"
}

check "programs find their libraries in dom0" libraries_found
check "contract tests pass on the real libraries" contract_tests_pass
