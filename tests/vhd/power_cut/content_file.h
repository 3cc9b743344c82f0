// A file whose content is at hand: to look at what a crash left. Single-threaded.
#pragma once

#include "tests/vhd/power_cut/sim_content.h"
#include "xenblk/io.h"

namespace xenblk::power_cut {

// Borrows the content.
class ContentFile final : public File {
 public:
  ContentFile(SimContent& content, Access access, bool is_device = false)
      : content_(content), access_(access), is_device_(is_device) {}

  Expected<void> read_at(std::uint64_t offset, std::span<std::byte> buffer) override {
    const auto size = content_.size_bytes();
    if (buffer.size() > size || offset > size - buffer.size()) {
      return fail(Errc::bad_image, "the file ends early");
    }
    content_.read(offset, buffer);
    return {};
  }
  Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> data) override {
    assert(access_ == Access::read_write);
    content_.write(offset, data);
    return {};
  }
  Expected<void> sync_data() override { return {}; }
  Expected<std::uint64_t> size_bytes() override { return content_.size_bytes(); }
  Expected<void> truncate(std::uint64_t bytes) override {
    assert(access_ == Access::read_write);
    content_.resize(bytes);
    return {};
  }
  Expected<void> punch_hole(std::uint64_t offset, std::uint64_t bytes) override {
    assert(access_ == Access::read_write);
    content_.punch(offset, bytes);
    return {};
  }
  Expected<std::uint64_t> next_data(std::uint64_t offset) override {
    return content_.next_data(offset);
  }
  Expected<std::uint64_t> next_hole(std::uint64_t offset) override {
    return content_.next_hole(offset);
  }
  bool is_block_device() const override { return is_device_; }
  Access access() const override { return access_; }
  std::uint32_t alignment_bytes() const override { return kSectorBytes; }
  int descriptor() const override { return -1; }

 private:
  SimContent& content_;
  Access access_;
  bool is_device_;
};

}  // namespace xenblk::power_cut
