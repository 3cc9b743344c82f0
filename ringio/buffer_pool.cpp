#include "ringio/buffer_pool.h"

#include <sys/mman.h>

#include <bit>
#include <cassert>
#include <utility>

namespace xenblk::ringio {

Expected<Arena> Arena::make(std::size_t bytes) {
  assert(bytes != 0);
  const std::size_t rounded =
      (bytes + BufferPool::kMaxBytes - 1) / BufferPool::kMaxBytes * BufferPool::kMaxBytes;
  void* address =
      ::mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return fail_os(errno, "memory for request buffers");
  // A wish, not a need: fewer and larger pages make registration and grant copies cheaper.
  (void)::madvise(address, rounded, MADV_HUGEPAGE);
  // What guests read and write does not get into a core file.
  (void)::madvise(address, rounded, MADV_DONTDUMP);
  return Arena(std::span(static_cast<std::byte*>(address), rounded));
}

Arena::Arena(Arena&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}

Arena::~Arena() {
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

BufferPool::BufferPool(std::span<std::byte> memory)
    : memory_(memory), pages_(memory.size() / kPageBytes) {
  assert(!memory.empty() && memory.size() % kMaxBytes == 0);
  assert(reinterpret_cast<std::uintptr_t>(memory.data()) % kPageBytes == 0);
  free_.fill(kNone);
  constexpr std::size_t kStep = kMaxBytes / kPageBytes;
  for (std::size_t i = pages_.size(); i != 0; i -= kStep) {
    push_free(static_cast<PageIndex>(i - kStep), kOrders - 1);
  }
}

BufferPool::~BufferPool() {
  assert(pages_in_use_ == 0);
}

std::byte* BufferPool::take(std::size_t bytes) noexcept {
  assert(bytes != 0 && bytes <= kMaxBytes);
  const std::size_t pages = (bytes + kPageBytes - 1) / kPageBytes;
  const auto wanted = static_cast<std::uint8_t>(std::bit_width(pages - 1));
  std::uint8_t order = wanted;
  while (order < kOrders && free_[order] == kNone) ++order;
  if (order == kOrders) return nullptr;
  const PageIndex index = free_[order];
  remove_free(index);
  // The upper halves that are not needed become free pieces of their own.
  while (order > wanted) {
    --order;
    push_free(index + (PageIndex{1} << order), order);
  }
  pages_[index].role = Role::used_head;
  pages_[index].order = wanted;
  pages_in_use_ += std::size_t{1} << wanted;
  return memory_.data() + std::size_t{index} * kPageBytes;
}

void BufferPool::give_back(std::byte* buffer) noexcept {
  assert(buffer >= memory_.data() && buffer < memory_.data() + memory_.size());
  const auto offset = static_cast<std::size_t>(buffer - memory_.data());
  assert(offset % kPageBytes == 0);
  auto index = static_cast<PageIndex>(offset / kPageBytes);
  assert(pages_[index].role == Role::used_head);
  std::uint8_t order = pages_[index].order;
  pages_[index].role = Role::inside;
  pages_in_use_ -= std::size_t{1} << order;
  index = join(index, order);
  push_free(index, order);
}

// Joins the piece with its neighbour while that is free and of the same size.
BufferPool::PageIndex BufferPool::join(PageIndex index, std::uint8_t& order) noexcept {
  while (order + 1U < kOrders) {
    const PageIndex buddy = index ^ (PageIndex{1} << order);
    if (pages_[buddy].role != Role::free_head || pages_[buddy].order != order) break;
    remove_free(buddy);
    index &= ~(PageIndex{1} << order);
    ++order;
  }
  return index;
}

void BufferPool::push_free(PageIndex index, std::uint8_t order) noexcept {
  assert(index % (PageIndex{1} << order) == 0);
  assert(pages_[index].role == Role::inside);
  const PageIndex head = free_[order];
  pages_[index] = {Role::free_head, order, kNone, head};
  if (head != kNone) pages_[head].previous = index;
  free_[order] = index;
}

void BufferPool::remove_free(PageIndex index) noexcept {
  Page& page = pages_[index];
  assert(page.role == Role::free_head);
  if (page.previous != kNone) {
    pages_[page.previous].next = page.next;
  } else {
    assert(free_[page.order] == index);
    free_[page.order] = page.next;
  }
  if (page.next != kNone) pages_[page.next].previous = page.previous;
  page.role = Role::inside;
}

}  // namespace xenblk::ringio
