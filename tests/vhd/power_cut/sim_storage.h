// Files on a simulated disk: everything that happens to them follows from a seed. Operations
// complete in any order and may fail, and at any moment the storage can become, and take back, what
// would be there after the process was killed or the power was cut. Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <vector>

#include "tests/vhd/power_cut/sim_content.h"
#include "tests/vhd/test_engine.h"
#include "xenblk/io.h"

namespace xenblk::power_cut {

using SimContents = std::vector<SimContent>;  // of all files, by their number

enum class ChangeKind : std::uint8_t {
  write,
  punch,
  resize,
  replace,  // a name is given to another file, or taken away: all of it at once
};

struct SimChange {
  ChangeKind kind = ChangeKind::write;
  std::size_t file = 0;
  std::uint64_t offset = 0;  // of a resize: the new size
  std::uint64_t bytes = 0;
  std::vector<std::byte> data;   // write, replace
  std::uint64_t number = 0;      // in the order of completion
  std::uint64_t size_after = 0;  // of the file
  unsigned syncs_outlived = 0;
  std::span<const std::byte> content() const { return data; }
};

// How much of what is not yet promised a crash leaves.
enum class Remains : std::uint8_t { nothing, everything, all_but_one, one_alone, any };

class SimStorage {
 public:
  explicit SimStorage(std::uint64_t seed) : SimStorage(seed, SimContents(1)) {}
  SimStorage(std::uint64_t seed, SimContents contents)
      : random_(seed), now_(contents), durable_(std::move(contents)) {}
  SimStorage(const SimStorage&) = delete;
  SimStorage& operator=(const SimStorage&) = delete;

  // --- what a test may set ---
  bool is_device = false;                        // a block device: its size never changes
  bool is_cached = false;                        // read and written through the page cache
  std::function<void()> on_change;               // after each change and sync: a moment to crash at
  std::function<int(const IoOp&)> fault;         // an errno to fail with, or 0; engines only
  std::uint64_t room_pages = ~std::uint64_t{0};  // beyond this: ENOSPC; engines only
  // A storage with a bug: a sync that is answered and does nothing, a change that syncs leave out.
  std::function<bool(std::size_t file, const std::vector<SimChange>& unsynced)> skips_sync;
  std::function<bool(SimChange&)> outlives_sync;

  // --- crashes: each returns the files as they would be, until crash_over() ---
  // The process dies: what completed is there, what was under way may be, in any part.
  SimContents& kill();
  // The power goes: of everything since the last sync, what `remains`.
  SimContents& power_cut(Remains remains);
  void crash_over();
  // Something could get lost or be there only in part.
  bool is_settled() const { return unsynced_.empty() && in_flight_.empty(); }

  const SimContents& contents() const { return now_; }
  const SimContent& content() const { return now_.front(); }
  std::mt19937_64& random() { return random_; }
  std::uint64_t random(std::uint64_t n) { return random_() % n; }

 private:
  friend class SimFile;
  friend class SimEngine;

  std::vector<const SimChange*> open_changes(std::vector<SimChange>& in_flight) const;
  void apply_part(SimContent& content, const SimChange& change, unsigned keep_of_eight);
  void change(SimChange change);
  void change_in_part(const SimChange& change);
  void sync(std::size_t file, std::uint64_t before);
  SimChange change_of(const IoOp& op) const;

  std::mt19937_64 random_;
  SimContents now_;
  SimContents durable_;
  SimContents* crashed_ = nullptr;
  std::vector<SimChange> unsynced_;
  std::vector<const IoOp*> in_flight_;  // that change something
  std::uint64_t changes_ = 0;
};

// The calls that block happen at once and do not fail.
class SimFile final : public File {
 public:
  SimFile(SimStorage& storage, Access access) : SimFile(storage, 0, access) {}
  SimFile(SimStorage& storage, std::size_t number, Access access)
      : storage_(storage), number_(number), access_(access) {}

  Expected<void> read_at(std::uint64_t offset, std::span<std::byte> buffer) override;
  Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> data) override;
  Expected<void> sync_data() override;
  // Nothing: no file.
  void replace(std::span<const std::byte> content);
  Expected<std::uint64_t> size_bytes() override { return content().size_bytes(); }
  Expected<void> truncate(std::uint64_t bytes) override;
  Expected<void> punch_hole(std::uint64_t offset, std::uint64_t bytes) override;
  Expected<std::uint64_t> next_data(std::uint64_t offset) override {
    return content().next_data(offset);
  }
  Expected<std::uint64_t> next_hole(std::uint64_t offset) override {
    return content().next_hole(offset);
  }
  bool is_block_device() const override { return storage_.is_device; }
  Access access() const override { return access_; }
  std::uint32_t alignment_bytes() const override { return storage_.is_cached ? 1 : kSectorBytes; }
  int descriptor() const override { return -1; }

  std::size_t number() const { return number_; }
  bool is_on(const SimStorage& storage) const { return &storage_ == &storage; }

 private:
  const SimContent& content() const { return storage_.now_[number_]; }

  SimStorage& storage_;
  std::size_t number_;
  Access access_;
};

// Completes one operation at a time, any of its own. Every file is a SimFile of the storage.
class SimEngine final : public test::TestEngine {
 public:
  explicit SimEngine(SimStorage& storage) : storage_(storage) {}
  ~SimEngine() override { assert(queue_.empty()); }

  void submit(IoOp& op) noexcept override;
  bool poll() override;
  std::size_t in_flight() const { return queue_.size(); }
  // Whoever asked has died: what was asked for is done all the same, in any order.
  void finish_unheard();

 private:
  struct Queued {
    IoOp* op = nullptr;
    std::uint64_t changes_before = 0;  // a sync covers these
  };
  std::int64_t perform(const Queued& queued);
  static std::int64_t read(const IoOp& op);
  std::int64_t fail(const IoOp& op, int error);

  SimStorage& storage_;
  std::vector<Queued> queue_;
};

}  // namespace xenblk::power_cut
