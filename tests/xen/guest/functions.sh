# What dom0 can ask a guest to do. Sourced by /guest/main in the guest, where the shell is busybox; each function ends
# with status 0 when all was well, and prints the reason when not. Programs of e2fsprogs and util-linux are called by
# their path: busybox prefers its own applets of that name, whatever PATH says.
# shellcheck shell=sh

say() {
  echo "guest: $*"
  return 1
}

# disk_appears DISK, disk_goes DISK: blkfront works in its own time, so both wait up to four minutes.
disk_appears() { wait_until "[ -b /dev/$1 ]" || say "/dev/$1 did not appear"; }
disk_goes() { wait_until "[ ! -e /dev/$1 ]" || say "/dev/$1 did not go"; }

wait_until() {
  for _ in $(seq 1200); do
    if eval "$1"; then return 0; fi
    sleep 0.2
  done
  return 1
}

# disk_facts DISK: what the guest's kernel made of the backend's nodes.
disk_facts() {
  echo "bytes=$(blockdev --getsize64 "/dev/$1") sector=$(blockdev --getss "/dev/$1")" \
    "read_only=$(blockdev --getro "/dev/$1") queues=$(find "/sys/block/$1/mq/" -mindepth 1 -maxdepth 1 | wc -l)" \
    "depth=$(cat "/sys/block/$1/queue/nr_requests") cache=$(tr ' ' '-' < "/sys/block/$1/queue/write_cache")"
}

disk_sum() { sha256sum < "/dev/$1" | cut -d' ' -f1; }

# file_system DISK FILES: make one, fill it with random files, and find all again after a new mount. The second mount
# reads from the disk: the kernel drops its cache of a block device at the last close.
file_system() {
  disk=$1 files=$2 sums=/tmp/sums.$1 where=/mnt/$1
  # The kernel asks for modules by a path that busybox does not have.
  for module in crc32c_generic ext4; do modprobe "$module"; done
  mkdir -p "$where"
  /usr/bin/mke2fs -q -F -t ext4 "/dev/$disk" || { say "mke2fs failed"; return; }
  mount -t ext4 "/dev/$disk" "$where" || { say "the first mount failed"; return; }
  for i in $(seq "$files"); do
    # Odd lengths: the file system then writes single blocks and tails as well as long runs.
    head -c $((i * 77773)) /dev/urandom > "$where/file.$i" || { say "writing file $i failed"; return; }
  done
  mkdir "$where/directory"
  for i in $(seq 200); do echo "$i" > "$where/directory/$i"; done
  (cd "$where" && find . -type f -exec sha256sum {} +) > "$sums"
  umount "$where" || { say "umount failed"; return; }
  mount -t ext4 "/dev/$disk" "$where" || { say "the second mount failed"; return; }
  (cd "$where" && sha256sum -c "$sums" 2>&1) | grep -v ': OK$' > /tmp/wrong
  umount "$where"
  if [ -s /tmp/wrong ]; then cat /tmp/wrong; say "files differ"; return; fi
  /usr/bin/e2fsck -f -n "/dev/$disk" > /tmp/e2fsck 2>&1 || { cat /tmp/e2fsck; say "e2fsck found errors"; return; }
  echo "$(wc -l < "$sums") files verified"
}

# fio_verify DISK SIZE [FIO OPTIONS...]: random reads and writes, 32 at a time, each block read back and checked.
fio_verify() {
  disk=$1 size=$2 said=$(mktemp "/tmp/fio.$1.XXXXXX")
  shift 2
  fio --name=verify --filename="/dev/$disk" --size="$size" --rw=randrw --rwmixread=30 --bs=4k --iodepth=32 \
    --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed="$$" \
    "$@" > "$said" 2>&1 || { fio_complaints "$said"; say "fio failed"; return; }
  grep -qE 'err= *0' "$said" || { fio_complaints "$said"; say "fio counted an error"; return; }
  grep -E '^ +(read|write):' "$said"
}

fio_complaints() { grep -iE 'verify:|error|err=|fio:' "$1" | head -n 3; }

# background_io DISK: verified I/O in a loop until background_end, which fails if any round did.
background_io() {
  rm -f "/tmp/background.$1".*
  (
    rounds=0
    while [ ! -e "/tmp/background.$1.stop" ]; do
      if ! fio_verify "$1" 2m --iodepth=8; then echo "after $rounds rounds"; break; fi
      rounds=$((rounds + 1))
      echo "$rounds" > "/tmp/background.$1.rounds"
    done > "/tmp/background.$1.log" 2>&1
    touch "/tmp/background.$1.ended"
  ) &
}

background_end() {
  [ ! -e "/tmp/background.$1.ended" ] || { cat "/tmp/background.$1.log"; say "I/O ended before its time"; return; }
  touch "/tmp/background.$1.stop"
  wait_until "[ -e /tmp/background.$1.ended ]" || { say "I/O hangs"; return; }
  if grep guest: "/tmp/background.$1.log"; then cat "/tmp/background.$1.log"; return 1; fi
  [ -s "/tmp/background.$1.rounds" ] || { say "not one round was done"; return; }
  echo "$(cat "/tmp/background.$1.rounds") rounds of verified I/O"
}

# verify_later DISK SIZE: fio_verify behind the guest's back, for `verified`, which waits for its end.
verify_later() {
  ( if fio_verify "$1" "$2" > "/tmp/later.$1" 2>&1; then echo good; else echo bad; fi > "/tmp/later.$1.end" ) &
}
still_verifies() { [ ! -s "/tmp/later.$1.end" ] || { cat "/tmp/later.$1"; say "fio on $1 ended"; }; }
verified() {
  wait_until "[ -s /tmp/later.$1.end ]" || { say "fio on $1 does not end"; return; }
  cat "/tmp/later.$1"
  [ "$(cat "/tmp/later.$1.end")" = good ] || say "fio on $1 failed"
}

# io_goes_on DISK: waits for new answers to reads and to writes.
io_goes_on() {
  for field in 1 5; do
    before=$(requests_of "$1" $field)
    wait_until "[ \$(requests_of $1 $field) -gt $before ]" || { say "no answer from $1"; return; }
  done
}

# watch_pauses DISK: one small write after the other until longest_pause, which says how long the slowest took.
watch_pauses() {
  fio --name=pauses --filename="/dev/$1" --offset=48m --size=4m --rw=write --bs=4k --iodepth=1 --direct=1 \
    --ioengine=libaio --time_based --runtime=10h > "/tmp/pauses.$1" 2>&1 &
  echo "$!" > "/tmp/pauses.$1.pid"
}

longest_pause() {
  kill -INT "$(cat "/tmp/pauses.$1.pid")"
  wait_until "grep -q 'err= *[0-9]' /tmp/pauses.$1" || { cat "/tmp/pauses.$1"; say "fio did not end"; return; }
  grep -q 'err= *0' "/tmp/pauses.$1" || { cat "/tmp/pauses.$1"; say "fio counted an error"; return; }
  grep -E '^ +lat \(' "/tmp/pauses.$1"
}

# full_load DISK: random reads and writes that never end, 128 at a time.
full_load() {
  fio --name=load --filename="/dev/$1" --rw=randrw --bs=16k --iodepth=128 --ioengine=libaio --direct=1 --time_based \
    --runtime=1h > "/tmp/load.$1" 2>&1 &
  wait_until "[ $(requests_of "$1" 1) -lt \$(requests_of $1 1) ]" || say "no request of $1 was answered"
}

# bench_load DISK RW BYTES DEPTH SECONDS MIB: prints reads and writes a second.
bench_load() {
  fio --name=bench --filename="/dev/$1" --rw="$2" --bs="$3" --iodepth="$4" --time_based --runtime="$5" --size="$6m" \
    --ioengine=libaio --direct=1 --norandommap --randrepeat=0 --output-format=terse --terse-version=3 \
    > "/tmp/bench.$1" 2>&1 || { cat "/tmp/bench.$1"; say "fio failed"; return; }
  awk -F';' '$1 == 3 { print $8 + $49 }' "/tmp/bench.$1"
}

# requests_of DISK FIELD: the kernel's count, of reads (1) or writes (5).
requests_of() { awk -v field="$2" '{ print $field }' "/sys/block/$1/stat"; }

# requests_of_reads DISK MIB: into how many requests the kernel made reads of one mebibyte.
requests_of_reads() {
  before=$(requests_of "$1" 1)
  dd if="/dev/$1" of=/dev/null bs=1M count="$2" iflag=direct 2>/tmp/dd || { cat /tmp/dd; say "reading $1 failed"; return; }
  echo $(($(requests_of "$1" 1) - before))
}

# disk_has DISK BYTES: waits until the kernel has heard of it.
disk_has() { wait_until "[ \$(blockdev --getsize64 /dev/$1) = $2 ]" || say "$1 has $(blockdev --getsize64 "/dev/$1") bytes"; }

# write_refused DISK: the disk says that it is read-only, and no byte can be written.
write_refused() {
  [ "$(blockdev --getro "/dev/$1")" = 1 ] || { say "$1 does not look read-only"; return; }
  if dd if=/dev/urandom of="/dev/$1" bs=4096 count=1 oflag=direct conv=notrunc 2>/tmp/dd; then
    say "a write to $1 was accepted"
    return
  fi
  cat /tmp/dd
}

# touch_disk DISK: a few random blocks there and back, past the cache.
touch_disk() {
  dd if=/dev/urandom of=/tmp/touch bs=64k count=8 2>/dev/null
  dd if=/tmp/touch of="/dev/$1" bs=64k oflag=direct 2>/tmp/dd || { cat /tmp/dd; say "writing $1 failed"; return; }
  dd if="/dev/$1" bs=64k count=8 iflag=direct 2>/tmp/dd | cmp - /tmp/touch || say "$1 gives other data back"
}

# disk_repeats DISK KIB OCTAL: the 64 KiB from there on are this byte, and nothing else, on the disk itself.
disk_repeats() {
  dd if="/dev/$1" bs=64k skip=$(($2 / 64)) count=1 iflag=direct 2>/dev/null > /tmp/repeats
  [ "$(wc -c < /tmp/repeats)" = 65536 ] || { say "$1 cannot be read at $2 KiB"; return; }
  [ "$(tr -d "\\$3" < /tmp/repeats | wc -c)" = 0 ] || say "$1 has other bytes at $2 KiB"
}

copy_disk() {
  dd if="/dev/$1" of="/dev/$2" bs=256k conv=fsync 2>/tmp/dd || { cat /tmp/dd; say "copying $1 to $2 failed"; }
}

# fill_disk DISK, discard_disk DISK: random data everywhere; then nothing anywhere, and the disk says so.
fill_disk() {
  dd if=/dev/urandom of="/dev/$1" bs=256k conv=fsync 2>/tmp/dd
  grep -q 'No space left' /tmp/dd || { cat /tmp/dd; say "filling $1 failed"; }
}

discard_disk() {
  /usr/bin/blkdiscard "/dev/$1" || { say "blkdiscard failed"; return; }
  [ "$(tr -d '\000' < "/dev/$1" | head -c 1 | wc -c)" = 0 ] || say "$1 has data after the discard"
}

# no_kernel_complaint: blkfront reports a backend that broke the protocol, and failed requests, only here.
no_kernel_complaint() {
  if dmesg | grep -iE 'I/O error|blkfront.*(invalid|error|disabled for further|fail|unable|unexpected)|not unmapped|xenbus.*error|Call Trace'
  then
    say "the kernel complains"
  fi
}

# blkfront_gives_way: disks that come from here on are for a program.
blkfront_gives_way() {
  rmmod xen_blkfront || { say "blkfront stays"; return; }
  for module in xen-gntalloc xen-evtchn; do modprobe "$module"; done
  for device in gntalloc evtchn xenbus; do
    [ -c "/dev/xen/$device" ] || { say "no /dev/xen/$device"; return; }
  done
}

hostile_ends() { wait_until '! pidof hostile_guest > /dev/null' || say "hostile_guest does not end"; }
