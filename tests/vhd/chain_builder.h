// Chains on simulated disks, and what a reader of them must see.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"
#include "vhd/open_vhd.h"

namespace xenblk::test {

struct ChildOptions {
  SectorCount capacity;
  std::uint32_t block_bytes = 16384;
  vhd::Uuid uuid = {std::byte{1}};
  vhd::Uuid parent_uuid = {std::byte{2}};
  std::string parent_path = "parent.vhd";
};

// An empty differencing image.
inline void make_child(File& file, const ChildOptions& options) {
  using namespace vhd;
  ASSERT_TRUE(create_vhd(
      file,
      {.capacity = options.capacity, .block_bytes = options.block_bytes, .uuid = options.uuid}));
  DynamicHeaderBytes bytes;
  ASSERT_TRUE(file.read_at(kFooterBytes, bytes));
  auto header = parse_dynamic_header(bytes).value();
  header.parent_uuid = options.parent_uuid;
  FooterBytes footer_bytes;
  ASSERT_TRUE(file.read_at(0, footer_bytes));
  auto footer = parse_footer(footer_bytes).value();
  footer.type = DiskType::differencing;
  auto end = file.size_bytes().value() - kFooterBytes;
  const auto parent = encode_parent({options.parent_path, "/" + options.parent_path}).value();
  header.parent_name = parent.name;
  for (const auto& data : parent.locators) {
    auto padded = data.bytes;
    padded.resize(round_up(padded.size(), kSectorBytes));
    ASSERT_TRUE(file.write_at(end, padded));
    header.locators[data.slot] = locator_for(data, end);
    end += padded.size();
  }
  ASSERT_TRUE(file.write_at(kFooterBytes, write_dynamic_header(header)));
  ASSERT_TRUE(file.write_at(0, write_footer(footer)));
  ASSERT_TRUE(file.write_at(end, write_footer(footer)));
  ASSERT_TRUE(file.sync_data());
}

// Grows a chain from its last parent up; each new image is written to at random.
class ChainBuilder {
 public:
  explicit ChainBuilder(std::uint64_t seed) : random_(seed) {}

  // Sectors of one number each, which no other sector of the chain has.
  void add_raw(std::uint64_t sectors) {
    auto& disk = disks_.emplace_back(random_());
    ASSERT_TRUE(levels_.empty());
    content_.resize(sectors * kSectorBytes);
    for (std::uint64_t s = 0; s < sectors; ++s) {
      if (random_() % 2 == 0) put_number(s);
    }
    SimFile file(disk, Access::read_write);
    ASSERT_TRUE(file.write_at(0, content_));
    add_level(disk, vhd::Format::raw);
  }
  void add_fixed(std::uint64_t sectors) {
    auto& disk = disks_.emplace_back(random_());
    SimFile file(disk, Access::read_write);
    ASSERT_TRUE(vhd::create_vhd(file, {.capacity = {sectors}, .type = vhd::DiskType::fixed}));
    ASSERT_TRUE(levels_.empty());
    write_at_random(disk, sectors, 10);
    add_level(disk, vhd::Format::vhd);
  }
  void add_dynamic(std::uint64_t sectors, std::uint32_t block_bytes, int writes) {
    auto& disk = disks_.emplace_back(random_());
    SimFile file(disk, Access::read_write);
    ASSERT_TRUE(vhd::create_vhd(file, {.capacity = {sectors}, .block_bytes = block_bytes}));
    ASSERT_TRUE(levels_.empty());
    write_at_random(disk, sectors, writes);
    add_level(disk, vhd::Format::vhd);
  }
  void add_child(std::uint64_t sectors, std::uint32_t block_bytes, int writes) {
    auto& disk = disks_.emplace_back(random_());
    SimFile file(disk, Access::read_write);
    make_child(file, {.capacity = {sectors}, .block_bytes = block_bytes});
    write_at_random(disk, sectors, writes);
    add_level(disk, vhd::Format::vhd);
  }

  const vhd::Levels& levels() const { return levels_; }
  // What a disk of this size on top of the chain holds.
  Bytes content(std::uint64_t sectors) const {
    auto content = content_;
    content.resize(sectors * kSectorBytes);
    return content;
  }
  std::mt19937_64& random() { return random_; }

 private:
  void put_number(std::uint64_t sector) {
    const auto number = (std::uint64_t{1} << 40) + ++last_number_;
    for (std::size_t word = 0; word < kSectorBytes; word += sizeof number) {
      std::memcpy(content_.data() + sector * kSectorBytes + word, &number, sizeof number);
    }
  }

  void write_at_random(SimDisk& disk, std::uint64_t sectors, int writes) {
    content_.resize(sectors * kSectorBytes);
    auto image = vhd::open_vhd_image(std::make_unique<SimFile>(disk, Access::read_write), 512, {},
                                     [&](const vhd::ParentReference&) { return levels_; });
    ASSERT_TRUE(image) << image.error().text;
    SimEngine engine(disk);
    BlockingDisk guest(**image, engine);
    for (int i = 0; i < writes; ++i) {
      const auto count = 1 + random_() % (random_() % 3 == 0 ? 200 : 10);
      const auto first = random_() % (sectors - count + 1);
      for (auto s = first; s < first + count; ++s) put_number(s);
      const auto from = content_.begin() + static_cast<std::ptrdiff_t>(first * kSectorBytes);
      const Bytes data(from, from + static_cast<std::ptrdiff_t>(count * kSectorBytes));
      ASSERT_EQ(guest.write(first, data), IoStatus::okay);
    }
    ASSERT_TRUE((*image)->finish());
  }

  void add_level(SimDisk& disk, vhd::Format format) {
    auto level = vhd::open_level(std::make_unique<SimFile>(disk, Access::read_only), format, 4096);
    ASSERT_TRUE(level) << level.error().text;
    levels_.insert(levels_.begin(), *level);
  }

  std::mt19937_64 random_;
  std::uint64_t last_number_ = 0;
  std::deque<SimDisk> disks_;
  vhd::Levels levels_;
  Bytes content_;
};

}  // namespace xenblk::test
