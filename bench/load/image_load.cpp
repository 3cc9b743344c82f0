#include "bench/load/image_load.h"

#include <time.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "ringio/uring_engine.h"
#include "vhd/aligned_buffer.h"
#include "vhd/image_registry.h"

namespace xenblk::bench {
namespace {

using Clock = std::chrono::steady_clock;

std::chrono::nanoseconds process_cpu() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

// Keeps `depth` requests in flight until the time is over or the disk is.
class Loader {
 public:
  Loader(const ImageLoad& what, Image& image, ringio::UringEngine& engine,
         std::span<std::byte> memory)
      : what_(what),
        image_(image),
        engine_(engine),
        sequence_(what.load, image.info().capacity, 1),
        stride_next_(what.first_bytes / kSectorBytes),
        requests_(what.load.depth) {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      requests_[i].loader = this;
      requests_[i].engine = &engine;
      requests_[i].data = memory.subspan(i * what.load.block_bytes).data();
    }
  }

  void forget() { seen_ = {}; }
  const Measurement& seen() const { return seen_; }

  void run(std::chrono::nanoseconds duration) {
    const auto cpu = process_cpu();
    const auto start = Clock::now();
    end_ = start + duration;
    for (auto& request : requests_) submit_next(request);
    while (in_flight_ > 0) engine_.turn(ringio::LoopEngine::kForever);
    seen_.elapsed += Clock::now() - start;
    seen_.backend_cpu += process_cpu() - cpu;
  }

 private:
  struct Request : ImageRequest {
    Loader* loader = nullptr;
    Clock::time_point submitted;
  };

  std::optional<Operation> next() {
    if (what_.stride_bytes == 0) return sequence_.next();
    const auto count = what_.load.block_bytes / kSectorBytes;
    if (!fits({stride_next_}, {count}, image_.info().capacity)) return std::nullopt;
    const auto first =
        std::exchange(stride_next_, stride_next_ + what_.stride_bytes / kSectorBytes);
    return Operation{what_.load.pattern != Pattern::read, {first}};
  }

  void submit_next(Request& request) {
    const auto operation = next();
    if (!operation) return;
    request.op = operation->write ? ImageOp::write : ImageOp::read;
    request.first = operation->first;
    request.count = {what_.load.block_bytes / kSectorBytes};
    request.submitted = Clock::now();
    request.done = [](ImageRequest& r) noexcept {
      auto& finished = static_cast<Request&>(r);
      finished.loader->done(finished);
    };
    ++in_flight_;
    image_.submit(request);
  }

  void done(Request& request) noexcept {
    const auto now = Clock::now();
    --in_flight_;
    ++seen_.operations;
    seen_.bytes += what_.load.block_bytes;
    if (request.status != IoStatus::okay) ++seen_.errors;
    const auto took = std::chrono::nanoseconds(now - request.submitted);
    seen_.latency.add(static_cast<std::uint64_t>(took.count()));
    if (now < end_) submit_next(request);
  }

  const ImageLoad& what_;
  Image& image_;
  ringio::UringEngine& engine_;
  Sequence sequence_;
  std::uint64_t stride_next_;
  std::uint32_t in_flight_ = 0;
  Clock::time_point end_;
  Measurement seen_;
  std::vector<Request> requests_;
};

bool writes(const ImageLoad& what) {
  return what.load.pattern != Pattern::read && what.load.pattern != Pattern::randread;
}

Expected<void> check(const ImageLoad& what, SectorCount capacity) {
  const auto block = what.load.block_bytes;
  if (block == 0 || block % kSectorBytes != 0) return fail(Errc::bad_spec, "block size");
  if (capacity.n < block / kSectorBytes) return fail(Errc::bad_spec, "image smaller than a block");
  if (what.load.depth == 0) return fail(Errc::bad_spec, "no operations in flight");
  if (what.stride_bytes % kSectorBytes != 0) return fail(Errc::bad_spec, "stride");
  if (what.first_bytes % kSectorBytes != 0) return fail(Errc::bad_spec, "first byte");
  return {};
}

// There and back again, so that no image always comes first.
void take_turns(std::vector<Loader*> loaders, std::chrono::nanoseconds duration,
                std::chrono::nanoseconds turn) {
  const bool alone = loaders.size() == 1;
  for (std::chrono::nanoseconds done{}; done < duration;) {
    const auto now = alone ? duration : std::min(turn, duration - done);
    for (auto* loader : loaders) loader->run(now);
    done += now;
    std::ranges::reverse(loaders);
  }
}

using Images = std::vector<std::shared_ptr<Image>>;

Expected<std::vector<Measurement>> measure_open(const ImageLoad& what, const Images& images) {
  for (const auto& image : images) {
    if (auto ok = check(what, image->info().capacity); !ok) return std::unexpected(ok.error());
  }
  const vhd::AlignedBuffer memory(std::uint64_t{what.load.depth} * what.load.block_bytes);
  auto engine = ringio::UringEngine::make({.fixed_memory = memory.all()});
  if (!engine) return std::unexpected(engine.error());
  std::deque<Loader> loaders;
  std::vector<Loader*> turns;
  for (const auto& image : images) {
    turns.push_back(&loaders.emplace_back(what, *image, **engine, memory.all()));
  }
  take_turns(turns, what.warm_up, what.turn);
  for (auto& loader : loaders) loader.forget();
  take_turns(turns, what.load.duration, what.turn);
  std::vector<Measurement> seen;
  for (const auto& loader : loaders) seen.push_back(loader.seen());
  return seen;
}

Expected<void> open_all(const ImageLoad& what, vhd::ImageRegistry& registry, Images& images) {
  const auto access = writes(what) ? Access::read_write : Access::read_only;
  for (const auto& one : what.images) {
    const auto spec = vhd::parse_image_spec(one);
    if (!spec) return std::unexpected(spec.error());
    auto image = registry.open(*spec, access);
    if (!image) return std::unexpected(image.error());
    images.push_back(std::move(*image));
  }
  return {};
}

std::uint64_t resident_bytes() {
  std::uint64_t pages = 0;
  std::ifstream file("/proc/self/statm");
  file >> pages >> pages;  // the second number
  return pages * kPageBytes;
}

}  // namespace

Expected<std::vector<Measurement>> measure(const ImageLoad& image_load) {
  vhd::ImageRegistry registry;
  Images images;
  const auto opened = open_all(image_load, registry, images);
  auto result = opened ? measure_open(image_load, images) : std::unexpected(opened.error());
  for (auto& image : images) {
    auto closed = registry.close(std::move(image));
    if (!closed && result) result = std::unexpected(closed.error());
  }
  return result;
}

Expected<std::uint64_t> bytes_held_by(const std::string& image) {
  const auto spec = vhd::parse_image_spec(image);
  if (!spec) return std::unexpected(spec.error());
  vhd::ImageRegistry registry;
  const auto before = resident_bytes();
  auto opened = registry.open(*spec, Access::read_write);
  if (!opened) return std::unexpected(opened.error());
  const auto held = resident_bytes() - before;
  if (auto closed = registry.close(std::move(*opened)); !closed) {
    return std::unexpected(closed.error());
  }
  return held;
}

}  // namespace xenblk::bench
