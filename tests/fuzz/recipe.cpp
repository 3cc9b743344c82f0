#include "tests/fuzz/recipe.h"

#include <array>
#include <string_view>

#include "tests/vhd/power_cut/sector_model.h"
#include "tests/vhd/vhd_maker.h"
#include "vhd/format/parent_locator.h"

namespace xenblk::fuzz {
namespace {

struct Creator {
  std::string_view name;
  std::uint32_t version;
};
constexpr std::array kCreators{
    Creator{"xblk", 0x00010000},       Creator{"win ", 0x000a0000},
    Creator{{"tap\0", 4}, 0x00010003}, Creator{{"tap\0", 4}, 0x00010001},
    Creator{"qem2", 0x00050003},       Creator{"vpc ", 0x00050000},
    Creator{{"tap\0", 4}, 0x00000001},
};
// Most images are small, so that blocks, table sectors and the file's end meet.
constexpr std::array<std::uint32_t, 16> kBlockBytes{4096,  4096,     4096,     4096,     4096, 8192,
                                                    8192,  16384,    32768,    65536,    2048, 512,
                                                    65536, 1U << 19, 2U << 20, 16U << 20};
// Under sectors that were never written some programs leave what was on the disk before.
constexpr power_cut::SectorValue kStale = 0x5757575757575757;

bool is_refused(const test::MakerShape& shape) {
  return shape.creator_version == 0x00000001 && shape.type != vhd::DiskType::fixed;
}

// The child's capacity is its parent's, unless it gets one of its own: a table stays small.
void choose_parent(Reader& reader, const Built& below, test::MakerShape& shape) {
  const auto flags = reader.u8();
  const auto blocks = vhd::divide_up(below.capacity_sectors * kSectorBytes, shape.block_bytes);
  if (flags % 4 != 3 && blocks <= 1024) shape.capacity = {below.capacity_sectors};
  shape.type = vhd::DiskType::differencing;
  shape.uuid = uuid_of_level(below.level + 1);
  if (!below.raw) shape.parent_uuid = uuid_of_level(below.level);
  const auto name = name_of_level(below.level);
  const auto encoded = vhd::encode_parent({name, "/images/" + name}).value();
  const auto left_out = flags / 16U;
  if ((left_out & 8) == 0) shape.parent_name = encoded.name;
  for (const auto& locator : encoded.locators) {
    const bool there = (left_out >> locator.slot & 1) == 0 || left_out == 15;
    if (there) shape.locators.emplace_back(locator.code, locator.bytes);
  }
  if ((flags & 0x04) == 0) return;
  constexpr std::array<std::uint32_t, 6> kCodes{
      vhd::kLocatorRelative, vhd::kLocatorAbsolute, vhd::kLocatorUrl, 0x57693272, 0x4d616320, 1};
  const auto code = kCodes[reader.below(kCodes.size())];
  const auto bytes = std::as_bytes(reader.bytes(reader.u8() % 64));
  shape.locators.emplace_back(code, std::vector(bytes.begin(), bytes.end()));
}

test::MakerShape choose_shape(Reader& reader, const Built* below) {
  test::MakerShape shape;
  shape.uuid = uuid_of_level(0);
  shape.block_bytes = kBlockBytes[reader.below(kBlockBytes.size())];
  const auto creator = kCreators[reader.below(kCreators.size())];
  shape.creator = creator.name;
  shape.creator_version = creator.version;
  const auto flags = reader.u8();
  if (flags % 8 == 7) shape.type = vhd::DiskType::fixed;
  const auto block_sectors = shape.block_bytes / kSectorBytes;
  const auto blocks = 1 + ((flags & 0x08) != 0 ? reader.u16() % 1024U : reader.u8() % 24U);
  shape.capacity = {blocks * std::uint64_t{block_sectors} - reader.below(block_sectors)};
  shape.batmap = (flags & 0x10) != 0;
  shape.short_footer = (flags & 0x60) == 0x60;
  if ((flags & 0x80) != 0) {
    shape.spare_entries = reader.u8();
    shape.table_offset += reader.u8() % 16U * std::uint64_t{kSectorBytes};
  }
  if (below != nullptr) choose_parent(reader, *below, shape);
  return shape;
}

// Which sectors of a block are there: most often all or none.
bool is_present(unsigned pattern, std::uint64_t sector) {
  switch (pattern % 8) {
    case 0:
      return false;
    case 1:
    case 2:
    case 3:
      return true;
    case 4:
      return sector % 2 == 0;
    case 5:
      return sector < 1 + pattern / 8;
    case 6:
      return sector >= 1 + pattern / 8;
    default:
      return (sector * 2654435761U >> 7 & pattern) != 0;
  }
}

// At most so many sectors of a block hold data; large blocks are holes behind them.
constexpr std::uint64_t kFilledSectors = 24;

// No other level has the same there.
power_cut::SectorValue value_at(unsigned level, std::uint64_t sector) {
  return (power_cut::SectorValue{level} << 40) + sector + 1;
}

void put_sector(MemoryContent& content, std::uint64_t sector, Built& built) {
  std::array<std::byte, kSectorBytes> bytes;
  power_cut::fill_sector(bytes, value_at(built.level, sector));
  content.write(sector * kSectorBytes, bytes);
  built.sectors[sector] = value_at(built.level, sector);
}

void add_block(Reader& reader, test::VhdMaker& maker, std::uint64_t block, Built& built) {
  const auto pattern = reader.u8();
  const auto gap = reader.u8();
  std::vector<std::byte> bits(maker.bitmap_bytes());
  std::vector<std::byte> data(std::min(kFilledSectors, built.block_sectors) * kSectorBytes);
  for (std::uint64_t s = 0; s < built.block_sectors; ++s) {
    const bool present = is_present(pattern, s);
    if (present) bits[s / 8] |= std::byte{0x80} >> (s % 8);
    const auto sector = block * built.block_sectors + s;
    if (present) built.sectors.erase(sector);  // a hole is zeroes, whatever is below it
    if (s >= kFilledSectors) continue;
    const auto value = present ? value_at(built.level, sector) : kStale;
    power_cut::fill_sector(std::span(data).subspan(s * kSectorBytes).first<kSectorBytes>(), value);
    if (present && sector < built.capacity_sectors) built.sectors[sector] = value;
  }
  maker.add_block(block, bits, data, gap % 4 == 3 ? gap / 4 : 0);
}

void fix_checksum(MemoryContent& content, std::uint64_t offset, std::size_t bytes,
                  std::size_t checksum_offset) {
  if (offset > content.size_bytes || bytes > content.size_bytes - offset) return;
  std::vector<std::byte> part(bytes);
  content.read(offset, part);
  vhd::store_big_endian(std::span(part), checksum_offset, vhd::checksum_of(part, checksum_offset));
  content.write(offset, part);
}

void patch(Reader& reader, MemoryContent& content, std::uint64_t start, std::uint64_t bytes) {
  const auto offset = start + reader.below(std::max<std::uint64_t>(1, bytes));
  const auto length = std::size_t{1} << reader.below(4);
  content.write(offset, std::as_bytes(reader.bytes(length)));
}

Built build_level(Reader& reader, MemoryContent& content, const Built* below) {
  const auto shape = choose_shape(reader, below);
  MemoryFile file(content, Access::read_write);
  test::VhdMaker maker(file, shape);
  Built built{.capacity_sectors = shape.capacity.n,
              .block_sectors = shape.block_bytes / kSectorBytes,
              .refused = is_refused(shape)};
  if (below != nullptr) {
    built.level = below->level + 1;
    built.on_raw = below->raw || below->on_raw;
    built.refused = built.refused || below->refused;
    built.sectors = below->sectors;
    std::erase_if(built.sectors, [&](const auto& s) { return s.first >= built.capacity_sectors; });
  }
  const auto blocks = reader.u8() % 8;
  for (int i = 0; i < blocks; ++i) {
    const auto block = reader.below(maker.block_count());
    if (shape.type == vhd::DiskType::fixed) {
      put_sector(content, block, built);
    } else if (!maker.has(block)) {
      add_block(reader, maker, block, built);
    }
  }
  maker.close(shape.short_footer ? 0 : reader.u8() % 16U);
  return built;
}

}  // namespace

std::string name_of_level(unsigned level) {
  return std::to_string(level) + ".vhd";
}

vhd::Uuid uuid_of_level(unsigned level) {
  return {static_cast<std::byte>(level + 1)};
}

Built build_image(Reader& reader, MemoryContent& content) {
  return build_level(reader, content, nullptr);
}

Built build_child(Reader& reader, MemoryContent& content, const Built& below) {
  return build_level(reader, content, &below);
}

Built build_raw_disk(Reader& reader, MemoryContent& content) {
  Built built{.capacity_sectors = 1 + reader.u16() % 4096U, .raw = true};
  content.resize(built.capacity_sectors * kSectorBytes);
  for (auto sectors = reader.u8() % 32; sectors > 0; --sectors) {
    put_sector(content, reader.below(built.capacity_sectors), built);
  }
  return built;
}

void damage(Reader& reader, MemoryContent& content) {
  const auto damages = reader.u8() % 8;
  for (int i = 0; i < damages; ++i) {
    const auto end = content.size_bytes - std::min<std::uint64_t>(512, content.size_bytes);
    switch (reader.below(8)) {
      case 0:
        patch(reader, content, 0, 512);
        break;
      case 1:
      case 2:
        patch(reader, content, 512, 1024);
        break;
      case 3:
        patch(reader, content, 1536, 1024);
        break;
      case 4:
        patch(reader, content, end, 512);
        break;
      case 5:
        patch(reader, content, 0, content.size_bytes);
        break;
      case 6:
        content.resize(content.size_bytes -
                       std::min<std::uint64_t>(reader.u16(), content.size_bytes));
        break;
      default:
        content.resize(content.size_bytes + (reader.u32() >> reader.below(32)));
        break;
    }
  }
  const auto keep_wrong = reader.u8();
  if (keep_wrong % 16 != 1) fix_checksum(content, 0, 512, 64);
  if (keep_wrong % 16 != 2) fix_checksum(content, 512, 1024, 36);
  if (keep_wrong % 16 != 3 && content.size_bytes >= 512) {
    fix_checksum(content, content.size_bytes - 512, 512, 64);
  }
}

void build_raw(Reader& reader, MemoryContent& content) {
  while (!reader.empty()) {
    const auto offset = reader.u64() >> reader.below(64);
    content.write(offset, std::as_bytes(reader.bytes(reader.u16() % 1100U)));
  }
}

}  // namespace xenblk::fuzz
