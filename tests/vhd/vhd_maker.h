// Makes VHD files as other programs do: with other creators, blocks in any order and with gaps,
// sectors that were never written, spare table entries, a batmap, a short footer. Whatever it
// writes is valid, unless the caller asks for something else.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "vhd/format/block_table.h"
#include "vhd/format/checksum.h"
#include "vhd/format/dynamic_header.h"
#include "vhd/format/footer.h"
#include "xenblk/io.h"

namespace xenblk::test {

struct MakerShape {
  vhd::DiskType type = vhd::DiskType::dynamic;
  SectorCount capacity;
  std::uint32_t block_bytes = 2U << 20;
  std::string_view creator = "win ";
  std::uint32_t creator_version = 0x000a0000;
  vhd::Uuid uuid = {std::byte{1}};
  std::uint32_t spare_entries = 0;
  std::uint64_t table_offset = 1536;
  bool batmap = false;
  bool short_footer = false;  // as before Virtual PC 2004
  // Differencing only: who the parent is. What the locators point at is written behind the table.
  vhd::Uuid parent_uuid = {};
  std::array<std::byte, 512> parent_name = {};
  std::vector<std::pair<std::uint32_t, std::vector<std::byte>>> locators;  // code and bytes
};

class VhdMaker {
 public:
  // Borrows an empty file that is open for writing.
  VhdMaker(File& file, const MakerShape& shape) : file_(file), shape_(shape) {
    blocks_.block_bytes = shape.block_bytes;
    const auto blocks = vhd::divide_up(shape.capacity.n, blocks_.block_sectors());
    table_.assign(blocks, vhd::kUnusedBlock);
    header_.table_offset = shape.table_offset;
    header_.block_bytes = shape.block_bytes;
    header_.entries_max = static_cast<std::uint32_t>(blocks) + shape.spare_entries;
    header_.parent_uuid = shape.parent_uuid;
    header_.parent_name = shape.parent_name;
    end_ = shape.table_offset + vhd::round_up(std::uint64_t{header_.entries_max} * 4, kSectorBytes);
    if (shape.type == vhd::DiskType::fixed) return;
    if (shape.batmap) add_batmap();
    for (std::size_t i = 0; i < shape.locators.size(); ++i) add_locator(i);
  }

  std::uint64_t block_count() const { return table_.size(); }
  std::uint64_t bitmap_bytes() const { return blocks_.bitmap_bytes(); }
  std::uint64_t end() const { return end_; }
  bool has(std::uint64_t block) const { return table_[block] != vhd::kUnusedBlock; }

  // `data` may be shorter than the block; the rest is left a hole.
  void add_block(std::uint64_t block, std::span<const std::byte> bits,
                 std::span<const std::byte> data, std::uint64_t gap_sectors = 0) {
    assert(!has(block) && bits.size() == bitmap_bytes() && data.size() <= shape_.block_bytes);
    const auto start = end_ + gap_sectors * kSectorBytes;
    table_[block] = static_cast<std::uint32_t>(start / kSectorBytes);
    write(start, bits);
    if (!data.empty()) write(start + bits.size(), data);
    end_ = start + blocks_.stride_bytes();
  }

  // Footers, header and table: the image is complete.
  void close(std::uint64_t gap_sectors = 0) {
    const auto footer = write_footer(footer_of());
    const auto length = vhd::kFooterBytes - (shape_.short_footer ? 1 : 0);
    const auto at_end = std::span(footer).first(length);
    if (shape_.type == vhd::DiskType::fixed) return write(shape_.capacity.n * kSectorBytes, at_end);
    write(0, footer);
    write(vhd::kFooterBytes, vhd::write_dynamic_header(header_));
    std::vector<std::byte> bytes(
        vhd::round_up(std::uint64_t{header_.entries_max} * 4, kSectorBytes), std::byte{0xff});
    vhd::write_block_table(std::span(bytes).first(table_.size() * 4), table_);
    write(shape_.table_offset, bytes);
    write(end_ + gap_sectors * kSectorBytes, at_end);
  }

  vhd::Footer footer_of() const {
    vhd::Footer footer;
    footer.type = shape_.type;
    footer.data_offset = shape_.type == vhd::DiskType::fixed ? vhd::kNoOffset : vhd::kFooterBytes;
    std::ranges::copy(shape_.creator.substr(0, 4), footer.creator.begin());
    footer.creator_version = shape_.creator_version;
    footer.original_bytes = footer.current_bytes = shape_.capacity.n * kSectorBytes;
    footer.geometry = vhd::kGeometryMax;  // so that every creator means the size
    footer.uuid = shape_.uuid;
    return footer;
  }

 private:
  void write(std::uint64_t offset, std::span<const std::byte> bytes) {
    [[maybe_unused]] const auto ok = file_.write_at(offset, bytes);
    assert(ok);
  }

  void add_batmap() {
    const auto map_bytes =
        vhd::round_up(std::max<std::uint64_t>(1, vhd::divide_up(table_.size(), 8)), kSectorBytes);
    std::vector<std::byte> header(kSectorBytes);
    std::memcpy(header.data(), "tdbatmap", 8);
    vhd::store_big_endian<std::uint64_t>(header, 8, end_ + kSectorBytes);
    vhd::store_big_endian<std::uint32_t>(header, 16,
                                         static_cast<std::uint32_t>(map_bytes / kSectorBytes));
    vhd::store_big_endian<std::uint32_t>(header, 20, 0x00010002);
    vhd::store_big_endian<std::uint32_t>(header, 24, ~std::uint32_t{0});
    write(end_, header);
    write(end_ + kSectorBytes, std::vector<std::byte>(map_bytes));
    end_ += kSectorBytes + map_bytes;
  }

  void add_locator(std::size_t slot) {
    const auto& [code, bytes] = shape_.locators[slot];
    const auto space = vhd::round_up(std::max<std::uint64_t>(1, bytes.size()), kSectorBytes);
    header_.locators[slot] = {code, static_cast<std::uint32_t>(space),
                              static_cast<std::uint32_t>(bytes.size()), end_};
    std::vector<std::byte> whole(space);
    std::ranges::copy(bytes, whole.begin());
    write(end_, whole);
    end_ += space;
  }

  File& file_;
  const MakerShape shape_;
  vhd::BlockShape blocks_;
  vhd::DynamicHeader header_;
  std::vector<std::uint32_t> table_;
  std::uint64_t end_ = 0;
};

}  // namespace xenblk::test
