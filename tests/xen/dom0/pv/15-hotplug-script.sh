# The hotplug script alone: what it makes of each answer, on nodes written by hand. No daemon runs yet.
# shellcheck shell=bash

fake_path=backend/vbd/999/51712

# run_script COMMAND: as libxl runs it.
run_script() {
  XENBUS_PATH=$fake_path XENBUS_TYPE=vbd XENBUS_BASE_PATH=backend XENBLK_HOTPLUG_SECONDS=3 \
    timeout 60 /etc/xen/scripts/block-xenblk "$1"
}

answer_open() {
  xenstore-write $fake_path/params vhd:/srv/with:colon.vhd $fake_path/image-state open
  run_script add
  expect_node $fake_path/physical-device-path /srv/with:colon.vhd
  expect_node $fake_path/hotplug-status connected
}

answer_late() {
  xenstore-rm $fake_path
  xenstore-write $fake_path/params /srv/bare.img $fake_path/image-state opening
  (sleep 1; xenstore-write $fake_path/image-state open) &
  run_script add
  expect_node $fake_path/physical-device-path /srv/bare.img
}

answer_failed() {
  xenstore-rm $fake_path
  xenstore-write $fake_path/params raw:/srv/x.img $fake_path/hotplug-error 'the reason' $fake_path/image-state failed
  if run_script add; then fail "the script succeeds"; fi
  expect_node $fake_path/hotplug-error 'the reason'
  expect_node $fake_path/hotplug-status error
}

no_answer() {
  xenstore-rm $fake_path
  xenstore-write $fake_path/params raw:/srv/x.img
  if run_script add; then fail "the script succeeds"; fi
  expect_match "the script" 'xenblkd.*/srv/x.img.*start it' "$(xenstore-read $fake_path/hotplug-error)"
  expect_node $fake_path/hotplug-status error
}

removal() {
  run_script remove
  xenstore-rm backend/vbd
  run_script remove
  run_script remove
  if xenstore-exists $fake_path; then fail "it made nodes again"; fi
}

check "the hotplug script reports an open image" answer_open
check "the hotplug script waits for the daemon" answer_late
check "the hotplug script keeps the daemon's reason" answer_failed
check "the hotplug script says when xenblkd does not answer" no_answer
check "the hotplug script can be called for removal again and again" removal
