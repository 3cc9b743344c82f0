// Copying between images on simulated disks: what arrives, what is left out, and what is left
// behind when a disk fails.
#include "vhd/operations/copy.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/vhd/sim_image.h"
#include "vhd/operations/copy_runs.h"
#include "vhd/request.h"

namespace xenblk::vhd {
namespace {

using test::bytes_of;

constexpr std::uint64_t kSectors = 3 * 4096 + 1000;

class CopyTest : public ::testing::Test {
 protected:
  CopyTest() {
    engine_.add(source_);
    engine_.add(target_);
    options_.source_name = "source";
    options_.target_name = "target";
  }

  void make_source() {
    source_.make_raw(kSectors);
    source_.write(0, bytes_of(9, 1));
    source_.write(5000, bytes_of(3000, 2));
    source_.write(6000, bytes_of(512, 0));
    source_.write(kSectors - 1, bytes_of(1, 3));
  }
  void make_dynamic_target() { target_.make_vhd({.capacity = {kSectors}}); }

  Expected<void> copy() {
    Copy copy(*source_.image, *target_.image, engine_, options_);
    copy.start();
    EXPECT_FALSE(copy.is_finished()) << "finished inside start";
    while (!copy.is_finished()) {
      if (stop_after_bytes_ <= copy.progress().written_bytes) copy.stop();
      if (!engine_.poll()) break;
    }
    EXPECT_TRUE(copy.is_finished()) << "waits for nothing";
    progress_ = copy.progress();
    return copy.result();
  }
  std::string failure() {
    const auto result = copy();
    return result ? "none" : describe(result.error());
  }
  void expect_same_content() { EXPECT_TRUE(source_.content() == target_.content()); }

  test::SimImage source_{1};
  test::SimImage target_{2};
  test::SimEngines engine_;
  CopyOptions options_;
  CopyProgress progress_;
  std::uint64_t stop_after_bytes_ = ~std::uint64_t{0};
};

TEST_F(CopyTest, CopiesAllOfTheContent) {
  make_source();
  make_dynamic_target();
  options_.target_content = TargetContent::zeroes;
  ASSERT_TRUE(copy());
  expect_same_content();
  EXPECT_EQ(progress_.done.n, kSectors);
  EXPECT_EQ(progress_.total.n, kSectors);
}

TEST_F(CopyTest, NeitherReadsNorWritesWhatIsKnownToBeZero) {
  make_source();
  target_.make_raw(kSectors);
  options_.target_content = TargetContent::zeroes;
  std::uint64_t read_sectors = 0;
  source_.disk.fault = [&](const IoOp& op) {
    if (op.kind == IoKind::read) read_sectors += op.bytes / kSectorBytes;
    return 0;
  };
  ASSERT_TRUE(copy());
  // Whole pages are stored.
  EXPECT_EQ(read_sectors, 16U + 3000 + 8);
  // The 512 sectors of zeroes that are stored in the source become a hole.
  EXPECT_EQ(target_.stored_pages(), (16U + 3000 - 512 + 8) / 8);
  expect_same_content();
}

TEST_F(CopyTest, OfAnEmptyDiskIsOneFlush) {
  source_.make_raw(kSectors);
  target_.make_raw(kSectors);
  options_.target_content = TargetContent::zeroes;
  std::uint64_t syncs = 0;
  target_.disk.fault = [&](const IoOp& op) {
    EXPECT_EQ(op.kind, IoKind::sync_data);
    ++syncs;
    return 0;
  };
  ASSERT_TRUE(copy());
  EXPECT_EQ(syncs, 1U);
  EXPECT_EQ(progress_.done.n, kSectors);
}

TEST_F(CopyTest, PassesOverZeroesAtOnceHoweverManyThereAre) {
  class Endless final : public Image {
   public:
    const ImageInfo& info() const override { return info_; }
    void submit(ImageRequest&) noexcept override { ADD_FAILURE() << "nothing is to be read"; }
    Expected<ImageExtent> extent_at(SectorIndex first) override {
      return ImageExtent{ImageExtent::Kind::zero, {info_.capacity.n - first.n}};
    }
    Expected<void> finish() override { return {}; }

   private:
    ImageInfo info_{.format = "endless", .capacity = {std::uint64_t{1} << 53}};
  };
  source_.image = std::make_unique<Endless>();
  target_.make_raw(8);
  target_.image = std::make_unique<FlatImage>(
      std::make_unique<test::SimFile>(target_.disk, Access::read_write),
      ImageInfo{
          .format = "raw", .capacity = {std::uint64_t{1} << 53}, .access = Access::read_write});
  options_.target_content = TargetContent::zeroes;
  ASSERT_TRUE(copy());
  EXPECT_EQ(progress_.done.n, std::uint64_t{1} << 53);
}

TEST_F(CopyTest, MakesZeroesWhereTheTargetHasOtherThings) {
  make_source();
  target_.make_raw(kSectors);
  target_.write(0, bytes_of(kSectors, 0xff));
  ASSERT_TRUE(copy());
  expect_same_content();
}

// An image that cannot do everything.
class Limited : public Image {
 public:
  explicit Limited(std::unique_ptr<Image> image) : image_(std::move(image)) {}
  const ImageInfo& info() const override { return image_->info(); }
  void submit(ImageRequest& request) noexcept override { image_->submit(request); }
  Expected<ImageExtent> extent_at(SectorIndex first) override { return image_->extent_at(first); }
  Expected<void> finish() override { return image_->finish(); }

 private:
  std::unique_ptr<Image> image_;
};

class WithoutZeroes final : public Limited {
 public:
  using Limited::Limited;
  void submit(ImageRequest& request) noexcept override {
    if (request.op != ImageOp::write_zeroes) return Limited::submit(request);
    begin(request);
    answer_later(request, IoStatus::unsupported);
  }
};

class WithoutExtents final : public Limited {
 public:
  using Limited::Limited;
  Expected<ImageExtent> extent_at(SectorIndex) override {
    return fail(Errc::bad_image, "the table is gone");
  }
};

TEST_F(CopyTest, IntoAParentLeavesWhatTheSourceDoesNotStore) {
  source_.make_raw(kSectors);
  source_.write(4096, bytes_of(64, 0));
  source_.write(8192, bytes_of(64, 5));
  target_.make_raw(kSectors);
  target_.write(0, bytes_of(kSectors, 0xff));
  options_.target_content = TargetContent::parent;
  ASSERT_TRUE(copy());
  auto expected = bytes_of(kSectors, 0xff);
  std::ranges::fill_n(expected.begin() + 4096 * 512, 64 * 512, std::byte{0});
  std::ranges::fill_n(expected.begin() + 8192 * 512, 64 * 512, std::byte{5});
  EXPECT_TRUE(target_.content() == expected);
}

TEST_F(CopyTest, WritesZeroesWhereTheTargetCannotMakeThem) {
  make_source();
  target_.make_raw(kSectors);
  target_.write(0, bytes_of(kSectors, 0xff));
  target_.image = std::make_unique<WithoutZeroes>(std::move(target_.image));
  ASSERT_TRUE(copy());
  expect_same_content();
}

TEST_F(CopyTest, LeavesWhatLiesBehindTheSourcesEnd) {
  make_source();
  target_.make_raw(kSectors + 8);
  target_.write(kSectors, bytes_of(8, 9));
  ASSERT_TRUE(copy());
  const auto content = target_.content();
  EXPECT_TRUE(
      std::ranges::equal(std::span(content).subspan(kSectors * kSectorBytes), bytes_of(8, 9)));
}

TEST_F(CopyTest, RefusesATargetThatIsSmaller) {
  make_source();
  target_.make_raw(kSectors - 1);
  EXPECT_EQ(failure(), "target: 13287 sectors are too few for the 13288 of source");
  EXPECT_EQ(copy().error().code, Errc::refused);
}

TEST_F(CopyTest, SaysWhereReadingFailed) {
  make_source();
  target_.make_raw(kSectors);
  options_.target_content = TargetContent::zeroes;
  source_.disk.fault = [](const IoOp& op) {
    return op.kind == IoKind::read && op.offset == 5000 * kSectorBytes ? EIO : 0;
  };
  EXPECT_EQ(failure(), "source: cannot read 1144 sectors at sector 5000: Input/output error");
}

TEST_F(CopyTest, SaysWhereTheTargetWasFull) {
  make_source();
  make_dynamic_target();
  options_.target_content = TargetContent::zeroes;
  target_.disk.fault = [](const IoOp& op) {
    return op.kind == IoKind::write && op.bytes == 1000 * kSectorBytes ? ENOSPC : 0;
  };
  EXPECT_EQ(failure(), "target: cannot write 1000 sectors at sector 5000: No space left on device");
}

TEST_F(CopyTest, SaysThatTheFlushFailed) {
  source_.make_raw(8);
  target_.make_raw(8);
  target_.disk.fault = [](const IoOp& op) { return op.kind == IoKind::sync_data ? EIO : 0; };
  EXPECT_EQ(failure(), "target: cannot flush: Input/output error");
}

TEST_F(CopyTest, FailsWhenTheSourceCannotTellItsExtents) {
  make_source();
  target_.make_raw(kSectors);
  source_.image = std::make_unique<WithoutExtents>(std::move(source_.image));
  EXPECT_EQ(failure(), "the table is gone");
}

TEST_F(CopyTest, StopsAndCanBeDoneAgain) {
  make_source();
  make_dynamic_target();
  options_.requests = 1;
  options_.chunk = {64};
  stop_after_bytes_ = 1000 * kSectorBytes;
  const auto result = copy();
  EXPECT_EQ(result, Expected<void>(fail(Errc::closed, "stopped before the end")));
  EXPECT_LT(progress_.done.n, kSectors);
  stop_after_bytes_ = ~std::uint64_t{0};
  ASSERT_TRUE(copy());
  expect_same_content();
}

TEST_F(CopyTest, KeepsAsManyRequestsInFlightAsItIsTold) {
  source_.make_raw(kSectors);
  source_.write(0, bytes_of(kSectors, 7));
  target_.make_raw(kSectors);
  options_.chunk = {64};
  options_.requests = 5;
  std::uint64_t in_flight_max = 0;
  target_.disk.on_change = [&] {
    in_flight_max = std::max(in_flight_max, source_.engine.in_flight());
  };
  ASSERT_TRUE(copy());
  EXPECT_GE(in_flight_max, 2U);
  EXPECT_LE(in_flight_max, 5U);
  expect_same_content();
}

TEST_F(CopyTest, TellsWhenItIsFinishedAndMayThenBeDestroyed) {
  make_source();
  target_.make_raw(kSectors);
  std::unique_ptr<Copy> copy;
  bool finished = false;
  options_.on_finished = [&] {
    finished = copy->result().has_value();
    copy.reset();
  };
  copy = std::make_unique<Copy>(*source_.image, *target_.image, engine_, options_);
  copy->start();
  while (copy && engine_.poll()) {
  }
  EXPECT_TRUE(finished);
  expect_same_content();
}

std::uint64_t first_seed() {
  const char* const text = std::getenv("XENBLK_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
}
std::uint64_t seed_count() {
  const char* const text = std::getenv("XENBLK_TEST_SEEDS");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::uint64_t kUsual = 8;  // one thread only
#else
  constexpr std::uint64_t kUsual = 60;
#endif
  return text != nullptr ? std::strtoull(text, nullptr, 10) : kUsual;
}

// Whatever fails on the way: the target opens again with an image in it, each of its sectors is the
// source's or zero, and copying again gives all of it.
class CopyWithFaults {
 public:
  explicit CopyWithFaults(std::uint64_t seed) : random_(seed), source_(seed), target_(seed + 1) {
    engine_.add(source_);
    engine_.add(target_);
    options_.chunk = {64ULL << random_() % 4};
    options_.requests = 1 + random_() % 6;
    options_.target_content = random_() % 2 == 0 ? TargetContent::zeroes : TargetContent::unknown;
  }

  void run() {
    const bool vhd_source = random_() % 2 == 0;
    vhd_source ? source_.make_vhd({.capacity = {kSize}, .block_bytes = 16384})
               : source_.make_raw(kSize);
    target_.make_vhd({.capacity = {kSize}, .block_bytes = 32768});
    write_some();
    break_after(random_() % 60);
    copy();
    source_.disk.fault = target_.disk.fault = nullptr;
    target_.open_vhd();
    expect_a_part();
    EXPECT_TRUE(copy());
    EXPECT_TRUE(source_.content() == target_.content());
  }

 private:
  static constexpr std::uint64_t kSize = 2000;

  void write_some() {
    for (int i = 0; i < 12; ++i) {
      const auto count = 1 + random_() % 100;
      const auto value = random_() % 4;
      source_.write(random_() % (kSize - count), bytes_of(count, static_cast<unsigned>(value)));
    }
  }
  void break_after(std::uint64_t operations) {
    auto fault = [operations, seen = std::uint64_t{0}, error = random_() % 2 == 0 ? EIO : ENOSPC](
                     const IoOp&) mutable { return seen++ < operations ? 0 : error; };
    random_() % 3 == 0 ? source_.disk.fault = fault : target_.disk.fault = fault;
  }
  bool copy() {
    Copy copy(*source_.image, *target_.image, engine_, options_);
    copy.start();
    while (!copy.is_finished() && engine_.poll()) {
    }
    EXPECT_TRUE(copy.is_finished());
    return copy.result().has_value();
  }
  void expect_a_part() {
    const auto source = source_.content();
    const auto target = target_.content();
    for (std::size_t i = 0; i < source.size(); ++i) {
      ASSERT_TRUE(target[i] == source[i] || target[i] == std::byte{0}) << "byte " << i;
    }
  }

  std::mt19937_64 random_;
  test::SimImage source_;
  test::SimImage target_;
  test::SimEngines engine_;
  CopyOptions options_;
};

TEST(CopyFaultsTest, LeaveAnImageThatCanBeCopiedToAgain) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + seed_count(); ++seed) {
    SCOPED_TRACE("XENBLK_TEST_SEED=" + std::to_string(seed));
    CopyWithFaults(seed).run();
    if (::testing::Test::HasFailure()) return;
  }
}

// --- runs ---

using Runs = std::vector<std::pair<std::uint64_t, bool>>;  // sectors, zero

Runs runs_of(const test::Bytes& data, std::uint64_t first) {
  Runs runs;
  for (std::span<const std::byte> rest = data; !rest.empty();) {
    const auto run = next_run(rest, {first});
    runs.emplace_back(run.count.n, run.zero);
    rest = rest.subspan(run.count.n * kSectorBytes);
    first += run.count.n;
  }
  return runs;
}

test::Bytes pages(const std::string& kinds) {
  test::Bytes data;
  for (const char kind : kinds) {
    const auto page = bytes_of(8, 0);
    data.insert(data.end(), page.begin(), page.end());
    if (kind == 'd') data.back() = std::byte{1};
  }
  return data;
}

TEST(CopyRunsTest, ZeroesAtTheStartAndAtTheEndAreLeftOut) {
  EXPECT_EQ(runs_of(pages("zdz"), 0), (Runs{{8, true}, {8, false}, {8, true}}));
}

TEST(CopyRunsTest, AShortHoleBetweenDataIsWritten) {
  EXPECT_EQ(runs_of(pages("dzzzd"), 0), (Runs{{40, false}}));
}

TEST(CopyRunsTest, ALongHoleBetweenDataIsLeftOut) {
  EXPECT_EQ(runs_of(pages("dzzzzzzzzd"), 0), (Runs{{8, false}, {64, true}, {8, false}}));
}

TEST(CopyRunsTest, PagesAreThoseOfTheDisk) {
  auto data = bytes_of(16, 0);
  data[3 * kSectorBytes] = std::byte{1};  // sector 8 of the disk
  EXPECT_EQ(runs_of(data, 5), (Runs{{3, true}, {8, false}, {5, true}}));
}

TEST(CopyRunsTest, OneByteAnywhereIsData) {
  for (const std::size_t at : {0U, 1U, 15U, 16U, 17U, 255U, 510U, 511U}) {
    auto data = bytes_of(1, 0);
    EXPECT_TRUE(is_zero(data));
    data[at] = std::byte{0x80};
    EXPECT_FALSE(is_zero(data)) << at;
  }
}

}  // namespace
}  // namespace xenblk::vhd
