// A sparse file in memory that anything may be done to: pages are there once something was written
// to them, and there are only so many of them. Single-threaded.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "xenblk/io.h"

namespace xenblk::fuzz {

struct MemoryContent {
  using Page = std::array<std::byte, kPageBytes>;
  static constexpr std::size_t kPagesMax = 4096;
  static constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 62;
  // Reading and writing more than this at all is a file that fails: no input runs for long.
  static constexpr std::uint64_t kTransferMax = std::uint64_t{96} << 20;

  std::map<std::uint64_t, Page> pages;
  std::uint64_t size_bytes = 0;
  std::uint64_t transferred = 0;
  std::uint64_t transfer_max = kTransferMax;
  bool is_device = false;                // it keeps its size, and makes no holes
  std::optional<unsigned> changes_left;  // after so many the file fails

  bool is_used_up(std::uint64_t bytes) {
    transferred += bytes;
    return transferred > transfer_max;
  }
  bool may_change() {
    if (!changes_left) return true;
    if (*changes_left == 0) return false;
    --*changes_left;
    return true;
  }

  void read(std::uint64_t offset, std::span<std::byte> buffer) const {
    std::ranges::fill(buffer, std::byte{0});
    if (buffer.empty()) return;
    const auto end = offset + buffer.size();
    for (auto it = pages.lower_bound(offset / kPageBytes); it != pages.end(); ++it) {
      const auto start = it->first * kPageBytes;
      if (start >= end) break;
      const auto from = std::max(start, offset);
      const auto to = std::min(start + kPageBytes, end);
      std::memcpy(buffer.data() + (from - offset), it->second.data() + (from - start), to - from);
    }
  }

  // False when there is no room.
  bool write(std::uint64_t offset, std::span<const std::byte> data) {
    if (data.size() > kSizeMax || offset > kSizeMax - data.size()) return false;
    for (std::size_t done = 0; done < data.size();) {
      const auto at = offset + done;
      const auto skip = at % kPageBytes;
      const auto part = std::min<std::uint64_t>(kPageBytes - skip, data.size() - done);
      if (!write_page(at / kPageBytes, skip, data.subspan(done, part))) return false;
      done += part;
    }
    size_bytes = std::max(size_bytes, offset + data.size());
    return true;
  }

  void punch(std::uint64_t offset, std::uint64_t bytes) {
    const auto end = std::min(bytes > ~offset ? ~std::uint64_t{0} : offset + bytes, size_bytes);
    for (auto it = pages.lower_bound(offset / kPageBytes); it != pages.end();) {
      const auto start = it->first * kPageBytes;
      if (start >= end) break;
      const auto from = std::max(start, offset);
      const auto to = std::min(start + kPageBytes, end);
      std::memset(it->second.data() + (from - start), 0, to - from);
      const bool whole = to - from == kPageBytes;
      it = whole ? pages.erase(it) : std::next(it);
    }
  }

  void resize(std::uint64_t bytes) {
    if (bytes < size_bytes) punch(bytes, size_bytes - bytes);
    size_bytes = bytes;
  }

 private:
  // Zeroes do not make a page out of a hole.
  bool write_page(std::uint64_t number, std::uint64_t skip, std::span<const std::byte> data) {
    auto found = pages.find(number);
    if (found == pages.end()) {
      const bool zeroes = data.front() == std::byte{0} &&
                          std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
      if (zeroes) return true;
      if (pages.size() >= kPagesMax) return false;
      found = pages.try_emplace(number).first;
      found->second.fill(std::byte{0});
    }
    std::memcpy(found->second.data() + skip, data.data(), data.size());
    return true;
  }
};

// Borrows the content.
class MemoryFile final : public File {
 public:
  MemoryFile(MemoryContent& content, Access access) : content_(content), access_(access) {}

  Expected<void> read_at(std::uint64_t offset, std::span<std::byte> buffer) override {
    const auto size = content_.size_bytes;
    if (buffer.size() > size || offset > size - buffer.size()) {
      return fail(Errc::bad_image, "the file ends early");
    }
    if (content_.is_used_up(buffer.size())) return fail_os(EIO, "read");
    content_.read(offset, buffer);
    return {};
  }
  Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> data) override {
    if (content_.is_used_up(data.size()) || !content_.may_change()) return fail_os(EIO, "write");
    if (content_.is_device && offset + data.size() > content_.size_bytes) {
      return fail_os(ENOSPC, "write");
    }
    if (!content_.write(offset, data)) return fail_os(ENOSPC, "write");
    return {};
  }
  Expected<void> sync_data() override { return {}; }
  Expected<std::uint64_t> size_bytes() override { return content_.size_bytes; }
  Expected<void> truncate(std::uint64_t bytes) override {
    if (content_.is_device) return fail_os(EINVAL, "truncate");
    if (!content_.may_change()) return fail_os(EIO, "truncate");
    content_.resize(bytes);
    return {};
  }
  Expected<void> punch_hole(std::uint64_t offset, std::uint64_t bytes) override {
    if (content_.is_device) return fail_os(EOPNOTSUPP, "punch");
    if (!content_.may_change()) return fail_os(EIO, "punch");
    content_.punch(offset, bytes);
    return {};
  }
  Expected<std::uint64_t> next_data(std::uint64_t offset) override {
    const auto found = content_.pages.lower_bound(offset / kPageBytes);
    if (found == content_.pages.end()) return content_.size_bytes;
    return std::min(content_.size_bytes, std::max(offset, found->first * kPageBytes));
  }
  Expected<std::uint64_t> next_hole(std::uint64_t offset) override {
    auto page = offset / kPageBytes;
    while (content_.pages.contains(page)) ++page;
    return std::min(content_.size_bytes, std::max(offset, page * kPageBytes));
  }
  bool is_block_device() const override { return content_.is_device; }
  Access access() const override { return access_; }
  std::uint32_t alignment_bytes() const override { return kSectorBytes; }
  int descriptor() const override { return -1; }

 private:
  MemoryContent& content_;
  Access access_;
};

}  // namespace xenblk::fuzz
