# The guest is saved and restored, twice, while its disks are busy with verified I/O. To a backend this is what a
# migration is: the domain goes, and another one with the same requests in flight comes. `xl migrate` itself does not
# work here: it needs Xen's log-dirty mode, which this Xen refuses for PV guests on this CPU (EINVAL).
# shellcheck shell=bash

disks_are_busy() {
  guest_is_there linux
  guest_domid linux > "$scratch/domid-before"
  guest_expect linux 30 'background_io xvda'
  guest_expect linux 30 'background_io xvdb'
}

saved_and_restored() {
  xl_logged save linux "$scratch/saved" || fail "xl save failed"
  wait_for 30 no_backends_of_domain "$(<"$scratch/domid-before")" || fail "a saved guest keeps its backends"
  xl_logged restore "$scratch/saved" || fail "xl restore failed"
  rm -f "$scratch/saved"
  goes_on_as_another_domain
}

goes_on_as_another_domain() {
  local before after
  before=$(<"$scratch/domid-before") after=$(guest_domid linux)
  [ "$before" != "$after" ] || fail "it is still domain $before"
  echo "$after" > "$scratch/domid-before"
  guest_expect linux 120 '[ ! -e /tmp/background.xvda.ended ] && [ ! -e /tmp/background.xvdb.ended ]'
  expect_node "$(backend_directory linux xvda)/state" 4
  no_backends_of_domain "$before" || fail "backends of domain $before are left"
}

io_went_on() {
  guest_expect linux 120 'background_end xvda'
  guest_expect linux 120 'background_end xvdb'
  guest_expect linux 120 'fio_verify xvdb 2m --offset=40m'
}

require "a guest's raw and VHD disk are busy" disks_are_busy
require "xl save and xl restore" saved_and_restored
require "xl save and xl restore again" saved_and_restored
check "the verified I/O went on over both" io_went_on
