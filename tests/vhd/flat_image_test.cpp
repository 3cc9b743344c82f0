// Raw and null images on real files.
#include "vhd/flat_image.h"

#include <gtest/gtest.h>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/host_file.h"
#include "vhd/null_image.h"
#include "vhd/read_only_view.h"

namespace xenblk::vhd {
namespace {

using test::bytes_of;

class RawImageTest : public ::testing::Test {
 protected:
  std::unique_ptr<Image> open(std::size_t bytes, Access access = Access::read_write) {
    path_ = dir_.make_file("raw", bytes);
    auto file = open_host_file(path_, {.access = access});
    return std::move(open_raw_image(std::move(file.value()), 4096).value());
  }
  test::TempDir dir_;
  std::string path_;
  test::FileEngine engine_;
};

TEST_F(RawImageTest, DescribesItself) {
  const auto image = open(8192);
  EXPECT_EQ(image->info().format, "raw");
  EXPECT_EQ(image->info().capacity.n, 16U);
  EXPECT_EQ(image->info().physical_sector_bytes, 4096U);
  EXPECT_TRUE(image->info().discard);
}

TEST_F(RawImageTest, KeepsWhatIsWritten) {
  const auto image = open(8192);
  test::BlockingDisk disk(*image, engine_);
  EXPECT_EQ(disk.write(3, bytes_of(2, 7)), IoStatus::okay);
  EXPECT_EQ(disk.flush(), IoStatus::okay);
  EXPECT_EQ(disk.read(3, 2).data, bytes_of(2, 7));
  EXPECT_EQ(disk.read(5, 11).data, bytes_of(11, 0));
  EXPECT_TRUE(image->finish());
  EXPECT_EQ(test::file_bytes(path_)[3 * 512], std::byte{7});
}

TEST_F(RawImageTest, RoundsAnOddSizeDown) {
  const auto image = open(8192 + 100);
  test::BlockingDisk disk(*image, engine_);
  EXPECT_EQ(image->info().capacity.n, 16U);
  EXPECT_EQ(disk.read(15, 2).status, IoStatus::out_of_range);
}

TEST_F(RawImageTest, GrowsWithItsFile) {
  const auto image = open(8192);
  const ReadOnlyView view(std::shared_ptr<Image>(image.get(), [](Image*) {}));
  test::BlockingDisk disk(*image, engine_);
  std::filesystem::resize_file(path_, 16384 + 100);
  EXPECT_EQ(disk.write(16, bytes_of(2, 7)), IoStatus::out_of_range) << "nobody looked yet";
  EXPECT_EQ(image->reread_capacity().value().n, 32U);
  EXPECT_EQ(view.capacity().n, 32U);
  EXPECT_EQ(disk.write(30, bytes_of(2, 7)), IoStatus::okay);
  EXPECT_EQ(disk.write(31, bytes_of(2, 7)), IoStatus::out_of_range);
  EXPECT_EQ(image->extent_at({31}).value().count.n, 1U);
}

TEST_F(RawImageTest, NeverShrinks) {
  const auto image = open(8192);
  std::filesystem::resize_file(path_, 4096);
  const auto now = image->reread_capacity();
  ASSERT_FALSE(now);
  EXPECT_EQ(describe(now.error()), "the file has become smaller: 8 sectors, and the disk has 16");
  EXPECT_EQ(image->capacity().n, 16U);
}

TEST_F(RawImageTest, ReadsZeroesWhereTheFileWasCut) {
  const auto image = open(8192);
  std::filesystem::resize_file(path_, 1024);
  test::BlockingDisk disk(*image, engine_);
  EXPECT_EQ(disk.read(0, 16).data, bytes_of(16, 0));
}

TEST_F(RawImageTest, RefusesWritesWhenReadOnly) {
  const auto image = open(8192, Access::read_only);
  test::BlockingDisk disk(*image, engine_);
  EXPECT_EQ(disk.write(0, bytes_of(1, 7)), IoStatus::read_only);
  EXPECT_EQ(disk.flush(), IoStatus::okay);
  EXPECT_EQ(disk.read(0, 1).data, bytes_of(1, 0));
}

TEST_F(RawImageTest, RefusesRangesThatWrap) {
  const auto image = open(8192);
  test::BlockingDisk disk(*image, engine_);
  EXPECT_EQ(disk.run(ImageOp::read, {~std::uint64_t{0}}, {2}, nullptr), IoStatus::out_of_range);
  EXPECT_EQ(disk.run(ImageOp::write, {15}, {2}, nullptr), IoStatus::out_of_range);
}

TEST_F(RawImageTest, GivesTheSpaceOfADiscardBack) {
  const auto image = open(1 << 20);
  test::BlockingDisk disk(*image, engine_);
  ASSERT_EQ(disk.write(0, bytes_of(2048, 7)), IoStatus::okay);
  EXPECT_EQ(disk.run(ImageOp::discard, {8}, {1024}, nullptr), IoStatus::okay);
  EXPECT_EQ(disk.read(8, 1024).data, bytes_of(1024, 0));
  EXPECT_EQ(disk.read(0, 8).data, bytes_of(8, 7));
  EXPECT_EQ(disk.read(1032, 8).data, bytes_of(8, 7));
  EXPECT_EQ(image->extent_at({8}), (ImageExtent{ImageExtent::Kind::zero, {1024}}));
  EXPECT_EQ(std::filesystem::file_size(path_), 1U << 20);
}

TEST_F(RawImageTest, TellsDataFromHoles) {
  const auto image = open(1 << 20);
  std::filesystem::resize_file(path_, 0);
  std::filesystem::resize_file(path_, 1 << 20);
  test::BlockingDisk disk(*image, engine_);
  ASSERT_EQ(disk.write(64, bytes_of(64, 7)), IoStatus::okay);
  EXPECT_EQ(image->extent_at({0}), (ImageExtent{ImageExtent::Kind::zero, {64}}));
  EXPECT_EQ(image->extent_at({64}), (ImageExtent{ImageExtent::Kind::data, {64}}));
  EXPECT_EQ(image->extent_at({100}), (ImageExtent{ImageExtent::Kind::data, {28}}));
  EXPECT_EQ(image->extent_at({128}), (ImageExtent{ImageExtent::Kind::zero, {2048 - 128}}));
}

// A file system that knows no holes.
class EngineWithoutHoles final : public test::TestEngine {
 public:
  void submit(IoOp& op) noexcept override {
    if (op.kind != IoKind::punch_hole) return files_.submit(op);
    refused_.push_back(op);
  }
  bool poll() override {
    bool any = run_tasks();
    while (!refused_.empty()) {
      auto& op = refused_.front();
      refused_.pop_front();
      op.result = -EOPNOTSUPP;
      op.done(op);
      any = true;
    }
    return files_.poll() || any;
  }

 private:
  test::FileEngine files_;
  IoOpList refused_;
};

TEST_F(RawImageTest, WritesZeroesWhereTheFileSystemKnowsNoHoles) {
  const auto image = open(1 << 20);
  EngineWithoutHoles engine;
  test::BlockingDisk disk(*image, engine);
  ASSERT_EQ(disk.write(0, bytes_of(2048, 7)), IoStatus::okay);
  EXPECT_EQ(disk.run(ImageOp::discard, {0}, {8}, nullptr), IoStatus::unsupported);
  EXPECT_EQ(disk.run(ImageOp::write_zeroes, {1}, {700}, nullptr), IoStatus::okay);
  EXPECT_EQ(disk.read(0, 1).data, bytes_of(1, 7));
  EXPECT_EQ(disk.read(1, 700).data, bytes_of(700, 0));
  EXPECT_EQ(disk.read(701, 8).data, bytes_of(8, 7));
}

TEST_F(RawImageTest, SharesASyncBetweenFlushes) {
  const auto image = open(8192);
  std::array<ImageRequest, 8> requests;
  static int answers;
  answers = 0;
  for (auto& request : requests) {
    request.op = ImageOp::flush;
    request.engine = &engine_;
    request.done = [](ImageRequest& r) noexcept { answers += r.status == IoStatus::okay ? 1 : 0; };
    image->submit(request);
  }
  while (engine_.poll()) {
  }
  EXPECT_EQ(answers, 8);
}

TEST_F(RawImageTest, RefusesAFileBelowOneSector) {
  auto file = open_host_file(dir_.make_file("tiny", 511), {});
  EXPECT_EQ(open_raw_image(std::move(file.value()), 512).error(),
            (Error{Errc::bad_image, 0, "smaller than one sector"}));
}

TEST(NullImage, SwallowsWritesAndReadsZeroes) {
  NullImage image({2048}, Access::read_write);
  test::FileEngine engine;
  test::BlockingDisk disk(image, engine);
  EXPECT_EQ(disk.write(2040, bytes_of(8, 7)), IoStatus::okay);
  EXPECT_EQ(disk.read(2040, 8).data, bytes_of(8, 0));
  EXPECT_EQ(disk.flush(), IoStatus::okay);
  EXPECT_EQ(disk.read(2041, 8).status, IoStatus::out_of_range);
}

}  // namespace
}  // namespace xenblk::vhd
