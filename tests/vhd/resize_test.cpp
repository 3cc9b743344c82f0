// Disks that grow and shrink: the content stays. What a power cut leaves of a fixed image; of
// others power_cut_test tells.
#include "vhd/operations/resize.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "tests/vhd/forgery.h"
#include "tests/vhd/memory_store.h"
#include "tests/vhd/random_image.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/format/saved_metadata.h"
#include "vhd/host_file.h"
#include "vhd/image_registry.h"
#include "vhd/operations/check.h"
#include "vhd/operations/snapshot.h"

namespace xenblk::vhd {
namespace {

using power_cut::SimContents;
using test::kSmallBlockSectors;
using test::SimDisk;
using test::SimFile;

std::string errors_of(File& file) {
  std::string text;
  const auto report = check_image(file).value();
  for (const auto& finding : report.findings) {
    if (finding.level != FindingLevel::info) text += finding.text + "\n";
  }
  return text;
}

class Resize : public ::testing::Test {
 protected:
  Error resize(std::uint64_t sectors) {
    auto resized = resize_image(forgery_.file, {sectors}, journal_);
    return resized ? Error{} : resized.error();
  }
  VhdLayout layout() { return test::layout_on(forgery_.disk); }
  void expect_size(std::uint64_t sectors) {
    EXPECT_FALSE(journal_.saved) << "a journal is left";
    EXPECT_EQ(layout().capacity.n, sectors);
    EXPECT_EQ(errors_of(forgery_.file), "");
    EXPECT_EQ(forgery_.error(Access::read_write).text, "");
  }
  Forgery forgery_;  // 8 MiB in four blocks of 2 MiB, the first allocated
  test::MemoryStore journal_;
};

TEST_F(Resize, GrowsWhereTheTableHasRoom) {
  forgery_.set_entry(5, 0);  // padding, as blktap leaves it
  ASSERT_EQ(resize(20000), Error{});
  expect_size(20000);
  const auto found = layout();
  EXPECT_EQ(found.header.table_offset, kTable);
  EXPECT_EQ(found.header.entries_max, 5U);
  EXPECT_EQ(found.entries[0], 8U);
  EXPECT_EQ(found.entries[4], kUnusedBlock);
  EXPECT_EQ(found.footers.end_offset, forgery_.end);
}
TEST_F(Resize, GrowsIntoTheGapBehindTheTable) {
  ASSERT_EQ(resize(600 * 4096), Error{});
  expect_size(600 * 4096);
  EXPECT_EQ(layout().header.table_offset, kTable);
  EXPECT_EQ(layout().entries[599], kUnusedBlock);
}
TEST_F(Resize, WritesATableThatHasNoRoomAtTheEnd) {
  ASSERT_EQ(resize(5000 * 4096), Error{});
  expect_size(5000 * 4096);
  const auto found = layout();
  EXPECT_EQ(found.header.table_offset, round_up(forgery_.end, 4096));
  EXPECT_EQ(found.entries[0], 8U);
  EXPECT_EQ(std::ranges::count(found.entries, kUnusedBlock), std::ranges::ssize(found.entries) - 1);
}
TEST_F(Resize, GivesSizesToReadersThatTakeTheGeometry) {
  forgery_.footer.creator = {'q', 'e', 'm', 'u'};
  forgery_.footer.geometry = geometry_of({16384});
  forgery_.write_all();
  ASSERT_EQ(resize(20000), Error{});
  expect_size(20000);
  EXPECT_EQ(layout().footers.chosen.creator_name(), "qemu");
}
TEST_F(Resize, ShrinksWhenTheTailIsEmpty) {
  ASSERT_EQ(resize(4096), Error{});
  expect_size(4096);
  ASSERT_EQ(resize(100), Error{});
  expect_size(100);
  ASSERT_EQ(resize(16384), Error{});
  expect_size(16384);
}
TEST_F(Resize, RefusesToLoseData) {
  forgery_.write(4096 + 512 + 200 * 512, test::Bytes(512, std::byte{1}));
  EXPECT_EQ(resize(200),
            (Error{Errc::refused, 0, "a disk of 200 sectors would lose the data of block 0"}));
  EXPECT_EQ(resize(201), Error{});
  Forgery other;
  other.set_entry(1, 8 + 4097);
  other.end += 4097 * 512;
  other.write_end();
  EXPECT_EQ(resize_image(other.file, {4096}, journal_).error(),
            (Error{Errc::refused, 0, "a disk of 4096 sectors would lose the data of block 1"}));
}
TEST_F(Resize, ShowsNothingOfWhatLayBeyondTheEnd) {
  ASSERT_EQ(resize(100), Error{});
  forgery_.write(4096 + 512 + 100 * 512, test::Bytes(512, std::byte{1}));
  ASSERT_EQ(resize(4096), Error{});
  test::Bytes data(512);
  ASSERT_TRUE(forgery_.file.read_at(4096 + 512 + 100 * 512, data));
  EXPECT_EQ(data, test::Bytes(512));
}
TEST_F(Resize, RefusesSizesThatTheFormatDoesNotHave) {
  EXPECT_EQ(resize(0), (Error{Errc::bad_spec, 0, "a disk of no size"}));
  EXPECT_EQ(resize((2040ULL << 21) + 1),
            (Error{Errc::bad_spec, 0,
                   "a disk of 4278190081 sectors is larger than 2190433320960 bytes"}));
  EXPECT_EQ(resize(~0ULL).code, Errc::bad_spec);
  EXPECT_FALSE(journal_.saved);
}
TEST_F(Resize, RefusesASavedState) {
  forgery_.footer.saved_state = true;
  forgery_.write_all();
  EXPECT_EQ(resize(20000), (Error{Errc::refused, 0,
                                  "footer: saved state is 1: the disk's size must not change while "
                                  "a virtual machine is suspended"}));
}
TEST_F(Resize, RefusesWhileAnotherOneIsToBeUndone) {
  journal_.saved.emplace();
  EXPECT_EQ(resize(20000).os_error, EEXIST);
}
TEST_F(Resize, TakesTheBatmapAlong) {
  forgery_.footer.creator = {'t', 'a', 'p', '\0'};
  forgery_.footer.creator_version = 0x00010003;
  forgery_.write_all();
  BatmapHeaderBytes header = {};
  std::memcpy(header.data(), "tdbatmap", 8);
  store_big_endian<std::uint64_t>(header, 8, 0xa00);
  store_big_endian<std::uint32_t>(header, 16, 1);
  store_big_endian<std::uint32_t>(header, 20, 0x00010002);
  store_big_endian<std::uint32_t>(header, 24, 0xffffffff);
  header[40] = std::byte{0x66};
  forgery_.write(0x800, header);
  ASSERT_EQ(resize(9000 * 4096), Error{});
  expect_size(9000 * 4096);
  const auto found = layout();
  ASSERT_TRUE(found.batmap);
  EXPECT_EQ(found.batmap->header.start, found.header.table_offset + round_up(9000 * 4, 512));
  EXPECT_EQ(found.batmap->map.bytes, batmap_bytes(9000 * 2 * kMiB));
  EXPECT_EQ(found.batmap->header_bytes[40], std::byte{0x66});
  EXPECT_FALSE(found.batmap->bits.empty());
}

class FixedResize : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vhd(file_, {.capacity = {100}, .type = DiskType::fixed}));
    ASSERT_TRUE(file_.write_at(5 * 512, test::Bytes(512, std::byte{5})));
    ASSERT_TRUE(file_.sync_data());
  }
  // The data is there, nothing else is, and the size is one of the two.
  void expect_disk(SimDisk& disk, const test::MemoryStore& journal, std::uint64_t one,
                   std::uint64_t other) {
    SimFile file(disk, Access::read_write);
    test::MemoryStore store(journal);
    const auto recovered = recover_resize(file, store);
    ASSERT_TRUE(recovered) << recovered.error().text;
    const auto footers = read_footers(file);
    ASSERT_TRUE(footers) << footers.error().text;
    EXPECT_TRUE(footers->warnings.empty());
    const auto sectors = footers->chosen.current_bytes / 512;
    EXPECT_TRUE(sectors == one || sectors == other) << sectors;
    for (std::uint64_t sector = 0; sector < disk.content().size_bytes() / 512; ++sector) {
      test::Bytes data(512);
      ASSERT_TRUE(file.read_at(sector * 512, data));
      const bool zero = std::ranges::count(data, std::byte{0}) == 512;
      EXPECT_EQ(!zero, sector == 5 || sector == sectors) << sector;
    }
  }
  SimDisk disk_{3};
  SimFile file_{disk_, Access::read_write};
};

TEST_F(FixedResize, KeepsTheDataWhereverItIsCut) {
  for (const std::uint64_t sectors : {101U, 5000U, 700U, 6U, 100U}) {
    const auto before = read_footers(file_).value().chosen.current_bytes / 512;
    test::MemoryStore journal;
    disk_.on_change = [&] {
      SimDisk after(1, test::after_power_cut(disk_));
      expect_disk(after, journal, before, sectors);
    };
    const auto resized = resize_image(file_, {sectors}, journal);
    disk_.on_change = {};
    ASSERT_TRUE(resized) << resized.error().text;
    expect_disk(disk_, journal, sectors, sectors);
  }
}
// The test of the test: without the journal the old footer may be left in the data.
TEST_F(FixedResize, NeedsItsJournal) {
  int broken = 0;
  test::MemoryStore journal;
  disk_.on_change = [&] {
    const auto content = test::after_power_cut(disk_).front();
    test::Bytes old_footer(512);
    content.read(100 * 512, old_footer);
    broken += content.size_bytes() > 101 * 512 && old_footer != test::Bytes(512);
  };
  ASSERT_TRUE(resize_image(file_, {5000}, journal));
  EXPECT_GT(broken, 0);
}
// Which ends amid a sector, as that of a raw disk of any length that got a footer.
TEST_F(FixedResize, NeverWritesOverTheOnlyFooter) {
  constexpr std::uint64_t kOddBytes = 100 * 512 + 164;
  auto footer = read_footers(file_).value().chosen;
  footer.current_bytes = footer.original_bytes = kOddBytes;
  ASSERT_TRUE(file_.truncate(100 * 512));
  ASSERT_TRUE(file_.write_at(kOddBytes, write_footer(footer)));
  test::MemoryStore journal;
  const auto resized = resize_image(file_, {101}, journal);
  EXPECT_EQ(resized ? Error{} : resized.error(),
            (Error{Errc::refused, 0,
                   "footer at 0xc8a4: that of a disk of 101 sectors would be written over it: "
                   "grow it by one sector more"}));
  const auto kept = read_footers(file_);
  ASSERT_TRUE(kept) << kept.error().text;
  EXPECT_EQ(kept->end_offset, kOddBytes);
  EXPECT_TRUE(resize_image(file_, {100}, journal)) << "which it has";
  EXPECT_EQ(read_footers(file_).value().end_offset, kOddBytes);
  for (const std::uint64_t sectors : {102U, 99U}) {
    ASSERT_TRUE(resize_image(file_, {sectors}, journal));
    expect_disk(disk_, journal, sectors, sectors);
  }
}
TEST_F(FixedResize, RefusesToLoseData) {
  test::MemoryStore journal;
  EXPECT_EQ(resize_image(file_, {5}, journal).error(),
            (Error{Errc::refused, 0, "a disk of 5 sectors would lose the data at 0xa00"}));
}

class Journal : public ::testing::Test {
 protected:
  std::string recover(const SavedMetadata& saved) {
    test::MemoryStore store;
    store.saved = encode(saved);
    const auto recovered = recover_resize(forgery_.file, store);
    return recovered ? "" : recovered.error().text;
  }
  Forgery forgery_;
};
constexpr std::string_view kJournal = "the journal of an interrupted change (.vhdj) ";

TEST_F(Journal, OfAnotherImageIsNotUsed) {
  EXPECT_EQ(recover({Uuid{std::byte{2}}, 0x201400, {{0x201200, test::Bytes(512)}}}),
            std::string(kJournal) + "is of another image");
}
TEST_F(Journal, WithoutAFooterIsNotUsed) {
  EXPECT_EQ(recover({Uuid{std::byte{1}}, 0x201400, {}}),
            std::string(kJournal) + "is damaged: it has no footer");
}
TEST_F(Journal, ThatIsDamagedIsNotUsed) {
  const SavedMetadata saved{Uuid{std::byte{1}}, 4096, {{0, test::Bytes(512)}}};
  const auto bytes = encode(saved);
  EXPECT_EQ(parse_saved_metadata(bytes).value(), saved);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto flipped = bytes;
    flipped[i] ^= std::byte{1};
    EXPECT_FALSE(parse_saved_metadata(flipped)) << i;
  }
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(parse_saved_metadata(std::span(bytes).first(n))) << n;
  }
}
TEST_F(Journal, IsLeftToAWriter) {
  test::MemoryStore store;
  store.saved.emplace();
  SimFile reader(forgery_.disk, Access::read_only);
  EXPECT_EQ(recover_resize(reader, store).error(),
            (Error{Errc::unsupported_image, 0,
                   "a change of its metadata was interrupted: open the image for writing once, "
                   "which undoes it"}));
}
TEST_F(Journal, IsAFileBesideTheImage) {
  test::TempDir dir;
  MetadataFile file(dir.path("a.vhd.vhdj"));
  EXPECT_EQ(file.load().value(), std::nullopt);
  const test::Bytes bytes(700, std::byte{3});
  ASSERT_TRUE(file.save(bytes));
  EXPECT_EQ(file.load().value(), bytes);
  EXPECT_EQ(file.save(bytes).error().os_error, EEXIST);
  EXPECT_TRUE(file.remove());
  EXPECT_TRUE(file.remove());
  EXPECT_EQ(file.load().value(), std::nullopt);
}

TEST(ResizeOnHost, GrowsAChildToTheLargestSizeAndKeepsItsParent) {
  test::TempDir dir;
  const auto path = dir.path("c.vhd");
  ASSERT_TRUE(create_vhd_file(dir.path("p.vhd"), {.capacity = {100}}));
  ASSERT_TRUE(make_snapshot({dir.path("p.vhd"), path, {}}, Format::vhd));
  auto file = std::move(open_host_file(path, {.access = Access::read_write}).value());
  MetadataFile journal(resize_journal_path(path));
  const auto resized = resize_image(*file, {kDynamicBytesMax / 512}, journal);
  ASSERT_TRUE(resized) << resized.error().text;
  const auto layout = read_vhd_layout(*file, read_footers(*file).value()).value();
  EXPECT_EQ(layout.capacity.n, kDynamicBytesMax / 512);
  EXPECT_EQ(layout.parents.candidates[0].path, "p.vhd");
  EXPECT_EQ(errors_of(*file), "");
}

TEST(ResizeOnHost, IsUndoneWhenTheImageIsOpened) {
  test::TempDir dir;
  const auto path = dir.path("a.vhd");
  ASSERT_TRUE(create_vhd_file(path, {.capacity = {100}, .uuid = Uuid{std::byte{1}}}));
  const auto before = test::file_bytes(path);
  const SavedMetadata saved{Uuid{std::byte{1}},
                            before.size(),
                            {{before.size() - 512, {before.end() - 512, before.end()}}}};
  ASSERT_TRUE(MetadataFile(path + ".vhdj").save(encode(saved)));
  std::filesystem::resize_file(path, before.size() + 4096);
  ASSERT_EQ(::symlink(path.c_str(), dir.path("link").c_str()), 0);
  ImageRegistry registry;
  EXPECT_EQ(registry.open({Format::vhd, path, {}}, Access::read_only).error().code,
            Errc::unsupported_image);
  auto image = registry.open({Format::vhd, dir.path("link"), {}}, Access::read_write);
  ASSERT_TRUE(image) << image.error().text;
  EXPECT_TRUE(registry.close(std::move(*image)));
  EXPECT_EQ(test::file_bytes(path), before);
  EXPECT_FALSE(std::filesystem::exists(path + ".vhdj"));
}

}  // namespace
}  // namespace xenblk::vhd
