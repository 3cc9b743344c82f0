// What an image itself costs a request: an engine that completes everything and does nothing.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

#include "vhd/aligned_buffer.h"
#include "vhd/create.h"
#include "vhd/image_registry.h"

namespace xenblk::bench {
namespace {

constexpr SectorCount kCapacity{(std::uint64_t{16} << 30) / kSectorBytes};
constexpr std::uint64_t kBlockSectors = 4096;
constexpr std::uint64_t kRequestSectors = 8;
constexpr std::size_t kDepth = 32;

class IdleEngine final : public IoEngine {
 public:
  void submit(IoOp& op) noexcept override { queue_.push_back(op); }
  void post(Task& task) noexcept override { tasks_.push_back(task); }
  void turn() noexcept {
    TaskList tasks;
    tasks.swap(tasks_);
    while (!tasks.empty()) {
      auto& task = tasks.front();
      tasks.pop_front();
      task.run(task);
    }
    IoOpList now;
    now.swap(queue_);
    while (!now.empty()) {
      auto& op = now.front();
      now.pop_front();
      op.result = static_cast<std::int64_t>(op.bytes);
      op.done(op);
    }
  }

 private:
  IoOpList queue_;
  TaskList tasks_;
};

// An image on a sparse file that the engine never touches.
class Subject {
 public:
  explicit Subject(const std::string& format) : path_(temporary_name()) {
    std::filesystem::remove(path_);
    if (format == "vhd") {
      check(vhd::create_vhd_file(path_, {.capacity = kCapacity}).has_value());
    } else {
      std::ofstream(path_).close();
      std::filesystem::resize_file(path_, kCapacity.n * kSectorBytes);
    }
    auto opened = registry_.open(*vhd::parse_image_spec(format + ":" + path_), Access::read_write);
    if (!opened) throw std::runtime_error(describe(opened.error()));
    image_ = std::move(*opened);
    for (std::uint64_t block = 0; block < kCapacity.n / kBlockSectors; ++block) {
      submit(requests_[0], ImageOp::write, block * kBlockSectors);
      while (busy_ > 0) engine_.turn();
    }
  }
  ~Subject() {
    (void)registry_.close(std::move(image_));
    std::filesystem::remove(path_);
  }
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  void run(ImageOp op, std::uint64_t& position, std::uint64_t step) {
    for (auto& request : requests_) {
      submit(request, op, position);
      position = (position + step) % (kCapacity.n - kRequestSectors + 1);
    }
    while (busy_ > 0) engine_.turn();
  }

 private:
  struct Request : ImageRequest {
    Subject* subject = nullptr;
  };

  static void check(bool okay) {
    if (!okay) throw std::runtime_error("cannot make an image");
  }
  static std::string temporary_name() {
    std::string name = std::filesystem::temp_directory_path() / "xenblk-micro-XXXXXX";
    ::close(::mkstemp(name.data()));
    return name;
  }

  void submit(Request& request, ImageOp op, std::uint64_t first) {
    request.subject = this;
    request.op = op;
    request.first = {first};
    request.count = {kRequestSectors};
    request.data = buffer_.data();
    request.engine = &engine_;
    request.done = [](ImageRequest& r) noexcept { --static_cast<Request&>(r).subject->busy_; };
    ++busy_;
    image_->submit(request);
  }

  std::string path_;
  vhd::ImageRegistry registry_;
  std::shared_ptr<Image> image_;
  IdleEngine engine_;
  vhd::AlignedBuffer buffer_{kRequestSectors * kSectorBytes};
  std::array<Request, kDepth> requests_;
  std::size_t busy_ = 0;
};

void image_life(benchmark::State& state, const char* format, ImageOp op, std::uint64_t step) {
  Subject subject(format);
  std::uint64_t position = 0;
  for (auto _ : state) subject.run(op, position, step);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kDepth));
}
// A prime number of pages goes through all blocks in no order that a processor foresees.
constexpr std::uint64_t kFarSectors = 1'299'709 * 8;
BENCHMARK_CAPTURE(image_life, raw_read, "raw", ImageOp::read, kRequestSectors);
BENCHMARK_CAPTURE(image_life, vhd_read, "vhd", ImageOp::read, kRequestSectors);
BENCHMARK_CAPTURE(image_life, raw_write, "raw", ImageOp::write, kRequestSectors);
BENCHMARK_CAPTURE(image_life, vhd_write, "vhd", ImageOp::write, kRequestSectors);
BENCHMARK_CAPTURE(image_life, raw_randwrite, "raw", ImageOp::write, kFarSectors);
BENCHMARK_CAPTURE(image_life, vhd_randwrite, "vhd", ImageOp::write, kFarSectors);

}  // namespace
}  // namespace xenblk::bench
