// What check says of damaged images, and that repair makes them whole without losing a block.
#include "vhd/operations/repair.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/vhd/forgery.h"
#include "tests/vhd/memory_store.h"
#include "tests/vhd/random_image.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/format/saved_metadata.h"
#include "vhd/host_file.h"

namespace xenblk::vhd {
namespace {

using test::SimDisk;
using test::SimFile;

std::string summary(const CheckReport& report) {
  std::string text;
  for (const auto& finding : report.findings) {
    text += std::string(name_of(finding.level)) + " " + std::string(finding.code) + ": " +
            finding.text + "\n";
  }
  return text;
}
std::string check(File& file, const CheckOptions& options = {}) {
  return summary(check_image(file, options).value());
}

class CheckAndRepair : public ::testing::Test {
 protected:
  std::string check_it() { return check(forgery_.file); }
  std::vector<std::string> repair_it() {
    auto report = repair_image(forgery_.file, store_);
    EXPECT_TRUE(report) << report.error().text;
    return report ? report->done : std::vector<std::string>{};
  }
  // Repaired once, it is clean, and a second repair finds nothing.
  void expect_repaired(const std::string& findings, const std::vector<std::string>& done) {
    EXPECT_EQ(check_it(), findings);
    EXPECT_EQ(repair_it(), done);
    EXPECT_EQ(check_it(), "");
    store_.saved.reset();
    EXPECT_EQ(repair_it(), std::vector<std::string>{});
    EXPECT_FALSE(store_.saved);
    EXPECT_EQ(forgery_.error(Access::read_write).text, "");
  }
  Forgery forgery_;
  test::MemoryStore store_;
};

TEST_F(CheckAndRepair, FindNothingInASoundImage) {
  expect_repaired("", {});
}
TEST_F(CheckAndRepair, GiveBackAMissingFooter) {
  forgery_.cut(forgery_.end);
  expect_repaired(
      "error footer_end_bad: footer at 0x201000: cookie is not 'conectix'; using the "
      "copy at 0x0\n",
      {"footer at 0x201200: written"});
}
TEST_F(CheckAndRepair, GiveBackAMissingCopy) {
  forgery_.write(0, test::Bytes(512));
  expect_repaired("error footer_copy_bad: footer at 0x0: cookie is not 'conectix'\n",
                  {"footer at 0x0: written from that at the end"});
}
TEST_F(CheckAndRepair, MakeFootersTheSame) {
  forgery_.footer.hidden = 1;
  forgery_.write_end();
  expect_repaired("warning footers_differ: the footers at 0x0 and 0x201200 differ\n",
                  {"footer at 0x0: made the same as that at the end"});
}
TEST_F(CheckAndRepair, ReplaceAFooterOfAnotherImage) {
  forgery_.footer.uuid[0] = std::byte{9};
  forgery_.write_end();
  expect_repaired("error footer_other_image: footer at 0x201200 is of another image; ignored\n",
                  {"footer at 0x201200: written"});
}
TEST_F(CheckAndRepair, GiveANewIdForNone) {
  forgery_.footer.uuid = {};
  forgery_.write_all();
  expect_repaired("warning uuid_null: footer: the unique id is 0\n",
                  {"footer: a new unique id", "footer at 0x201200: written"});
}
TEST_F(CheckAndRepair, CompleteALastBlockThatIsCut) {
  forgery_.write(4096 + 512, test::Bytes(512, std::byte{7}));
  forgery_.cut(kMiB);
  expect_repaired(
      "error footer_end_bad: footer at 0xffe00: cookie is not 'conectix'; using the copy at 0x0\n"
      "error last_block_cut: the file of 1048576 bytes ends within its last block\n",
      {"footer at 0x201200: written"});
  test::Bytes data(512);
  EXPECT_TRUE(forgery_.file.read_at(4096 + 512, data));
  EXPECT_EQ(data[0], std::byte{7});
}
TEST_F(CheckAndRepair, TakeBlocksOutOfTheTableThatCannotBeThere) {
  forgery_.set_entry(1, 0xffff);
  forgery_.set_entry(2, 1);
  forgery_.set_entry(3, 9);
  forgery_.end += 512;
  forgery_.write_end();
  expect_repaired(
      "error block_outside_file: BAT entry 1 is 0xffff: the block at 0x1fffe00 ends beyond the "
      "file's data at 0x201400\n"
      "error block_on_metadata: BAT entry 2 is 0x1: the block at 0x200 lies on metadata\n"
      "error blocks_overlap: BAT entry 3 is 0x9: the block at 0x1200 overlaps that of entry 0\n",
      {"BAT entry 1: 0xffff taken out of the table", "BAT entry 2: 0x1 taken out of the table",
       "BAT entry 3: 0x9 taken out of the table"});
}
TEST_F(CheckAndRepair, SaveTheMetadataThatIsReplaced) {
  forgery_.set_entry(1, 0xffff);
  test::Bytes table(512);
  ASSERT_TRUE(forgery_.file.read_at(kTable, table));
  repair_it();
  const auto saved = parse_saved_metadata(store_.saved.value()).value();
  EXPECT_EQ(saved.uuid, forgery_.footer.uuid);
  EXPECT_NE(std::ranges::find(saved.ranges, SavedRange{kTable, table}), saved.ranges.end());
}
TEST_F(CheckAndRepair, CorrectChecksumsThatAreAllThatIsWrong) {
  auto header = write_dynamic_header(forgery_.header);
  header[39] ^= std::byte{1};
  forgery_.write(512, header);
  auto footer = write_footer(forgery_.footer);
  footer[67] ^= std::byte{1};
  forgery_.write(0, footer);
  forgery_.write(forgery_.end, footer);
  repair_it();
  EXPECT_EQ(check_it(), "");
  EXPECT_EQ(forgery_.error(Access::read_write).text, "");
}
TEST_F(CheckAndRepair, DoNotTakeABlockForWhatAGuestWroteLikeAFooter) {
  forgery_.cut(forgery_.end);
  auto forged = forgery_.footer;
  forged.current_bytes = 4 * kMiB;
  forgery_.write(forgery_.end - 512, write_footer(forged));
  EXPECT_EQ(check_it(), "error footer_end_bad: a block covers the footer at 0x201000\n");
  EXPECT_EQ(repair_it(), std::vector<std::string>{"footer at 0x201200: written"});
  EXPECT_EQ(check_it(), "");
  test::Bytes data(512);
  EXPECT_TRUE(forgery_.file.read_at(forgery_.end - 512, data));
  EXPECT_TRUE(std::ranges::equal(data, write_footer(forged))) << "the guest's data";
}
TEST_F(CheckAndRepair, FindWhatIsRefusedForItsMaker) {
  std::ranges::copy(std::string_view("tap\0", 4), forgery_.footer.creator.begin());
  forgery_.footer.creator_version = 1;
  forgery_.write_all();
  EXPECT_EQ(forgery_.error(Access::read_only).text,
            "footer: made by blktap 0.1, whose bitmaps are different");
  EXPECT_EQ(check_it(),
            "error not_served: footer: made by blktap 0.1, whose bitmaps are different\n");
}
TEST_F(CheckAndRepair, FindWhatIsRefusedForItsMakerInTheFooterThatWouldBeKept) {
  auto footer = forgery_.footer;
  std::ranges::copy(std::string_view("tap\0", 4), footer.creator.begin());
  footer.creator_version = 1;
  forgery_.write(forgery_.end, write_footer(footer));
  EXPECT_EQ(forgery_.error(Access::read_only).text,
            "footer: made by blktap 0.1, whose bitmaps are different");
}
TEST_F(CheckAndRepair, SayWhyAnImageIsBeyondRepair) {
  forgery_.write(512, test::Bytes(1024));
  EXPECT_EQ(check_it(), "error header_bad: header at 0x200: cookie is not 'cxsparse'\n");
  EXPECT_EQ(repair_image(forgery_.file, store_).error().text,
            "header at 0x200: cookie is not 'cxsparse'");
  forgery_.write(0, test::Bytes(512));
  forgery_.write(forgery_.end, test::Bytes(512));
  EXPECT_EQ(check_it(),
            "error footer_bad: no valid VHD footer: at 0x201200 the cookie is not 'conectix'; at "
            "0x0 the cookie is not 'conectix'\n");
}
// Cut or padded by who copied it, so that the footer lies across sectors.
TEST(RepairFixed, GivesANewIdToAFileOfAnyLength) {
  constexpr std::uint64_t kEnd = kMiB + 100;
  SimDisk disk(1);
  SimFile file(disk, Access::read_write);
  ASSERT_TRUE(create_vhd(file, {.capacity = {kMiB / 512}, .type = DiskType::fixed}));
  auto footer = read_footers(file).value().chosen;
  footer.uuid = {};
  ASSERT_TRUE(file.truncate(kMiB));
  const auto bytes = write_footer(footer);
  ASSERT_TRUE(file.write_at(kEnd, bytes));
  test::MemoryStore store;
  const auto repaired = repair_image(file, store);
  ASSERT_TRUE(repaired) << repaired.error().text;
  EXPECT_EQ(repaired->done,
            (std::vector<std::string>{"footer: a new unique id", "footer at 0x100064 rewritten"}));
  const auto now = read_footers(file).value();
  EXPECT_EQ(now.end_offset, kEnd);
  EXPECT_NE(now.chosen.uuid, Uuid{});
  const auto saved = parse_saved_metadata(store.saved.value()).value();
  ASSERT_EQ(saved.ranges.size(), 1U);
  EXPECT_EQ(saved.ranges[0].offset, kEnd);
  EXPECT_TRUE(std::ranges::equal(saved.ranges[0].bytes, bytes));
}
TEST_F(CheckAndRepair, TellOfDataUnderClearBits) {
  forgery_.write(4096, test::Bytes(512));
  forgery_.write(4096 + 512 + 8 * 512, test::Bytes(512, std::byte{1}));
  EXPECT_EQ(check_it(),
            "warning data_under_clear_bits: block 0: data at 0x2200, where the bitmap says none\n");
  EXPECT_EQ(check(forgery_.file, {.bitmaps = false}), "");
}
TEST_F(CheckAndRepair, TellOfWhatIsUnusualAndLegal) {
  forgery_.footer.features = 0;
  forgery_.footer.saved_state = true;
  forgery_.footer.geometry = {1, 2, 3};
  forgery_.end += 4 * kMiB;
  forgery_.header.entries_max = 5;
  forgery_.set_entry(4, 77);
  forgery_.write_all();
  EXPECT_EQ(check_it(),
            "warning saved_state: footer: saved state is 1: a virtual machine was suspended; its "
            "size must not change\n"
            "info features_odd: footer: features are 0x0, not 0x2\n"
            "info geometry_odd: footer: the geometry 1/2/3 is not that of 8388608 bytes\n"
            "info space_unused: 4196352 bytes of the file belong to no block\n"
            "info block_beyond_size: BAT entry 4 is 0x4d, but the disk has 4 blocks\n");
}
TEST_F(CheckAndRepair, KnowBatmapsThatClaimTooMuch) {
  forgery_.footer.creator = {'t', 'a', 'p', '\0'};
  forgery_.footer.creator_version = 0x00010003;
  forgery_.write_all();
  BatmapHeaderBytes header = {};
  test::Bytes map(512);
  map[0] = std::byte{0x80};
  std::memcpy(header.data(), "tdbatmap", 8);
  store_big_endian<std::uint64_t>(header, 8, 0xa00);
  store_big_endian<std::uint32_t>(header, 16, 1);
  store_big_endian<std::uint32_t>(header, 20, 0x00010002);
  store_big_endian<std::uint32_t>(header, 24, batmap_checksum(map, 0x00010002));
  forgery_.write(0x800, header);
  forgery_.write(0xa00, map);
  forgery_.write(4096, test::Bytes(512));
  expect_repaired(
      "error batmap_stale: batmap: block 0 is marked as full, but its bitmap at 0x1000 is not\n",
      {"batmap: rebuilt"});
}
TEST_F(CheckAndRepair, LookForTheParent) {
  forgery_.footer.type = DiskType::differencing;
  forgery_.write_all();
  EXPECT_EQ(
      check_it(),
      "error parent_unnamed: header: neither a locator nor a name says where the parent is\n");
  forgery_.header.parent_name[1] = std::byte{'p'};
  forgery_.write_header();
  EXPECT_EQ(check_it(), "");
  Uuid found = {};
  const CheckOptions options{.find_parent = [&](const VhdLayout&) { return found; }};
  EXPECT_EQ(check(forgery_.file, options), "");
  found[0] = std::byte{1};
  EXPECT_EQ(check(forgery_.file, options),
            "error parent_mismatch: header: the parent's unique id is not that of the image that "
            "was found\n");
  const CheckOptions nowhere{.find_parent = [](const VhdLayout&) -> Expected<Uuid> {
    return fail(Errc::not_found, "/p.vhd", ENOENT);
  }};
  EXPECT_EQ(check(forgery_.file, nowhere),
            "error parent_missing: parent: /p.vhd: No such file or directory\n");
}
TEST_F(CheckAndRepair, CountWhatIsTooMuchToTell) {
  SimDisk disk(1);
  SimFile file(disk, Access::read_write);
  ASSERT_TRUE(create_vhd(file, {.capacity = {1000 * 8}, .block_bytes = 4096}));
  ASSERT_TRUE(file.write_at(kTable, test::Bytes(4096, std::byte{1})));
  const auto report = check_image(file).value();
  EXPECT_EQ(report.findings.size(), 101U);
  EXPECT_EQ(report.findings.back().text, "and 900 more");
}

TEST(Check, FindsNothingInTheLargestImage) {
  test::TempDir dir;
  ASSERT_TRUE(create_vhd_file(dir.path("a.vhd"), {.capacity = {kDynamicBytesMax / 512}}));
  auto file = std::move(open_host_file(dir.path("a.vhd"), {}).value());
  EXPECT_EQ(check(*file), "");
}

// Random damage to the metadata of a random image.
void damage(SimDisk& disk, const VhdLayout& layout) {
  SimFile file(disk, Access::read_write);
  auto& random = disk.random();
  const auto garbage = [&](std::uint64_t offset) {
    test::Bytes bytes(512);
    for (auto& byte : bytes) byte = static_cast<std::byte>(random());
    EXPECT_TRUE(file.write_at(offset, bytes));
  };
  const bool copy_goes = random() % 4 == 0;
  if (copy_goes) garbage(0);
  if (!copy_goes && random() % 3 == 0) garbage(layout.footers.end_offset);
  if (!copy_goes && random() % 4 == 0) {
    const auto cut = random() % 10 * 512;
    EXPECT_TRUE(file.truncate(layout.footers.end_offset - cut));
  }
  auto entries = layout.entries;
  for (auto n = random() % 6; n > 0; --n) {
    auto& entry = entries[random() % layout.block_count];
    const auto& other = entries[random() % layout.block_count];
    const std::array choices{static_cast<std::uint32_t>(random()),
                             static_cast<std::uint32_t>(random() % 16), other, other + 1,
                             other - 8};
    entry = choices[random() % choices.size()];
  }
  test::Bytes table(entries.size() * 4);
  write_block_table(table, entries);
  EXPECT_TRUE(file.write_at(layout.header.table_offset, table));
}

TEST(RepairProperty, AfterAnyDamageCheckIsCleanAndSoundBlocksReadAsBefore) {
  const auto base = test::base_seed();
  std::size_t quarantined = 0;
  for (int i = 0; i < test::seed_count(150); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    SCOPED_TRACE("XENBLK_TEST_SEED=" + std::to_string(seed));
    SimDisk disk(seed);
    test::make_random_image(disk, 64 * 8, 30);
    damage(disk, test::layout_on(disk));
    SimFile file(disk, Access::read_write);
    const auto footers = read_footers(file);
    if (!footers) continue;
    const auto damaged = read_damaged_layout(file, *footers).value();
    const auto before = test::blocks_of(disk, damaged);
    const auto bad = bad_entries_of(damaged);
    test::MemoryStore store;
    const auto report = repair_image(file, store);
    ASSERT_TRUE(report) << report.error().text;
    quarantined += report->quarantined.size();
    const auto checked = check_image(file).value();
    ASSERT_FALSE(checked.has_errors()) << summary(checked);
    const auto after = test::blocks_of(disk, test::layout_on(disk));
    for (std::size_t block = 0; block < after.size(); ++block) {
      if (std::ranges::find(bad, block, &BadEntry::block) != bad.end()) continue;
      // What a cut file had of a block is still there; the rest is zeroes.
      const bool cut = damaged.entries[block] != kUnusedBlock &&
                       damaged.shape.range(damaged.entries[block]).end() > footers->file_bytes;
      ASSERT_TRUE(cut || after[block] == before[block]) << "block " << block;
    }
    test::MemoryStore again;
    EXPECT_TRUE(repair_image(file, again)->done.empty());
    EXPECT_FALSE(again.saved);
  }
  EXPECT_GT(quarantined, 0U) << "XENBLK_TEST_SEED=" << base;
}

TEST(RepairProperty, CutAtAnyMomentItCanBeStartedAgain) {
  const auto base = test::base_seed();
  for (int i = 0; i < test::seed_count(20); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    SCOPED_TRACE("XENBLK_TEST_SEED=" + std::to_string(seed));
    SimDisk disk(seed);
    test::make_random_image(disk, 64 * 8, 30);
    damage(disk, test::layout_on(disk));
    SimFile file(disk, Access::read_write);
    if (!read_footers(file)) continue;
    ASSERT_TRUE(file.sync_data());
    disk.on_change = [&] {
      SimDisk after(seed, test::after_power_cut(disk));
      SimFile cut(after, Access::read_write);
      test::MemoryStore store;
      const auto report = repair_image(cut, store);
      ASSERT_TRUE(report) << report.error().text;
      EXPECT_FALSE(check_image(cut)->has_errors());
    };
    test::MemoryStore store;
    EXPECT_TRUE(repair_image(file, store));
  }
}

}  // namespace
}  // namespace xenblk::vhd
