// A file whose content is at hand, and an engine that does at once what it is asked: to look at
// what a crash left. Single-threaded.
#pragma once

#include "tests/vhd/power_cut/sim_content.h"
#include "tests/vhd/test_engine.h"

namespace xenblk::test {

// Borrows the content.
class ContentFile final : public File {
 public:
  ContentFile(SimContent& content, Access access) : content_(content), access_(access) {}

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
  bool is_block_device() const override { return false; }
  Access access() const override { return access_; }
  std::uint32_t alignment_bytes() const override { return kSectorBytes; }
  int descriptor() const override { return -1; }

 private:
  SimContent& content_;
  Access access_;
};

// For files of any kind: does an operation by the file's calls that block, in order.
class DirectEngine final : public TestEngine {
 public:
  ~DirectEngine() override { assert(queue_.empty()); }
  void submit(IoOp& op) noexcept override { queue_.push_back(op); }

  bool poll() override {
    bool any = run_tasks();
    IoOpList now;
    now.swap(queue_);
    while (!now.empty()) {
      auto& op = now.front();
      now.pop_front();
      op.result = perform(op);
      op.done(op);
      any = true;
    }
    return any;
  }

 private:
  static std::int64_t perform(const IoOp& op) {
    auto& file = *op.file;
    const auto bytes = static_cast<std::int64_t>(op.bytes);
    switch (op.kind) {
      case IoKind::read: {
        const auto size = file.size_bytes();
        if (!size) return -size.error().os_error;
        const auto there = op.offset >= *size ? 0 : std::min(op.bytes, *size - op.offset);
        const auto ok = file.read_at(op.offset, {op.buffer, there});
        return ok ? static_cast<std::int64_t>(there) : -EIO;
      }
      case IoKind::write:
        return file.write_at(op.offset, {op.buffer, op.bytes}) ? bytes : -EIO;
      case IoKind::sync_data:
        return file.sync_data() ? 0 : -EIO;
      case IoKind::punch_hole:
        return file.punch_hole(op.offset, op.bytes) ? 0 : -EIO;
      case IoKind::allocate:
        break;
    }
    return -EINVAL;
  }

  IoOpList queue_;
};

}  // namespace xenblk::test
