#include "tests/sim/system/sim_disk.h"

#include <algorithm>
#include <array>
#include <boost/intrusive/parent_from_member.hpp>
#include <cassert>
#include <utility>

#include "tests/vhd/direct_engine.h"
#include "vhd/aligned_buffer.h"
#include "vhd/flat_image.h"

namespace xenblk::sim {

using power_cut::Crash;
using power_cut::Remains;
using power_cut::SimContents;
using power_cut::SimFiles;

namespace {

constexpr std::uint64_t kCrashOneIn = 60;

IoStatus read_all(Image& image, std::span<std::byte> data) {
  test::DirectEngine engine;
  struct Request : ImageRequest {
    bool answered = false;
  } request;
  request.op = ImageOp::read;
  request.count = {data.size() / kSectorBytes};
  request.data = data.data();
  request.engine = &engine;
  request.done = [](ImageRequest& r) noexcept { static_cast<Request&>(r).answered = true; };
  image.submit(request);
  while (!request.answered && engine.poll()) {
  }
  return request.answered ? request.status : IoStatus::io_error;
}

}  // namespace

// One user's view of the image, and the place where an image can be given a bug.
class SimDisk::User final : public Image {
 public:
  explicit User(SimDisk& disk) : disk_(disk), death_(disk.deaths_) { ++disk_.users_; }
  ~User() override {
    if (!finished_ && death_ == disk_.deaths_)
      disk_.wrong_ = "an image was dropped before it was finished";
  }
  const ImageInfo& info() const override { return disk_.image_->info(); }
  SectorCount capacity() const override { return disk_.image_->capacity(); }
  Expected<SectorCount> reread_capacity() override { return disk_.image_->reread_capacity(); }
  Expected<ImageExtent> extent_at(SectorIndex first) override {
    return disk_.image_->extent_at(first);
  }
  Expected<void> finish() override {
    finished_ = true;
    return disk_.finish_user();
  }

  void submit(ImageRequest& request) noexcept override {
    if (finished_) disk_.wrong_ = "a request came after the image was finished";
    switch (disk_.sabotage_) {
      case Sabotage::flush_dropped:
        if (request.op != ImageOp::flush) break;
        request.task.run = [](Task& task) noexcept {
          auto* mine = boost::intrusive::get_parent_from_member(&task, &ImageRequest::task);
          mine->status = IoStatus::okay;
          mine->done(*mine);
        };
        return request.engine->post(request.task);
      case Sabotage::request_lost:
        if (disk_.dice_.one_in(100)) return;
        break;
      case Sabotage::write_misplaced:
        if (request.op == ImageOp::write && request.first.n > 0 && disk_.dice_.one_in(50)) {
          --request.first.n;
        }
        break;
      case Sabotage::none:
      case Sabotage::read_too_early:
      case Sabotage::answered_twice:
      case Sabotage::fetched_twice:
      case Sabotage::unmapped_late:
      case Sabotage::slot_leaked:
        break;
    }
    disk_.image_->submit(request);
  }

 private:
  SimDisk& disk_;
  const std::uint64_t death_;  // belongs to users before the next one
  bool finished_ = false;
};

SimDisk::SimDisk(Dice& dice, StorageFaults faults, Sabotage sabotage)
    : dice_(dice.source()()), sabotage_(sabotage) {
  scenario_ = power_cut::choose_scenario(dice_.source());
  raw_ = dice_.one_in(3);
  if (raw_) {
    scenario_ = {.sectors = 800 + dice_.below(2000)};
    scenario_.sectors_max = scenario_.sectors;
  }
  model_ = power_cut::SectorModel(scenario_.sectors_max);
  SimContents contents(power_cut::kFiles);
  if (raw_) {
    contents[0].resize(scenario_.sectors * kSectorBytes);
  } else {
    contents = power_cut::make_scenario(scenario_, dice_.source(), model_);
  }
  storage_ = std::make_unique<power_cut::SimStorage>(dice_.source()(), std::move(contents));
  storage_->is_device = scenario_.on_device;
  files_ = std::make_unique<power_cut::StorageFiles>(*storage_);
  storage_->on_change = [this] { maybe_crash(); };
  if (faults.errors) {
    storage_->fault = [this](const IoOp&) { return !faults_over_ && dice_.one_in(25) ? EIO : 0; };
  }
}

SimDisk::~SimDisk() = default;

Expected<std::unique_ptr<Image>> SimDisk::open_files(SimFiles& files, Access access) {
  if (raw_) return vhd::open_raw_image(files.open(0, access), kSectorBytes);
  if (auto recovered = power_cut::recover_scenario(files); !recovered) {
    return std::unexpected(recovered.error());
  }
  return power_cut::open_scenario(scenario_, files, access);
}

Expected<std::shared_ptr<Image>> SimDisk::open(Access access) {
  if (users_ == 0) {
    auto image = open_files(*files_, access);
    if (!image) return std::unexpected(image.error());
    image_ = std::move(*image);
  }
  return std::make_shared<User>(*this);
}

Expected<void> SimDisk::finish_user() {
  if (--users_ > 0) return {};
  auto finished = image_->finish();
  image_.reset();
  return finished;
}

// What the dead had in memory is gone, with whatever was under way in it.
void SimDisk::lose_users() {
  static auto& dead = *new std::vector<std::unique_ptr<Image>>;
  if (image_) dead.push_back(std::move(image_));
  users_ = 0;
  ++deaths_;
}

void SimDisk::change_room() {
  const bool full = !faults_over_ && storage_->room_pages == ~std::uint64_t{0};
  storage_->room_pages = full ? storage_->content().data_pages() + dice_.below(20) : ~0ULL;
}

void SimDisk::end_faults() {
  faults_over_ = true;
  storage_->room_pages = ~std::uint64_t{0};
}

void SimDisk::maybe_crash() {
  if (!wrong_.empty() || !dice_.one_in(kCrashOneIn)) return;
  ++crashes_;
  const bool kill = dice_.one_in(3);
  constexpr std::array kRemains{Remains::nothing, Remains::everything, Remains::all_but_one,
                                Remains::one_alone, Remains::any};
  auto& left = kill ? storage_->kill() : storage_->power_cut(kRemains[dice_.below(5)]);
  const auto wrong = look(left, kill ? Crash::kill : Crash::power_cut);
  storage_->crash_over();
  if (!wrong.empty()) wrong_ = (kill ? "after a kill: " : "after a power cut: ") + wrong;
}

std::string SimDisk::look(SimContents& contents, Crash crash) {
  power_cut::CrashedFiles files(contents, scenario_.on_device);
  const auto image = open_files(files, Access::read_only);
  if (!image) return "the image does not open: " + describe(image.error());
  const auto sectors = (*image)->info().capacity.n;
  if (sectors != scenario_.sectors) return "it has " + std::to_string(sectors) + " sectors";
  vhd::AlignedBuffer all(sectors * kSectorBytes);
  const auto content = all.first(sectors * kSectorBytes);
  if (read_all(**image, content) != IoStatus::okay) return "it cannot be read";
  return holds_anything_ ? "" : model_.check(0, content, crash);
}

}  // namespace xenblk::sim
