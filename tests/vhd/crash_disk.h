// A file on a simulated disk: everything that happens to it follows from a seed. Operations
// complete in any order, may fail, and at any moment the disk can tell what it would hold after the
// process was killed or the power was cut. Single-threaded.
#pragma once

#include <array>
#include <cassert>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "tests/vhd/test_engine.h"
#include "xenblk/io.h"

namespace xenblk::test {

using CrashSector = std::array<std::byte, kSectorBytes>;

// What a file holds: sectors that are not there are a hole.
struct CrashContent {
  std::map<std::uint64_t, CrashSector> sectors;
  std::uint64_t size_bytes = 0;

  void write(std::uint64_t sector, const CrashSector& data) { sectors[sector] = data; }
  void erase(std::uint64_t first, std::uint64_t count) {
    sectors.erase(sectors.lower_bound(first), sectors.lower_bound(first + count));
  }
  void resize(std::uint64_t bytes) {
    if (bytes < size_bytes) erase(bytes / kSectorBytes, ~std::uint64_t{0} - bytes / kSectorBytes);
    size_bytes = bytes;
  }
};

class CrashDisk {
 public:
  explicit CrashDisk(std::uint64_t seed) : random_(seed) {}
  CrashDisk(std::uint64_t seed, CrashContent content)
      : random_(seed), now_(content), durable_(std::move(content)) {}

  // --- what a test may change ---
  std::function<void()> on_change;        // after each completed change: a moment to crash at
  std::function<int(const IoOp&)> fault;  // an errno to fail with, or 0; engines only
  std::uint64_t room_sectors = ~std::uint64_t{0};  // more than this many is ENOSPC; engines only
  bool is_device = false;                          // a block device: its size never changes
  bool loses_syncs = false;                        // a disk that lies: sync does nothing

  // --- crashes ---
  // The process dies: what completed is there, what was under way may be, in any part.
  CrashContent after_kill() {
    auto content = now_;
    for (const auto* op : in_flight_) {
      if (op->kind == IoKind::write) apply_some(content, change_of(*op));
    }
    return content;
  }

  // The power goes: of everything since the last sync any part is there.
  CrashContent after_power_cut() {
    auto content = durable_;
    auto changes = unsynced_;
    for (const auto* op : in_flight_) {
      if (op->kind == IoKind::write) changes.push_back(change_of(*op));
    }
    const auto sizes_kept = random_() % (changes.size() + 1);
    const bool everything = random_() % 8 == 0;
    for (std::size_t i = 0; i < changes.size(); ++i) {
      everything ? apply(content, changes[i]) : apply_some(content, changes[i]);
    }
    if (is_device) return content;
    // The file's size is written on its own: it is what it was at some moment since the sync.
    auto size = durable_.size_bytes;
    for (std::size_t i = 0; i < (everything ? changes.size() : sizes_kept); ++i) {
      size =
          changes[i].kind == ChangeKind::resize ? changes[i].end : std::max(size, changes[i].end);
    }
    content.size_bytes = std::max(size, content.size_bytes);
    content.resize(size);
    return content;
  }

  const CrashContent& content() const { return now_; }
  std::mt19937_64& random() { return random_; }
  std::uint64_t changes() const { return changes_; }

 private:
  friend class CrashFile;
  friend class CrashEngine;

  enum class ChangeKind { write, punch, resize };
  struct Change {
    ChangeKind kind;
    std::uint64_t first = 0;
    std::vector<CrashSector> data;  // write
    std::uint64_t count = 0;        // punch
    std::uint64_t end = 0;          // the file reaches at least to here; its new size for a resize
  };

  static Change change_of(const IoOp& op) {
    if (op.kind == IoKind::punch_hole) {
      return {ChangeKind::punch, op.offset / kSectorBytes, {}, op.bytes / kSectorBytes, 0};
    }
    Change change{ChangeKind::write, op.offset / kSectorBytes, {}, 0, op.offset + op.bytes};
    change.data.resize(op.bytes / kSectorBytes);
    std::memcpy(change.data.data(), op.buffer, op.bytes);
    return change;
  }

  static void apply(CrashContent& content, const Change& change) {
    if (change.kind == ChangeKind::resize) return content.resize(change.end);
    if (change.kind == ChangeKind::punch) return content.erase(change.first, change.count);
    for (std::size_t i = 0; i < change.data.size(); ++i) {
      content.write(change.first + i, change.data[i]);
    }
    content.size_bytes = std::max(content.size_bytes, change.end);
  }

  // Each sector for itself, or none.
  void apply_some(CrashContent& content, const Change& change) {
    if (change.kind == ChangeKind::resize) return;
    const bool all = random_() % 3 == 0;
    if (!all && random_() % 3 == 0) return;
    if (change.kind == ChangeKind::punch) {
      for (std::uint64_t i = 0; i < change.count; i += 8) {
        if (all || random_() % 2 == 0)
          content.erase(change.first + i, std::min<std::uint64_t>(8, change.count - i));
      }
    }
    for (std::size_t i = 0; i < change.data.size(); ++i) {
      if (!all && random_() % 2 == 0) continue;
      content.write(change.first + i, change.data[i]);
      // The file reaches to what was written, until the caller decides on its size.
      content.size_bytes = std::max(content.size_bytes, (change.first + i + 1) * kSectorBytes);
    }
  }

  void change(Change change) {
    assert(!is_device || change.end <= now_.size_bytes);
    apply(now_, change);
    unsynced_.push_back(std::move(change));
    ++changes_;
    if (on_change) on_change();
  }

  // A failed write has written some of itself, and a later sync covers that like all else.
  void write_some(const Change& failed) {
    const auto part = random_() % (failed.data.size() + 1);
    for (std::size_t i = 0; i < part; ++i) {
      const auto s = random_() % failed.data.size();
      Change one{ChangeKind::write, failed.first + s, {failed.data[s]}, 0, 0};
      one.end = (one.first + 1) * kSectorBytes;
      apply(now_, one);
      unsynced_.push_back(std::move(one));
    }
  }

  // Makes durable what completed before the sync began.
  void sync(std::size_t count) {
    if (loses_syncs) return;
    for (std::size_t i = 0; i < count; ++i) apply(durable_, unsynced_[i]);
    unsynced_.erase(unsynced_.begin(), unsynced_.begin() + static_cast<std::ptrdiff_t>(count));
    for (auto& [op, seen] : syncs_) seen -= std::min(seen, count);
    ++changes_;
    if (on_change) on_change();
  }

  std::mt19937_64 random_;
  CrashContent now_;
  CrashContent durable_;
  std::vector<Change> unsynced_;
  std::vector<IoOp*> in_flight_;
  std::map<const IoOp*, std::size_t> syncs_;  // in flight: how many of `unsynced_` each covers
  std::uint64_t changes_ = 0;
};

// The calls that block happen at once and do not fail.
class CrashFile final : public File {
 public:
  CrashFile(CrashDisk& disk, Access access) : disk_(disk), access_(access) {}

  Expected<void> read_at(std::uint64_t offset, std::span<std::byte> buffer) override {
    const auto size = disk_.now_.size_bytes;
    if (buffer.size() > size || offset > size - buffer.size()) {
      return fail(Errc::bad_image, "the file ends early");
    }
    for (std::size_t done = 0; done < buffer.size();) {
      const auto at = offset + done;
      const auto skip = at % kSectorBytes;
      const auto part = std::min<std::size_t>(kSectorBytes - skip, buffer.size() - done);
      const auto found = disk_.now_.sectors.find(at / kSectorBytes);
      const auto* from = found == disk_.now_.sectors.end() ? kHole.data() : found->second.data();
      std::memcpy(buffer.data() + done, from + skip, part);
      done += part;
    }
    return {};
  }
  Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> data) override {
    assert(access_ == Access::read_write);
    assert(offset % kSectorBytes == 0 && data.size() % kSectorBytes == 0);
    CrashDisk::Change change{
        CrashDisk::ChangeKind::write, offset / kSectorBytes, {}, 0, offset + data.size()};
    change.data.resize(data.size() / kSectorBytes);
    std::memcpy(change.data.data(), data.data(), data.size());
    disk_.change(std::move(change));
    return {};
  }
  Expected<void> sync_data() override {
    disk_.sync(disk_.unsynced_.size());
    return {};
  }
  Expected<std::uint64_t> size_bytes() override { return disk_.now_.size_bytes; }
  Expected<void> truncate(std::uint64_t bytes) override {
    disk_.change({CrashDisk::ChangeKind::resize, 0, {}, 0, bytes});
    return {};
  }
  Expected<void> punch_hole(std::uint64_t offset, std::uint64_t bytes) override {
    disk_.change(
        {CrashDisk::ChangeKind::punch, offset / kSectorBytes, {}, bytes / kSectorBytes, 0});
    return {};
  }
  Expected<std::uint64_t> next_data(std::uint64_t offset) override {
    const auto found = disk_.now_.sectors.lower_bound(offset / kSectorBytes);
    if (found == disk_.now_.sectors.end()) return disk_.now_.size_bytes;
    return std::max(offset, found->first * kSectorBytes);
  }
  Expected<std::uint64_t> next_hole(std::uint64_t offset) override {
    auto sector = offset / kSectorBytes;
    while (disk_.now_.sectors.contains(sector)) ++sector;
    return std::min(std::max(offset, sector * kSectorBytes), disk_.now_.size_bytes);
  }
  bool is_block_device() const override { return disk_.is_device; }
  Access access() const override { return access_; }
  std::uint32_t alignment_bytes() const override { return kSectorBytes; }
  int descriptor() const override { return -1; }

 private:
  static constexpr CrashSector kHole = {};
  CrashDisk& disk_;
  Access access_;
};

// Completes one operation at a time, any of its own.
class CrashEngine final : public TestEngine {
 public:
  explicit CrashEngine(CrashDisk& disk) : disk_(disk) {}
  ~CrashEngine() override { assert(queue_.empty()); }

  void submit(IoOp& op) noexcept override {
    assert(op.done != nullptr);
    assert(op.kind == IoKind::sync_data ||
           (op.offset % kSectorBytes == 0 && op.bytes % kSectorBytes == 0));
    assert(op.buffer == nullptr || reinterpret_cast<std::uintptr_t>(op.buffer) % kSectorBytes == 0);
    if (op.kind == IoKind::sync_data) disk_.syncs_[&op] = disk_.unsynced_.size();
    queue_.push_back(&op);
    disk_.in_flight_.push_back(&op);
  }

  bool poll() override {
    const bool any = run_tasks();
    if (queue_.empty()) return any;
    const auto i = disk_.random_() % queue_.size();
    auto* op = queue_[i];
    queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(i));
    op->result = perform(*op);
    op->done(*op);
    return true;
  }

 private:
  void forget(IoOp& op) { std::erase(disk_.in_flight_, &op); }

  std::int64_t perform(IoOp& op) {
    const int error = disk_.fault ? disk_.fault(op) : 0;
    if (error != 0) {
      forget(op);
      disk_.syncs_.erase(&op);
      if (op.kind == IoKind::write) disk_.write_some(CrashDisk::change_of(op));
      return -error;
    }
    switch (op.kind) {
      case IoKind::read:
        forget(op);
        return read(op);
      case IoKind::write:
        return write(op);
      case IoKind::sync_data:
        return sync(op);
      case IoKind::punch_hole:
        forget(op);
        disk_.change(CrashDisk::change_of(op));
        return 0;
      case IoKind::allocate:
        break;
    }
    forget(op);
    return -EINVAL;
  }

  // Of any simulated file: the parents of an image lie on disks of their own.
  std::int64_t read(IoOp& op) {
    const auto size = op.file->size_bytes().value();
    const auto bytes = op.offset >= size ? 0 : std::min(op.bytes, size - op.offset);
    const auto ok = op.file->read_at(op.offset, {op.buffer, bytes});
    assert(ok);
    return static_cast<std::int64_t>(bytes);
  }

  std::int64_t write(IoOp& op) {
    forget(op);
    if (disk_.now_.sectors.size() + op.bytes / kSectorBytes > disk_.room_sectors) return -ENOSPC;
    disk_.change(CrashDisk::change_of(op));
    return static_cast<std::int64_t>(op.bytes);
  }

  std::int64_t sync(IoOp& op) {
    forget(op);
    const auto count = disk_.syncs_.at(&op);
    disk_.syncs_.erase(&op);
    disk_.sync(count);
    return 0;
  }

  CrashDisk& disk_;
  std::vector<IoOp*> queue_;
};

}  // namespace xenblk::test
