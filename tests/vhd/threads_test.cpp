// One image, several threads with an engine each: what the thread sanitizer looks at.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/chain_builder.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/create.h"
#include "vhd/image_registry.h"

namespace xenblk::vhd {
namespace {

constexpr unsigned kThreads = 4;
constexpr std::uint64_t kChunkSectors = 8;
constexpr std::uint64_t kChunks = 2048;

// A guest's queue: many requests in flight, each to chunks that are this thread's own, in blocks
// that are everyone's. So the threads meet in allocations, never in data.
class Queue {
 public:
  Queue(Image& image, unsigned number) : image_(image), random_(number) {
    for (std::uint64_t chunk = number; chunk < kChunks; chunk += kThreads) order_.push_back(chunk);
    std::ranges::shuffle(order_, random_);
    for (auto& request : requests_) request.queue = this;
  }

  void run() {
    for (auto& request : requests_) next(request);
    while (busy_ > 0) {
      if (!engine_.poll()) std::this_thread::yield();
    }
  }
  int failed() const { return failed_; }
  // Besides writes: discards of blocks that no queue writes to, and reads of anything.
  void disturb_from(std::uint64_t chunk) { spare_ = chunk; }

  static std::byte value_of(std::uint64_t chunk) { return static_cast<std::byte>(1 + chunk % 251); }

 private:
  struct Request : ImageRequest {
    Queue* queue = nullptr;
    std::uint64_t chunk = 0;
    AlignedBuffer buffer{4 * kChunkSectors * kSectorBytes};
  };

  void next(Request& request) {
    if (written_ == order_.size()) return;
    ++busy_;
    request.engine = &engine_;
    request.done = [](ImageRequest& r) noexcept {
      auto& finished = static_cast<Request&>(r);
      finished.queue->done(finished);
    };
    request.op = ImageOp::flush;
    if (spare_ != 0 && random_() % 3 == 0) {
      disturb(request);
    } else if (random_() % 50 != 0) {
      request.op = ImageOp::write;
      request.chunk = order_[written_++];
      request.first = {request.chunk * kChunkSectors};
      request.count = {kChunkSectors};
      request.data = request.buffer.data();
      std::memset(request.data, std::to_integer<int>(value_of(request.chunk)),
                  kChunkSectors * kSectorBytes);
    }
    image_.submit(request);
  }

  // Blocks of four chunks, each of them all queues' own.
  void disturb(Request& request) {
    constexpr std::array kOps{ImageOp::discard, ImageOp::write, ImageOp::write_zeroes,
                              ImageOp::read};
    request.op = kOps[random_() % kOps.size()];
    const auto block = random_() % 8;
    const bool whole = random_() % 2 == 0;
    request.first = {(spare_ + block * 4) * kChunkSectors};
    request.count = {kChunkSectors * (whole ? 4 : 1)};
    request.data = request.buffer.data();
  }

  void done(Request& request) {
    EXPECT_EQ(std::this_thread::get_id(), thread_) << "answered on another thread";
    failed_ += request.status == IoStatus::okay ? 0 : 1;
    --busy_;
    next(request);
  }

  Image& image_;
  std::mt19937 random_;
  test::FileEngine engine_;
  std::vector<std::uint64_t> order_;
  std::size_t written_ = 0;
  std::uint64_t spare_ = 0;
  int busy_ = 0;
  int failed_ = 0;
  std::array<Request, 16> requests_;

 public:
  std::thread::id thread_;
};

class Threads : public ::testing::Test {
 protected:
  void run_on(ImageRegistry& registry, const std::string& path) {
    auto image = registry.open({Format::vhd, path, {}}, Access::read_write).value();
    std::vector<std::unique_ptr<Queue>> queues;
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kThreads; ++i) {
      queues.push_back(std::make_unique<Queue>(*image, i));
      queues.back()->disturb_from(kChunks);
    }
    for (auto& queue : queues) {
      threads.emplace_back([&queue] {
        queue->thread_ = std::this_thread::get_id();
        queue->run();
      });
    }
    for (auto& thread : threads) thread.join();
    for (auto& queue : queues) EXPECT_EQ(queue->failed(), 0);
    queues.clear();
    ASSERT_TRUE(registry.close(std::move(image)));
    image = registry.open({Format::vhd, path, {}}, Access::read_only).value();
    test::FileEngine engine;
    test::BlockingDisk guest(*image, engine);
    for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) {
      const auto expected = test::Bytes(kChunkSectors * kSectorBytes, Queue::value_of(chunk));
      ASSERT_EQ(guest.read(chunk * kChunkSectors, kChunkSectors).data, expected) << chunk;
    }
    EXPECT_TRUE(registry.close(std::move(image)));
  }

  static constexpr CreateOptions kOptions{.capacity = {(kChunks + 32) * kChunkSectors},
                                          .block_bytes = 16384};
  test::TempDir dir_;
};

TEST_F(Threads, AllocateAndGiveUpTheSameBlocksAtOnceAndLoseNothing) {
  ASSERT_TRUE(create_vhd_file(dir_.path("a.vhd"), kOptions));
  ImageRegistry registry;
  run_on(registry, dir_.path("a.vhd"));
}

TEST_F(Threads, WriteTheSameBlocksOfAChildAtOnceAndLoseNothing) {
  dir_.make_file("base.raw", (kChunks + 32) * kChunkSectors * kSectorBytes, '\7');
  const auto path = dir_.make_file("a.vhd", 0);
  {
    const auto file = open_host_file(path, {.access = Access::read_write}).value();
    test::make_child(*file,
                     {.capacity = kOptions.capacity, .parent_uuid = {}, .parent_path = "base.raw"});
  }
  ImageRegistry registry({.raw_parents = true});
  run_on(registry, path);
}

}  // namespace
}  // namespace xenblk::vhd
