// A dynamic image on a disk that is simulated: random work, and at many moments the question what
// would be there if the process died or the power went right now.
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/disk_model.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"
#include "vhd/open_vhd.h"
#include "vhd/read_footers.h"

namespace xenblk::vhd {
namespace {

using test::Crash;
using test::DiskModel;
using test::SimContent;
using test::SimDisk;
using test::SimEngine;
using test::SimFile;

// Small blocks and extents: many of each in a small disk.
constexpr std::uint32_t kBlockBytes = 16384;
constexpr std::uint64_t kCapacitySectors = 5000;
constexpr VhdTuning kTuning{.extent_bytes = 256 * 1024, .bitmap_budget_bytes = 4096};
constexpr std::uint64_t kCheckSectors = 250;

Expected<std::unique_ptr<Image>> open_on(SimDisk& disk, Access access) {
  return open_vhd_image(std::make_unique<SimFile>(disk, access), 512, kTuning);
}

// What is wrong with what a crash left; empty when nothing is. `actual` is told what is there.
std::string check_crashed(const SimContent& content, const DiskModel& model, Crash crash,
                          Access access, DiskModel* actual = nullptr) {
  SimDisk disk(1, content);
  auto image = open_on(disk, access);
  if (!image) return "cannot open: " + describe(image.error());
  SimEngine engine(disk);
  test::BlockingDisk reader(**image, engine);
  for (std::uint64_t first = 0; first < model.size(); first += kCheckSectors) {
    const auto read = reader.read(first, std::min(kCheckSectors, model.size() - first));
    if (read.status != IoStatus::okay) return "cannot read";
    if (auto wrong = model.check(first, read.data, crash); !wrong.empty()) return wrong;
    if (actual != nullptr) actual->rebase(first, read.data);
  }
  if (access == Access::read_write && !(*image)->finish()) return "cannot finish";
  return {};
}

// From the end of opening on there is never a moment without a footer at the end.
bool has_footer_at_end(const SimContent& content) {
  SimDisk disk(1, content);
  SimFile file(disk, Access::read_only);
  const auto footers = read_footers(file);
  return footers && footers->at_end;
}

// One image under random work by several engines.
class Work {
 public:
  Work(SimDisk& disk, DiskModel& model) : disk_(disk), model_(model) {
    for (auto& request : requests_) request.work = this;
  }

  void open() { image_ = std::move(open_on(disk_, Access::read_write).value()); }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) step();
    drain();
  }
  void step() {
    if (random(3) == 0) submit();
    engines_[random(engines_.size())].poll();
  }
  void drain() {
    for (int idle = 0; idle < 100;) idle = engines_[random(engines_.size())].poll() ? 0 : idle + 1;
    for (const auto& request : requests_)
      EXPECT_FALSE(request.busy) << "a request was not answered";
  }
  Expected<void> finish() { return image_->finish(); }
  int failed() const { return failed_; }
  const std::string& wrong() const { return wrong_; }

 private:
  static constexpr std::uint64_t kSectorsMax = 100;  // spans up to five blocks
  struct Request : ImageRequest {
    Work* work = nullptr;
    bool busy = false;
    AlignedBuffer buffer{kSectorsMax * kSectorBytes};
    std::vector<std::size_t> promises;
  };

  std::uint64_t random(std::uint64_t n) { return disk_.random()() % n; }

  void submit() {
    const auto free = std::ranges::find(requests_, false, &Request::busy);
    if (free == requests_.end()) return;
    auto& request = *free;
    const auto dice = random(20);
    request.op = dice == 0 ? ImageOp::flush : dice < 14 ? ImageOp::write : ImageOp::read;
    // Half the work in a corner of the disk, so that blocks are met again and by several at once.
    const auto range = random(2) == 0 ? 400 : model_.size();
    request.count = {1 + random(random(2) == 0 ? 8 : kSectorsMax)};
    request.first = {random(range - request.count.n + 1)};
    request.data = request.buffer.data();
    if (request.op != ImageOp::flush && model_.is_busy(request.first.n, request.count.n)) return;
    if (request.op == ImageOp::write) model_.begin_write(request.first.n, data(request));
    if (request.op != ImageOp::write) request.promises = model_.begin_flush();
    request.busy = true;
    request.engine = &engines_[random(engines_.size())];
    request.done = [](ImageRequest& r) noexcept {
      auto& finished = static_cast<Request&>(r);
      finished.work->done(finished);
    };
    image_->submit(request);
  }

  void done(Request& request) {
    ASSERT_TRUE(request.busy) << "answered twice";
    request.busy = false;
    const bool okay = request.status == IoStatus::okay;
    if (!okay) ++failed_;
    if (request.op == ImageOp::write) model_.end_write(request.first.n, request.count.n, okay);
    if (request.op == ImageOp::flush && okay) model_.end_flush(request.promises);
    if (request.op != ImageOp::read || !okay || !wrong_.empty()) return;
    wrong_ = model_.check(request.first.n, data(request), Crash::none, request.promises);
  }

  std::span<std::byte> data(Request& request) const {
    return request.buffer.first(request.count.n * kSectorBytes);
  }

  SimDisk& disk_;
  DiskModel& model_;
  std::array<SimEngine, 3> engines_{SimEngine(disk_), SimEngine(disk_), SimEngine(disk_)};
  std::array<Request, 24> requests_;
  std::unique_ptr<Image> image_;
  int failed_ = 0;
  std::string wrong_;
};

std::uint64_t base_seed() {
  const char* text = std::getenv("XENBLK_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

int seed_count() {
  const char* text = std::getenv("XENBLK_TEST_SEEDS");
  return text != nullptr ? std::atoi(text) : 12;
}

struct Result {
  std::string wrong;
  int kills = 0;
  int power_cuts = 0;
};

using Prepare = std::function<void(SimDisk&)>;

// Several lives of one image: each ends with a crash, and the next goes on with what that left.
Result run_lives(std::uint64_t seed, int lives, const Prepare& prepare) {
  Result result;
  DiskModel model(kCapacitySectors);
  auto disk = std::make_unique<SimDisk>(seed);
  SimFile file(*disk, Access::read_write);
  EXPECT_TRUE(create_vhd(
      file, {.capacity = {kCapacitySectors}, .block_bytes = kBlockBytes, .uuid = Uuid{}}));
  for (int life = 0; life < lives && result.wrong.empty(); ++life) {
    auto& random = disk->random();
    bool opened = false;
    disk->on_change = [&] {
      if (!result.wrong.empty() || random() % 40 != 0) return;
      const bool kill = random() % 2 == 0;
      ++(kill ? result.kills : result.power_cuts);
      const auto content = kill ? disk->after_kill() : disk->after_power_cut();
      const auto access = random() % 2 == 0 ? Access::read_only : Access::read_write;
      result.wrong = check_crashed(content, model, kill ? Crash::kill : Crash::power_cut, access);
      if (kill && opened && !has_footer_at_end(content)) result.wrong = "no footer at the end";
    };
    prepare(*disk);
    Work work(*disk, model);
    work.open();
    opened = true;
    work.run(600);
    if (result.wrong.empty()) result.wrong = work.wrong();
    if (!result.wrong.empty()) break;
    if (random() % 2 == 0) {
      EXPECT_TRUE(work.finish());
    }
    const bool kill = random() % 2 == 0;
    const auto content = kill ? disk->after_kill() : disk->after_power_cut();
    result.wrong = check_crashed(content, model, kill ? Crash::kill : Crash::power_cut,
                                 Access::read_only, &model);
    const auto next_seed = random();
    disk = std::make_unique<SimDisk>(next_seed, content);
  }
  return result;
}

TEST(Crash, LosesNothingThatWasPromised) {
  const auto base = base_seed();
  int kills = 0;
  int power_cuts = 0;
  for (int i = 0; i < seed_count(); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    const auto result = run_lives(seed, 5, [](SimDisk&) {});
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
    kills += result.kills;
    power_cuts += result.power_cuts;
  }
  std::cout << "seeds " << base << "+" << seed_count() << ": " << kills << " kills, " << power_cuts
            << " power cuts\n";
}

// The test of the test: a disk that only pretends to sync loses what was promised, and that is
// seen.
TEST(Crash, IsNoticedWhenTheDiskDoesNotSync) {
  const auto base = base_seed();
  int seen = 0;
  for (int i = 0; i < 3; ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    const auto result = run_lives(seed, 2, [](SimDisk& disk) { disk.loses_syncs = true; });
    seen += result.wrong.empty() ? 0 : 1;
  }
  EXPECT_GT(seen, 0) << "XENBLK_TEST_SEED=" << base;
}

TEST(Crash, LosesNothingWhenOperationsFail) {
  const auto base = base_seed();
  for (int i = 0; i < seed_count(); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    const auto result = run_lives(seed, 4, [](SimDisk& disk) {
      disk.fault = [&disk](const IoOp&) {
        const auto dice = disk.random()() % 60;
        return dice == 0 ? EIO : dice == 1 ? ENOSPC : 0;
      };
    });
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
  }
}

TEST(FullDisk, StaysReadableAndTakesWritesAgainOnceThereIsRoom) {
  const auto seed = base_seed();
  SCOPED_TRACE("XENBLK_TEST_SEED=" + std::to_string(seed));
  SimDisk disk(seed);
  SimFile file(disk, Access::read_write);
  ASSERT_TRUE(create_vhd(file, {.capacity = {kCapacitySectors}, .block_bytes = kBlockBytes}));
  auto image = std::move(open_on(disk, Access::read_write).value());
  SimEngine engine(disk);
  test::BlockingDisk guest(*image, engine);
  ASSERT_EQ(guest.write(0, test::bytes_of(8, 1)), IoStatus::okay);
  disk.room_sectors = disk.content().sectors.size();
  for (int attempt = 0; attempt < 2000; ++attempt) {
    ASSERT_EQ(guest.write(100, test::bytes_of(8, 2)), IoStatus::no_space);
  }
  EXPECT_EQ(guest.read(0, 8).data, test::bytes_of(8, 1));
  EXPECT_EQ(guest.read(100, 8).data, test::bytes_of(8, 0));
  EXPECT_LT(disk.content().size_bytes, 1U << 20)
      << "failed attempts must not use up the file's room";
  disk.room_sectors = ~std::uint64_t{0};
  EXPECT_EQ(guest.write(100, test::bytes_of(8, 2)), IoStatus::okay);
  EXPECT_EQ(guest.read(96, 16).data.at(4 * 512), std::byte{2});
  EXPECT_TRUE(image->finish());
}

}  // namespace
}  // namespace xenblk::vhd
