// A guest that keeps its rings full of requests of every kind and knows what each sector must hold:
// what it wrote last and got an answer for. Requests in flight never overlap, so there is exactly
// one right answer to each read. One thread; works on rings whose backend is another process too,
// as all its memory is shared and all its grants are made before the first request.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "tests/ringio/guest_queue.h"

namespace xenblk::ringio::test {

struct CheckedGuestOptions {
  blkif::Layout layout = blkif::Layout::native;
  std::uint32_t ring_pages = 1;
  std::uint32_t queues = 1;
  std::uint32_t indirect_segments = 64;
  bool discard = true;
};

class CheckedGuest {
 public:
  static constexpr std::uint32_t kCells = 2048;  // of a page each: the disk
  static constexpr std::uint64_t kSectors = std::uint64_t{kCells} * kSectorsPerPage;

  CheckedGuest(loopback::LoopbackXen& xen, const CheckedGuestOptions& options, std::uint64_t seed)
      : options_(options), random_(seed), guest_(xen.create_domain({7}, kPages + 256)) {
    const auto pool = guest_->allocate_pages(kPages);
    for (std::uint32_t i = 0; i < kPages; ++i) {
      const auto memory = pool.subspan(std::size_t{i} * kPageBytes, kPageBytes);
      pages_.push_back({memory, guest_->grant(memory.data(), kBackend, Access::read_write)});
    }
    for (std::uint32_t i = 0; i < options.queues; ++i) {
      queues_.push_back(std::make_unique<GuestQueue>(guest_, options.layout, options.ring_pages));
      queues_.back()->next_id = (std::uint64_t{i} << 56) + 1;
    }
  }

  std::vector<std::unique_ptr<GuestQueue>>& queues() { return queues_; }
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  // Takes the answers that are there, checks them, and asks for more. The number of answers.
  std::size_t move() {
    std::size_t answers = take();
    for (auto& queue : queues_) {
      while (queue->ring.room() != 0 && below(8) != 0 && ask(*queue)) {
      }
      static_cast<void>(queue->ring.publish());
    }
    return answers;
  }
  // Only takes.
  std::size_t take() {
    std::size_t answers = 0;
    for (auto& queue : queues_) {
      while (const auto response = queue->ring.take_response()) ++answers, check(*response);
      EXPECT_EQ(queue->ring.violation().value_or("none"), "none");
    }
    return answers;
  }
  // Asks for all of the disk, one run after another; true when the last has been asked for.
  bool ask_for_all() {
    for (auto& queue : queues_) {
      while (queue->ring.room() != 0 && read_back_ < kCells && !pages_.empty()) {
        if (busy_[read_back_]) return false;
        ask(*queue, blkif::Op::read, read_back_++, 1);
      }
      static_cast<void>(queue->ring.publish());
    }
    return read_back_ == kCells;
  }
  std::size_t outstanding() const { return asked_.size(); }
  std::uint64_t verified_cells() const { return verified_; }
  std::array<std::uint64_t, 6> answered() const { return answered_; }

 private:
  static constexpr std::uint32_t kPages = 1024;
  struct Asked {
    blkif::Op op;
    std::uint32_t cell = 0, cells = 0;
    std::uint64_t tag = 0;  // of what is written
    std::vector<GuestPage> pages;
    std::optional<GuestPage> table;
  };

  bool ask(GuestQueue& queue) {
    using enum blkif::Op;
    constexpr std::array kinds{read, read, read, write, write, write, write, write};
    const auto choice = below(64);
    if (choice == 0) return ask_empty(queue, flush_diskcache);
    if (choice == 1) return ask_empty(queue, write_barrier);
    const bool large = below(8) == 0;
    const auto cells = static_cast<std::uint32_t>(
        1 + below(large ? options_.indirect_segments : blkif::kMaxSegments));
    const auto cell = static_cast<std::uint32_t>(below(kCells - cells));
    if (choice == 2 && options_.discard) return ask(queue, discard, cell, cells);
    if (choice == 3) return ask(queue, write_barrier, cell, std::min(cells, blkif::kMaxSegments));
    return ask(queue, kinds[choice % kinds.size()], cell, cells);
  }

  bool ask_empty(GuestQueue& queue, blkif::Op op) {
    asked_.emplace(queue.put(queue.transfer(op, 0, {})), Asked{.op = op});
    return true;
  }

  // False when there is no memory for it, or its place is in use.
  bool ask(GuestQueue& queue, blkif::Op op, std::uint32_t cell, std::uint32_t cells) {
    for (auto i = cell; i < cell + cells; ++i) {
      if (busy_[i]) return false;
    }
    Asked asked{.op = op, .cell = cell, .cells = cells, .tag = last_tag_ += kCells};
    const bool indirect = cells > blkif::kMaxSegments && op != blkif::Op::discard;
    if (op != blkif::Op::discard && !take_pages(asked, cells + (indirect ? 1 : 0))) return false;
    for (auto i = cell; i < cell + cells; ++i) busy_[i] = true;
    if (indirect) asked.table = asked.pages.back(), asked.pages.pop_back();
    prepare(asked);
    const auto request = request_of(queue, asked);
    asked_.emplace(queue.put(request), std::move(asked));
    return true;
  }

  bool take_pages(Asked& asked, std::uint32_t count) {
    if (pages_.size() < count) return false;
    for (; count != 0; --count) asked.pages.push_back(pages_.front()), pages_.pop_front();
    return true;
  }

  void prepare(Asked& asked) {
    std::uint32_t cell = asked.cell;
    for (auto& page : asked.pages) {
      asked.op == blkif::Op::read ? fill(page.memory, kGarbage)
                                  : fill(page.memory, asked.tag + cell);
      ++cell;
    }
  }

  loopback::FrontendRequest request_of(GuestQueue& queue, const Asked& asked) {
    const std::uint64_t sector = std::uint64_t{asked.cell} * kSectorsPerPage;
    std::vector<FrontendSegment> segments;
    for (const auto& page : asked.pages) segments.push_back({page.ref});
    if (asked.op == blkif::Op::discard) {
      auto request = queue.transfer(asked.op, sector, {});
      request.discard_count = {std::uint64_t{asked.cells} * kSectorsPerPage};
      return request;
    }
    if (!asked.table) return queue.transfer(asked.op, sector, segments);
    auto request = queue.transfer(blkif::Op::indirect, sector, {});
    request.indirect_op = wire(asked.op);
    request.indirect_segment_count = static_cast<std::uint16_t>(segments.size());
    request.indirect_refs[0] = asked.table->ref;
    auto at = asked.table->memory.begin();
    for (const auto& segment : segments) at = std::ranges::copy(loopback::encode(segment), at).out;
    return request;
  }

  void check(const RingResponse& response) {
    const auto found = asked_.find(response.id);
    ASSERT_NE(found, asked_.end());
    const Asked asked = std::move(found->second);
    asked_.erase(found);
    EXPECT_EQ(response.status, blkif::Status::okay) << "operation " << int{response.op};
    ++answered_[static_cast<std::size_t>(asked.op)];
    for (std::uint32_t i = 0; i < asked.cells; ++i) {
      const std::uint32_t cell = asked.cell + i;
      busy_[cell] = false;
      if (asked.op == blkif::Op::read) {
        check(cell, asked.pages[i].memory);
      } else if (asked.op == blkif::Op::discard) {
        discarded_[cell] = true;
      } else {
        tags_[cell] = asked.tag + cell, discarded_[cell] = false;
      }
    }
    for (const auto& page : asked.pages) pages_.push_back(page);
    if (asked.table) pages_.push_back(*asked.table);
  }

  // What was discarded may have become zeroes, in parts, or not.
  void check(std::uint32_t cell, std::span<const std::byte> memory) {
    ++verified_;
    for (std::size_t at = 0; at < memory.size(); at += sizeof(std::uint64_t)) {
      std::uint64_t word;
      std::memcpy(&word, memory.data() + at, sizeof word);
      const auto expected = word_of(tags_[cell], at);
      if (word == expected || (discarded_[cell] && word == 0)) continue;
      FAIL() << "cell " << cell << " byte " << at << " is " << word << ", not " << expected;
    }
  }

  static constexpr std::uint64_t kGarbage = ~std::uint64_t{0};
  // Never written: zeroes.
  static std::uint64_t word_of(std::uint64_t tag, std::size_t at) {
    return tag == 0 ? 0 : tag * 0x9e3779b97f4a7c15 + at;
  }
  static void fill(std::span<std::byte> memory, std::uint64_t tag) {
    for (std::size_t at = 0; at < memory.size(); at += sizeof(std::uint64_t)) {
      const auto word = word_of(tag, at);
      std::memcpy(memory.data() + at, &word, sizeof word);
    }
  }

  const CheckedGuestOptions options_;
  std::mt19937_64 random_;
  std::shared_ptr<loopback::GuestDomain> guest_;
  std::vector<std::unique_ptr<GuestQueue>> queues_;
  std::deque<GuestPage> pages_;  // that no request uses
  std::map<std::uint64_t, Asked> asked_;
  std::array<std::uint64_t, kCells> tags_ = {};
  std::array<bool, kCells> busy_ = {}, discarded_ = {};
  std::uint64_t last_tag_ = kCells;
  std::uint32_t read_back_ = 0;
  std::uint64_t verified_ = 0;
  std::array<std::uint64_t, 6> answered_ = {};
};

}  // namespace xenblk::ringio::test
