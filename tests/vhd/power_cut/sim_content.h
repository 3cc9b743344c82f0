// What a simulated file holds at one moment: its bytes, and which of its pages are no hole. Flat
// memory, so that a moment of the past is rebuilt in the time that its changes take; what was done
// since mark() can be taken back. Single-threaded; files are small.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "xenblk/units.h"

namespace xenblk::power_cut {

class SimContent {
 public:
  std::uint64_t size_bytes() const { return size_bytes_; }
  std::uint64_t data_pages() const { return data_pages_; }

  void write(std::uint64_t offset, std::span<const std::byte> data) {
    if (data.empty()) return;
    size_bytes_ = std::max(size_bytes_, offset + data.size());
    make_room(size_bytes_);
    for (auto page = offset / kPageBytes; page <= (offset + data.size() - 1) / kPageBytes; ++page) {
      save(page);
      set_data(page, true);
    }
    std::memcpy(bytes_.data() + offset, data.data(), data.size());
  }

  // As fallocate: whole pages become holes, parts of pages become zeroes.
  void punch(std::uint64_t offset, std::uint64_t bytes) {
    zero(offset, std::min(offset + bytes, std::max(size_bytes_, offset)));
  }

  void resize(std::uint64_t bytes) {
    if (bytes < size_bytes_) zero(bytes, round_up_to_page(size_bytes_));
    size_bytes_ = bytes;
    make_room(bytes);
  }

  // Bytes that lie beyond the end are zeroes here; the caller knows the size.
  void read(std::uint64_t offset, std::span<std::byte> buffer) const {
    const auto there = offset < bytes_.size() ? bytes_.size() - offset : 0;
    const auto copied = std::min<std::uint64_t>(there, buffer.size());
    if (copied > 0) std::memcpy(buffer.data(), bytes_.data() + offset, copied);
    std::ranges::fill(buffer.subspan(copied), std::byte{0});
  }

  std::uint64_t next_data(std::uint64_t offset) const {
    for (auto page = offset / kPageBytes; page * kPageBytes < size_bytes_; ++page) {
      if (is_data_[page] != 0) return std::max(offset, page * kPageBytes);
    }
    return size_bytes_;
  }

  std::uint64_t next_hole(std::uint64_t offset) const {
    for (auto page = offset / kPageBytes; page * kPageBytes < size_bytes_; ++page) {
      if (is_data_[page] == 0) return std::max(offset, page * kPageBytes);
    }
    return size_bytes_;
  }

  // From here on everything can be taken back, once.
  void mark() {
    assert(!marked_);
    marked_ = true;
    size_at_mark_ = size_bytes_;
    ++generation_;
  }
  void back_to_mark() {
    assert(marked_);
    marked_ = false;
    for (std::size_t i = 0; i < saved_.size(); ++i) {
      const auto [page, data] = saved_[i];
      std::memcpy(bytes_.data() + page * kPageBytes, saved_bytes_.data() + i * kPageBytes,
                  kPageBytes);
      set_data(page, data);
    }
    saved_.clear();
    size_bytes_ = size_at_mark_;
  }
  // Keeps what was done since.
  void forget_mark() {
    assert(marked_);
    marked_ = false;
    saved_.clear();
  }

 private:
  struct Saved {
    std::uint64_t page = 0;
    bool data = false;
  };

  static std::uint64_t round_up_to_page(std::uint64_t bytes) {
    return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  }

  void zero(std::uint64_t start, std::uint64_t end) {
    while (start < end) {
      const auto page = start / kPageBytes;
      const auto part = std::min(end, (page + 1) * kPageBytes) - start;
      if (is_data_[page] != 0) {
        save(page);
        std::memset(bytes_.data() + start, 0, part);
        if (part == kPageBytes) set_data(page, false);
      }
      start += part;
    }
  }

  void set_data(std::uint64_t page, bool data) {
    data_pages_ = data_pages_ + (data ? 1 : 0) - is_data_[page];
    is_data_[page] = data ? 1 : 0;
  }

  void save(std::uint64_t page) {
    if (!marked_ || saved_in_[page] == generation_) return;
    saved_in_[page] = generation_;
    saved_.push_back({page, is_data_[page] != 0});
    if (saved_bytes_.size() < saved_.size() * kPageBytes) {
      saved_bytes_.resize(std::max(saved_.size() * kPageBytes, saved_bytes_.size() * 2));
    }
    std::memcpy(saved_bytes_.data() + (saved_.size() - 1) * kPageBytes,
                bytes_.data() + page * kPageBytes, kPageBytes);
  }

  void make_room(std::uint64_t bytes) {
    assert(bytes <= kBytesMax);
    if (bytes <= bytes_.size()) return;
    const auto room = round_up_to_page(std::max<std::uint64_t>(bytes, bytes_.size() * 2));
    bytes_.resize(room);
    is_data_.resize(room / kPageBytes);
    saved_in_.resize(room / kPageBytes);
  }

  // A file that grows beyond this has lost its way.
  static constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 30;

  std::uint64_t size_bytes_ = 0;
  std::vector<std::byte> bytes_;  // whole pages; zeroes where there is no data
  std::vector<std::uint8_t> is_data_;
  std::uint64_t data_pages_ = 0;
  bool marked_ = false;
  std::uint64_t size_at_mark_ = 0;
  std::uint32_t generation_ = 0;
  std::vector<std::uint32_t> saved_in_;  // of a page: the last mark for which it was saved
  std::vector<Saved> saved_;
  std::vector<std::byte> saved_bytes_;
};

}  // namespace xenblk::power_cut
