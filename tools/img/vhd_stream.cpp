#include "tools/img/vhd_stream.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>
#include <vector>

#include "vhd/format/block_table.h"
#include "vhd/operations/copy_runs.h"

namespace xenblk::img {
namespace {

using Bytes = std::vector<std::byte>;

// Keeps what is written to it, by offset: the metadata of a new image.
class RecordingFile final : public File {
 public:
  Expected<void> read_at(std::uint64_t, std::span<std::byte>) override { return refused(); }
  Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> data) override {
    parts[offset] = {data.begin(), data.end()};
    return {};
  }
  Expected<void> sync_data() override { return {}; }
  Expected<std::uint64_t> size_bytes() override { return 0; }
  Expected<void> truncate(std::uint64_t) override { return refused(); }
  Expected<void> punch_hole(std::uint64_t, std::uint64_t) override { return refused(); }
  Expected<std::uint64_t> next_data(std::uint64_t offset) override { return offset; }
  Expected<std::uint64_t> next_hole(std::uint64_t offset) override { return offset; }
  bool is_block_device() const override { return false; }
  Access access() const override { return Access::read_write; }
  std::uint32_t alignment_bytes() const override { return 1; }
  int descriptor() const override { return -1; }

  std::map<std::uint64_t, Bytes> parts;

 private:
  static std::unexpected<Error> refused() { return fail(Errc::refused, "a stream has no past"); }
};

class FixedVhdStream final : public StreamTarget {
 public:
  FixedVhdStream(int descriptor, SectorCount capacity, Bytes footer)
      : StreamTarget(descriptor, capacity), footer_(std::move(footer)) {}

 protected:
  int put_end() override { return write_all(footer_); }

 private:
  const Bytes footer_;
};

// What of the file is known before its data.
struct DynamicPlan {
  vhd::BlockShape shape;
  std::vector<bool> blocks;  // those that are in the file
  Bytes start;               // all before the first block
  Bytes footer;
};

// From the start of a block's slot to its bitmap, so that the data lies on a page.
std::uint64_t padding_bytes(const vhd::BlockShape& shape) {
  return vhd::round_up(shape.bitmap_bytes(), kPageBytes) - shape.bitmap_bytes();
}

class DynamicVhdStream final : public StreamTarget {
 public:
  DynamicVhdStream(int descriptor, SectorCount capacity, DynamicPlan plan)
      : StreamTarget(descriptor, capacity), plan_(std::move(plan)) {}

 protected:
  int put_data(std::span<const std::byte> data) override {
    while (!data.empty()) {
      const auto part = data.first(std::min<std::uint64_t>(data.size(), left_in_block()));
      int error = enter_block();
      if (error == 0 && is_stored()) error = write_all(part);
      // The source was to keep still while it is read.
      if (error == 0 && !is_stored() && !vhd::is_zero(part)) error = EIO;
      if (error != 0) return error;
      position_ += part.size();
      data = data.subspan(part.size());
    }
    return 0;
  }

  int put_zeroes(std::uint64_t bytes) override {
    while (bytes > 0) {
      const auto part = std::min(bytes, left_in_block());
      int error = enter_block();
      if (error == 0 && is_stored()) error = write_zeroes(part);
      if (error != 0) return error;
      position_ += part;
      bytes -= part;
    }
    return 0;
  }

  // The last block is whole, whatever the disk's size.
  int put_end() override {
    if (position_ % plan_.shape.block_bytes != 0) {
      if (const int error = put_zeroes(left_in_block()); error != 0) return error;
    }
    return write_all(plan_.footer);
  }

 private:
  std::uint64_t left_in_block() const {
    return plan_.shape.block_bytes - position_ % plan_.shape.block_bytes;
  }
  bool is_stored() const { return plan_.blocks[position_ / plan_.shape.block_bytes]; }

  // At a block's first byte: what lies before its data.
  int enter_block() {
    if (position_ == 0) {
      if (const int error = write_all(plan_.start); error != 0) return error;
    }
    if (position_ % plan_.shape.block_bytes != 0 || !is_stored()) return 0;
    if (const int error = write_zeroes(padding_bytes(plan_.shape)); error != 0) return error;
    return write_all(Bytes(plan_.shape.bitmap_bytes(), std::byte{0xff}));
  }

  const DynamicPlan plan_;
  std::uint64_t position_ = 0;  // on the disk
};

Expected<std::vector<bool>> blocks_with_data(Image& source, std::uint32_t block_bytes) {
  const auto capacity = source.info().capacity.n;
  const auto block_sectors = block_bytes / kSectorBytes;
  std::vector<bool> blocks(vhd::divide_up(capacity, block_sectors));
  for (std::uint64_t first = 0; first < capacity;) {
    const auto extent = source.extent_at({first});
    if (!extent) return std::unexpected(extent.error());
    const auto end = first + extent->count.n;
    if (extent->kind == ImageExtent::Kind::data) {
      for (auto block = first / block_sectors; block * block_sectors < end; ++block) {
        blocks[block] = true;
      }
    }
    first = end;
  }
  return blocks;
}

// Gives each block its place, and makes of the parts of an empty image the start of this one.
Expected<void> lay_out(DynamicPlan& plan, std::map<std::uint64_t, Bytes>& parts) {
  const auto footer = std::prev(parts.end());
  plan.footer = footer->second;
  const auto table_end = footer->first;
  parts.erase(footer);
  plan.start.resize(vhd::round_up(table_end, kPageBytes));
  for (const auto& [offset, bytes] : parts) {
    std::ranges::copy(bytes, plan.start.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  const auto slot_bytes =
      vhd::round_up(padding_bytes(plan.shape) + plan.shape.stride_bytes(), kPageBytes);
  auto next = plan.start.size() + padding_bytes(plan.shape);
  const auto table_offset = vhd::kFooterBytes + vhd::kDynamicHeaderBytes;
  const auto table = std::span(plan.start).subspan(table_offset);
  for (std::size_t block = 0; block < plan.blocks.size(); ++block) {
    if (!plan.blocks[block]) continue;
    if (next / kSectorBytes >= vhd::kUnusedBlock) {
      return fail(Errc::refused, "so many blocks of this size are more than a VHD can hold");
    }
    const auto entry = static_cast<std::uint32_t>(next / kSectorBytes);
    vhd::store_big_endian(table, block * sizeof(entry), entry);
    next += slot_bytes;
  }
  return {};
}

}  // namespace

Expected<std::unique_ptr<StreamTarget>> make_vhd_stream(int descriptor, Image& source,
                                                        const vhd::CreateOptions& options) {
  RecordingFile metadata;
  if (auto made = vhd::create_vhd(metadata, options); !made) return std::unexpected(made.error());
  if (options.type == vhd::DiskType::fixed) {
    return std::make_unique<FixedVhdStream>(descriptor, options.capacity,
                                            metadata.parts.rbegin()->second);
  }
  auto blocks = blocks_with_data(source, options.block_bytes);
  if (!blocks) return std::unexpected(blocks.error());
  DynamicPlan plan{.shape = {options.block_bytes}, .blocks = std::move(*blocks)};
  if (auto ok = lay_out(plan, metadata.parts); !ok) return std::unexpected(ok.error());
  return std::make_unique<DynamicVhdStream>(descriptor, options.capacity, std::move(plan));
}

}  // namespace xenblk::img
