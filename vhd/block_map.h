// Where every block is and what is known of its bitmap, in memory. Read by any thread without a
// lock; changed by one at a time (BlockJobs, under its lock).
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vhd/format/block_table.h"

namespace xenblk::vhd {

struct BlockIndex {
  std::uint64_t n = 0;
  auto operator<=>(const BlockIndex&) const = default;
};

enum class BlockState : std::uint8_t {
  unknown,  // allocated; its bitmap was not read yet
  fresh,    // has a place that the file's table does not tell yet: nothing in it counts
  partial,  // some sectors were never written: the bitmap must be asked
  full,     // all sectors are there: data needs no bitmap
};

class BlockMap {
 public:
  // `entries` may go beyond the last block to the end of a sector of the table; those are only
  // kept.
  BlockMap(std::span<const std::uint32_t> entries, std::uint64_t block_count)
      : entries_(entries.size()), states_(block_count), block_count_(block_count) {
    assert(block_count <= entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i) entries_[i].store(entries[i], kRelaxed);
  }

  std::uint64_t block_count() const { return block_count_; }
  std::uint64_t table_sectors() const { return entries_.size() / kEntriesPerSector; }

  // In one order with GracePeriods: who enters after a block was withdrawn does not see its entry.
  std::uint32_t entry(BlockIndex block) const {
    assert(block.n < block_count_);
    return entries_[block.n].load(std::memory_order_seq_cst);
  }
  bool is_allocated(BlockIndex block) const { return entry(block) != kUnusedBlock; }

  // Of an allocated block only.
  BlockState state(BlockIndex block) const {
    assert(block.n < block_count_);
    return states_[block.n].load(std::memory_order_acquire);
  }
  void set_state(BlockIndex block, BlockState state) {
    assert(is_allocated(block));
    states_[block.n].store(state, std::memory_order_release);
  }

  // A new block appears in this state: who sees the entry sees the state.
  void publish(BlockIndex block, std::uint32_t entry, BlockState state) {
    assert(!is_allocated(block) && entry != kUnusedBlock);
    states_[block.n].store(state, kRelaxed);
    entries_[block.n].store(entry, std::memory_order_release);
  }

  // Who has seen the entry before may still use it.
  void withdraw(BlockIndex block) {
    assert(is_allocated(block));
    entries_[block.n].store(kUnusedBlock, std::memory_order_seq_cst);
  }

  // As the file should have it.
  std::uint32_t entry_in_file(BlockIndex block) const {
    const bool fresh = is_allocated(block) && state(block) == BlockState::fresh;
    return fresh ? kUnusedBlock : entry(block);
  }

  // One sector of the table as the file should have it.
  void write_table_sector(std::uint64_t sector, std::span<std::byte, kSectorBytes> bytes) const {
    assert(sector < table_sectors());
    for (std::size_t i = 0; i < kEntriesPerSector; ++i) {
      const auto index = sector * kEntriesPerSector + i;
      const auto entry =
          index < block_count_ ? entry_in_file({index}) : entries_[index].load(kRelaxed);
      store_big_endian(bytes, i * sizeof(entry), entry);
    }
  }

 private:
  static constexpr auto kRelaxed = std::memory_order_relaxed;
  std::vector<std::atomic<std::uint32_t>> entries_;
  std::vector<std::atomic<BlockState>> states_;
  std::uint64_t block_count_;
};

}  // namespace xenblk::vhd
