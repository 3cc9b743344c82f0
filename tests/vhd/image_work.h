// An image with blocks on a simulated disk: random work by several engines, and at many moments the
// question what would be there if the process died or the power went right now.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <random>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/crash_disk.h"
#include "tests/vhd/disk_model.h"
#include "vhd/create.h"
#include "vhd/open_vhd.h"
#include "vhd/read_footers.h"

namespace xenblk::test {

// Small blocks and extents: many of each in a small disk.
inline constexpr std::uint64_t kCapacitySectors = 5000;
inline constexpr vhd::VhdTuning kTuning{.extent_bytes = 256 * 1024, .bitmap_budget_bytes = 4096};
inline constexpr std::uint64_t kCheckSectors = 250;

// The image that is worked on.
struct Scene {
  std::function<void(File&)> create;
  vhd::Levels parents;
  Bytes base;  // what the parents hold; nothing: zeroes
  bool on_device = false;
  bool frees = false;  // discards and writes of zeroes are part of the work
};

inline Expected<std::unique_ptr<Image>> open_scene(const Scene& scene, CrashDisk& disk,
                                                   Access access) {
  return vhd::open_vhd_image(std::make_unique<CrashFile>(disk, access), 512, kTuning,
                             [&](const vhd::ParentReference&) { return scene.parents; });
}

// What is wrong with what a crash left; empty when nothing is. `actual` is told what is there.
inline std::string check_crashed(const Scene& scene, const CrashContent& content,
                                 const DiskModel& model, Crash crash, Access access,
                                 DiskModel* actual = nullptr) {
  CrashDisk disk(1, content);
  disk.is_device = scene.on_device;
  auto image = open_scene(scene, disk, access);
  if (!image) return "cannot open: " + describe(image.error());
  CrashEngine engine(disk);
  BlockingDisk reader(**image, engine);
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
inline bool has_footer_at_end(const CrashContent& content) {
  CrashDisk disk(1, content);
  CrashFile file(disk, Access::read_only);
  const auto footers = vhd::read_footers(file);
  return footers && footers->at_end;
}

// One image under random work by several engines.
class Work {
 public:
  Work(const Scene& scene, CrashDisk& disk, DiskModel& model)
      : scene_(scene), disk_(disk), model_(model) {
    for (auto& request : requests_) request.work = this;
  }

  void open() { image_ = std::move(open_scene(scene_, disk_, Access::read_write).value()); }

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
    vhd::AlignedBuffer buffer{kSectorsMax * kSectorBytes};
    std::vector<std::size_t> promises;
  };

  std::uint64_t random(std::uint64_t n) { return disk_.random()() % n; }

  void submit() {
    const auto free = std::ranges::find(requests_, false, &Request::busy);
    if (free == requests_.end()) return;
    auto& request = *free;
    const auto dice = random(20);
    request.op = dice == 0   ? ImageOp::flush
                 : dice < 10 ? ImageOp::write
                 : dice < 14 ? changing_op()
                             : ImageOp::read;
    // Half the work in a corner of the disk, so that blocks are met again and by several at once.
    const auto range = random(2) == 0 ? 400 : model_.size();
    request.count = {1 + random(random(2) == 0 ? 8 : kSectorsMax)};
    request.first = {random(range - request.count.n + 1)};
    request.data = request.buffer.data();
    if (request.op != ImageOp::flush && model_.is_busy(request.first.n, request.count.n)) return;
    if (request.op == ImageOp::write) model_.begin_write(request.first.n, data(request));
    if (is_zeroing(request)) model_.begin_zero(request.first.n, request.count.n);
    if (!changes(request)) request.promises = model_.begin_flush();
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
    if (changes(request)) model_.end_write(request.first.n, request.count.n, okay);
    if (request.op == ImageOp::flush && okay) model_.end_flush(request.promises);
    if (request.op != ImageOp::read || !okay || !wrong_.empty()) return;
    wrong_ = model_.check(request.first.n, data(request), Crash::none, request.promises);
  }

  ImageOp changing_op() {
    if (!scene_.frees) return ImageOp::write;
    return random(2) == 0 ? ImageOp::discard : ImageOp::write_zeroes;
  }
  static bool is_zeroing(const Request& request) {
    return request.op == ImageOp::discard || request.op == ImageOp::write_zeroes;
  }
  static bool changes(const Request& request) {
    return request.op == ImageOp::write || is_zeroing(request);
  }

  std::span<std::byte> data(Request& request) const {
    return request.buffer.first(request.count.n * kSectorBytes);
  }

  const Scene& scene_;
  CrashDisk& disk_;
  DiskModel& model_;
  std::array<CrashEngine, 3> engines_{CrashEngine(disk_), CrashEngine(disk_), CrashEngine(disk_)};
  std::array<Request, 24> requests_;
  std::unique_ptr<Image> image_;
  int failed_ = 0;
  std::string wrong_;
};

inline std::uint64_t base_seed() {
  const char* text = std::getenv("XENBLK_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

inline int seed_count() {
  const char* text = std::getenv("XENBLK_TEST_SEEDS");
  return text != nullptr ? std::atoi(text) : 12;
}

struct LivesResult {
  std::string wrong;
  int kills = 0;
  int power_cuts = 0;
};

using Prepare = std::function<void(CrashDisk&)>;

// Several lives of one image: each ends with a crash, and the next goes on with what that left.
inline LivesResult run_lives(const Scene& scene, std::uint64_t seed, int lives,
                             const Prepare& prepare) {
  LivesResult result;
  DiskModel model(kCapacitySectors);
  auto disk = std::make_unique<CrashDisk>(seed);
  CrashFile file(*disk, Access::read_write);
  scene.create(file);
  if (!scene.base.empty()) model.rebase(0, scene.base);
  for (int life = 0; life < lives && result.wrong.empty(); ++life) {
    auto& random = disk->random();
    disk->is_device = scene.on_device;
    bool opened = false;
    disk->on_change = [&] {
      if (!result.wrong.empty() || random() % 40 != 0) return;
      const bool kill = random() % 2 == 0;
      ++(kill ? result.kills : result.power_cuts);
      const auto content = kill ? disk->after_kill() : disk->after_power_cut();
      const auto access = random() % 2 == 0 ? Access::read_only : Access::read_write;
      result.wrong =
          check_crashed(scene, content, model, kill ? Crash::kill : Crash::power_cut, access);
      if (kill && opened && !has_footer_at_end(content)) result.wrong = "no footer at the end";
    };
    prepare(*disk);
    Work work(scene, *disk, model);
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
    result.wrong = check_crashed(scene, content, model, kill ? Crash::kill : Crash::power_cut,
                                 Access::read_only, &model);
    const auto next_seed = random();
    disk = std::make_unique<CrashDisk>(next_seed, content);
  }
  return result;
}

}  // namespace xenblk::test
