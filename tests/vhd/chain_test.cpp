// Differencing images on their parents: what is read, where it is stored, and what it costs.
#include "vhd/chain/chain.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/vhd/chain_builder.h"
#include "tests/vhd/random_image.h"

namespace xenblk::vhd {
namespace {

using test::BlockingDisk;
using test::Bytes;
using test::bytes_of;
using test::ChainBuilder;
using test::SimDisk;
using test::SimEngine;
using test::SimFile;

constexpr std::uint32_t kBlockBytes = 16384;
constexpr std::uint64_t kBlockSectors = 32;
constexpr std::uint64_t kSectors = 640;

// An empty child of 20 blocks on a chain.
class Leaf {
 public:
  explicit Leaf(const Levels& parents, std::uint64_t sectors = kSectors) : disk(3), engine(disk) {
    SimFile file(disk, Access::read_write);
    test::make_child(file, {.capacity = {sectors}, .block_bytes = kBlockBytes});
    image = open_vhd_image(std::make_unique<SimFile>(disk, Access::read_write), 512, {},
                           [&](const ParentReference&) { return parents; })
                .value();
    guest = std::make_unique<BlockingDisk>(*image, engine);
    disk.fault = [this](const IoOp& op) {
      ++operations[op.kind];
      return 0;
    };
  }

  // All at once, on one engine.
  void write_together(std::uint64_t first, std::uint64_t count, unsigned value) {
    std::vector<std::unique_ptr<ImageRequest>> requests;
    const AlignedBuffer buffer(kSectorBytes);
    std::memset(buffer.data(), static_cast<int>(value), buffer.size());
    answered_ = 0;
    for (auto sector = first; sector < first + count; ++sector) {
      auto& request = *requests.emplace_back(std::make_unique<ImageRequest>());
      request.op = ImageOp::write;
      request.first = {sector};
      request.count = {1};
      request.data = buffer.data();
      request.engine = &engine;
      request.done = [](ImageRequest& r) noexcept {
        answered_ += r.status == IoStatus::okay ? 1 : 0;
      };
      image->submit(request);
    }
    while (engine.poll()) {
    }
    EXPECT_EQ(answered_, count);
  }

  SimDisk disk;
  SimEngine engine;
  std::unique_ptr<Image> image;
  std::unique_ptr<BlockingDisk> guest;
  std::map<IoKind, int> operations;

 private:
  static inline std::uint64_t answered_ = 0;
};

Bytes part(const Bytes& content, std::uint64_t first, std::uint64_t count) {
  const auto from = content.begin() + static_cast<std::ptrdiff_t>(first * kSectorBytes);
  return {from, from + static_cast<std::ptrdiff_t>(count * kSectorBytes)};
}

TEST(Chain, ReadsWhatTheParentsHoldWhateverTheirSizes) {
  const auto base = test::base_seed();
  for (int i = 0; i < test::seed_count(12); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    ChainBuilder chain(seed);
    auto& random = chain.random();
    chain.add_raw(200 + random() % 800);
    for (auto levels = random() % 6; levels > 0; --levels) {
      chain.add_child(200 + random() % 800, 4096U << random() % 5, static_cast<int>(random() % 9));
    }
    Leaf leaf(chain.levels());
    const auto content = chain.content(kSectors);
    for (int reads = 0; reads < 60; ++reads) {
      const auto count = 1 + random() % 100;
      const auto first = random() % (kSectors - count + 1);
      ASSERT_EQ(leaf.guest->read(first, count).data, part(content, first, count))
          << "XENBLK_TEST_SEED=" << seed << " sector " << first;
    }
  }
}

TEST(Chain, MayBe64ParentsDeep) {
  ChainBuilder chain(5);
  chain.add_raw(kSectors);
  for (int i = 0; i < 63; ++i) chain.add_child(kSectors, kBlockBytes, i % 2);
  Leaf leaf(chain.levels());
  EXPECT_EQ(leaf.guest->read(0, kSectors).data, chain.content(kSectors));
  EXPECT_EQ(leaf.image->info().format, "vhd differencing");
}

TEST(Chain, CostsOneReadOnceABlockIsKnownToLieInOneParent) {
  ChainBuilder chain(6);
  chain.add_dynamic(kSectors, kBlockBytes, 300);
  for (int i = 0; i < 20; ++i) chain.add_child(kSectors, kBlockBytes, 0);
  Leaf leaf(chain.levels());
  leaf.guest->read(0, kBlockSectors);
  leaf.operations.clear();
  EXPECT_EQ(leaf.guest->read(3, 20).data, part(chain.content(kSectors), 3, 20));
  EXPECT_EQ(leaf.operations, (std::map<IoKind, int>{{IoKind::read, 1}}));
}

TEST(Chain, CostsNothingWhereNothingWasEverWritten) {
  ChainBuilder chain(6);
  chain.add_dynamic(kSectors, kBlockBytes, 0);
  chain.add_child(kSectors, kBlockBytes, 0);
  Leaf leaf(chain.levels());
  EXPECT_EQ(leaf.guest->read(0, kSectors).data, bytes_of(kSectors, 0));
  EXPECT_EQ(leaf.operations, (std::map<IoKind, int>{}));
}

TEST(Child, KeepsTheParentsSectorsAroundAWrite) {
  ChainBuilder chain(7);
  chain.add_raw(kSectors);
  Leaf leaf(chain.levels());
  EXPECT_EQ(leaf.guest->write(30, bytes_of(4, 9)), IoStatus::okay);
  auto expected = chain.content(kSectors);
  std::fill_n(expected.begin() + 30 * 512, 4 * 512, std::byte{9});
  EXPECT_EQ(leaf.guest->read(0, kSectors).data, expected);
  EXPECT_TRUE(leaf.image->finish());
}

TEST(Child, SharesSyncAndBitmapBetweenWritesThatWaitTogether) {
  ChainBuilder chain(8);
  chain.add_raw(kSectors);
  Leaf leaf(chain.levels());
  EXPECT_EQ(leaf.guest->write(0, bytes_of(1, 1)), IoStatus::okay);
  leaf.operations.clear();
  leaf.write_together(1, 24, 7);
  // The first goes alone or not; all the others wait for it and go together.
  EXPECT_LE(leaf.operations[IoKind::sync_data], 6);
  EXPECT_LE(leaf.operations[IoKind::write], 24 + 6);
  EXPECT_EQ(leaf.guest->read(1, 24).data, bytes_of(24, 7));
}

TEST(Child, NeedsNoMetadataForABlockThatWasWrittenAsAWhole) {
  ChainBuilder chain(9);
  chain.add_raw(kSectors);
  Leaf leaf(chain.levels());
  EXPECT_EQ(leaf.guest->write(kBlockSectors, bytes_of(kBlockSectors, 1)), IoStatus::okay);
  leaf.operations.clear();
  EXPECT_EQ(leaf.guest->write(kBlockSectors + 5, bytes_of(3, 2)), IoStatus::okay);
  EXPECT_EQ(leaf.guest->read(kBlockSectors, kBlockSectors).status, IoStatus::okay);
  EXPECT_EQ(leaf.operations, (std::map<IoKind, int>{{IoKind::write, 1}, {IoKind::read, 1}}));
}

TEST(Child, TakesTheLastBlockAsFullAlthoughItReachesBeyondTheDisk) {
  ChainBuilder chain(10);
  chain.add_raw(kSectors);
  Leaf leaf(chain.levels(), 40);
  EXPECT_EQ(leaf.guest->write(32, bytes_of(8, 1)), IoStatus::okay);
  leaf.operations.clear();
  EXPECT_EQ(leaf.guest->write(33, bytes_of(7, 2)), IoStatus::okay);
  EXPECT_EQ(leaf.operations, (std::map<IoKind, int>{{IoKind::write, 1}}));
}

TEST(Child, TellsWhichLevelASectorIsStoredIn) {
  using enum ImageExtent::Kind;
  ChainBuilder chain(11);
  chain.add_dynamic(64, kBlockBytes, 0);
  Leaf middle(chain.levels());
  EXPECT_EQ(middle.guest->write(32, bytes_of(8, 1)), IoStatus::okay);
  EXPECT_TRUE(middle.image->finish());
  auto levels = chain.levels();
  levels.insert(
      levels.begin(),
      open_level(std::make_unique<SimFile>(middle.disk, Access::read_only), Format::vhd, 4096)
          .value());
  Leaf leaf(levels);
  EXPECT_EQ(leaf.guest->write(36, bytes_of(1, 2)), IoStatus::okay);
  EXPECT_EQ(leaf.image->extent_at({0}).value(), (ImageExtent{zero, {32}, 2}));
  EXPECT_EQ(leaf.image->extent_at({32}).value(), (ImageExtent{data, {4}, 1}));
  EXPECT_EQ(leaf.image->extent_at({36}).value(), (ImageExtent{data, {1}, 0}));
  EXPECT_EQ(leaf.image->extent_at({37}).value(), (ImageExtent{data, {3}, 1}));
  EXPECT_EQ(leaf.image->extent_at({40}).value(), (ImageExtent{zero, {24}, 2}));
}

}  // namespace
}  // namespace xenblk::vhd
