// Page-aligned buffers of one page to 1 MiB out of one arena, by the buddy method: sizes are powers
// of two, and a freed buffer joins its free neighbour at once, so that when all is free the largest
// size is there again. No allocation after construction; the bookkeeping lies outside of the
// buffers. One thread. Buffers are not cleared: whoever takes one copies out only what was read
// into it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk::ringio {

// Anonymous memory, huge pages where the system has them. Move-only, unmapped when destroyed.
class Arena {
 public:
  // Rounds up to a multiple of 1 MiB. Errors: no_memory.
  static Expected<Arena> make(std::size_t bytes);
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&&) = delete;
  ~Arena();
  std::span<std::byte> memory() const { return memory_; }

 private:
  explicit Arena(std::span<std::byte> memory) : memory_(memory) {}
  std::span<std::byte> memory_;
};

class BufferPool {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 20;
  static constexpr std::size_t kOrders = 9;  // 1 page << 0..8
  static_assert((std::size_t{kPageBytes} << (kOrders - 1)) == kMaxBytes);

  // Borrows `memory`: a multiple of kMaxBytes, aligned to a page.
  explicit BufferPool(std::span<std::byte> memory);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // At least `bytes` (1..kMaxBytes) bytes; null when no free piece is large enough.
  std::byte* take(std::size_t bytes) noexcept;
  void give_back(std::byte* buffer) noexcept;

  std::size_t size_bytes() const { return memory_.size(); }
  std::size_t bytes_in_use() const { return pages_in_use_ * kPageBytes; }

 private:
  using PageIndex = std::uint32_t;
  static constexpr PageIndex kNone = ~PageIndex{0};
  enum class Role : std::uint8_t { inside, free_head, used_head };
  // One for each page of the arena; meaningful for the first page of a piece only.
  struct Page {
    Role role = Role::inside;
    std::uint8_t order = 0;
    PageIndex previous = kNone, next = kNone;  // in the free list of this order
  };

  void push_free(PageIndex index, std::uint8_t order) noexcept;
  void remove_free(PageIndex index) noexcept;
  PageIndex join(PageIndex index, std::uint8_t& order) noexcept;

  std::span<std::byte> memory_;
  std::vector<Page> pages_;
  std::array<PageIndex, kOrders> free_;
  std::size_t pages_in_use_ = 0;
};

}  // namespace xenblk::ringio
