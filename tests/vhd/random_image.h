// An image of small blocks with random content, on a simulated disk, and what is in it.
#pragma once

#include <array>
#include <cstdlib>
#include <random>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"
#include "vhd/open_vhd.h"
#include "vhd/vhd_layout.h"

namespace xenblk::test {

inline std::uint64_t base_seed() {
  const char* text = std::getenv("XENBLK_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

inline int seed_count(int usual) {
  const char* text = std::getenv("XENBLK_TEST_SEEDS");
  return text != nullptr ? std::atoi(text) : usual;
}

// What the file would be if the power went now.
inline power_cut::SimContents after_power_cut(SimDisk& disk) {
  using enum power_cut::Remains;
  constexpr std::array kKinds{nothing, everything, all_but_one, one_alone, any, any, any};
  auto contents = disk.power_cut(kKinds[disk.random(kKinds.size())]);
  disk.crash_over();
  for (auto& content : contents) content.forget_mark();
  return contents;
}

inline constexpr std::uint32_t kSmallBlockBytes = 4096;
inline constexpr std::uint32_t kSmallBlockSectors = kSmallBlockBytes / kSectorBytes;

inline vhd::VhdLayout layout_on(SimDisk& disk) {
  SimFile file(disk, Access::read_only);
  return vhd::read_vhd_layout(file, vhd::read_footers(file).value()).value();
}

// All sectors of the disk, straight from its blocks; what is not there is zero.
inline std::vector<Bytes> blocks_of(SimDisk& disk, const vhd::VhdLayout& layout) {
  SimFile file(disk, Access::read_only);
  std::vector<Bytes> blocks;
  for (std::uint64_t block = 0; block < layout.block_count; ++block) {
    Bytes data(layout.shape.block_bytes);
    const auto entry = layout.entries[block];
    const bool there = entry != vhd::kUnusedBlock &&
                       layout.shape.range(entry).end() <= disk.content().size_bytes();
    const auto read =
        there ? file.read_at(layout.shape.data_offset(entry), data) : Expected<void>{};
    EXPECT_TRUE(read);
    blocks.push_back(std::move(data));
  }
  return blocks;
}

// Some blocks of a disk of `sectors` sectors are written whole, in random order.
inline void make_random_image(SimDisk& disk, std::uint64_t sectors, unsigned blocks_written) {
  SimFile file(disk, Access::read_write);
  ASSERT_TRUE(vhd::create_vhd(file, {.capacity = {sectors},
                                     .block_bytes = kSmallBlockBytes,
                                     .uuid = vhd::Uuid{std::byte{1}},
                                     .created = vhd::VhdTime{1}}));
  auto image = vhd::open_vhd_image(std::make_unique<SimFile>(disk, Access::read_write), 512,
                                   {.extent_bytes = 64 * 1024});
  ASSERT_TRUE(image) << image.error().text;
  SimEngine engine(disk);
  BlockingDisk guest(**image, engine);
  for (unsigned i = 0; i < blocks_written; ++i) {
    const auto first = disk.random()() % (sectors / kSmallBlockSectors) * kSmallBlockSectors;
    Bytes data(kSmallBlockBytes);
    for (auto& byte : data) byte = static_cast<std::byte>(disk.random()());
    ASSERT_EQ(guest.write(first, data), IoStatus::okay);
  }
  ASSERT_TRUE((*image)->finish());
}

}  // namespace xenblk::test
