// The steps of one pass that touch no file and no other thread: what the data plane itself costs.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "backend/platform/loopback/frontend_request.h"
#include "ringio/buffer_pool.h"
#include "ringio/decode.h"
#include "ringio/journaled_ring.h"
#include "ringio/ring.h"
#include "ringio/shared_memory.h"
#include "ringio/slot_pool.h"

namespace xenblk::bench {
namespace {

using ringio::BackRing;
using ringio::RawSlot;
using ringio::Step;

constexpr ringio::Limits kLimits{
    .capacity = {1U << 21U}, .access = Access::read_write, .offer_flush = true};

RawSlot full_write(blkif::Layout layout) {
  loopback::FrontendRequest request;
  request.op = loopback::wire(blkif::Op::write);
  for (std::uint32_t n = 1; n <= blkif::kMaxSegments; ++n) request.segments.push_back({.ref = {n}});
  RawSlot raw;
  const auto bytes = loopback::encode(layout, request);
  std::memcpy(raw.words.data(), bytes.data(), bytes.size());
  return raw;
}

void decode(benchmark::State& state, blkif::Layout layout) {
  const auto raw = full_write(layout);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ringio::decode(raw, layout, kLimits));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(decode, x86_64_11_segments, blkif::Layout::x86_64);
BENCHMARK_CAPTURE(decode, x86_32_11_segments, blkif::Layout::x86_32);

// A request's life without its data: every step, and back into the pool.
void slot_life(benchmark::State& state) {
  ringio::SlotPool pool(512);
  for (auto _ : state) {
    auto* slot = pool.take();
    for (const auto step : {Step::data_in, Step::at_image, Step::answered}) slot->go(step);
    pool.give_back(*slot);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(slot_life);

void buffer_life(benchmark::State& state) {
  auto arena = ringio::Arena::make(16U << 20U);
  if (!arena) return state.SkipWithError("no memory");
  ringio::BufferPool pool(arena->memory());
  const auto bytes = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) pool.give_back(pool.take(bytes));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(buffer_life)->Arg(4096)->Arg(45056);

// Ring memory in which the requests stand already: only the producer index moves, so that what is
// measured is the backend's side.
class PreparedRing {
 public:
  static constexpr std::uint32_t kPages = 4;

  explicit PreparedRing(blkif::Layout layout) : layout_(layout) {
    const auto raw = full_write(layout);
    for (std::uint32_t n = 0; n < blkif::ring_entries(layout, kPages); ++n) {
      const auto at = blkif::RingOffsets::slots + (n * blkif::offsets(layout).slot);
      std::memcpy(memory() + at, raw.words.data(), blkif::offsets(layout).slot);
    }
  }
  std::byte* memory() { return pages_->bytes.data(); }
  void publish(std::uint32_t requests) {
    producer_ += requests;
    ringio::store_shared<std::uint32_t>(memory(), blkif::RingOffsets::req_prod, producer_);
  }
  blkif::Layout layout() const { return layout_; }

 private:
  struct alignas(kPageBytes) Pages {
    std::array<std::byte, std::size_t{kPages} * kPageBytes> bytes = {};
  };
  std::unique_ptr<Pages> pages_ = std::make_unique<Pages>();
  blkif::Layout layout_;
  std::uint32_t producer_ = 0;
};

// Looks, takes and decodes a batch, answers each and publishes once. A response is written over the
// first words of its request; its id is made of what stood there, so that the slot holds the same
// request in the next round.
void ring_pass(benchmark::State& state, blkif::Layout layout) {
  PreparedRing prepared(layout);
  auto ring = BackRing::attach(prepared.memory(), PreparedRing::kPages, layout);
  if (!ring) return state.SkipWithError("the ring cannot be attached");
  const auto batch = static_cast<std::uint32_t>(state.range(0));
  const auto first_words = full_write(layout).get<std::uint64_t>(0);
  for (auto _ : state) {
    prepared.publish(batch);
    if (ring->look() != ringio::RingState::waiting) return state.SkipWithError("no requests");
    for (std::uint32_t n = 0; n < batch; ++n) {
      benchmark::DoNotOptimize(ringio::decode(ring->copy_next(), layout, kLimits));
      ring->consume();
    }
    for (std::uint32_t n = 0; n < batch; ++n) ring->put({.id = first_words});
    benchmark::DoNotOptimize(ring->publish());
  }
  state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK_CAPTURE(ring_pass, x86_64, blkif::Layout::x86_64)->Arg(1)->Arg(32);
BENCHMARK_CAPTURE(ring_pass, x86_32, blkif::Layout::x86_32)->Arg(1)->Arg(32);

// The same with a journal of the requests in flight, in a file of /dev/shm.
void journaled_pass(benchmark::State& state, blkif::Layout layout) {
  PreparedRing prepared(layout);
  const auto path = "/dev/shm/xenblk-ring-bench-" + std::to_string(::getpid());
  auto ring = ringio::JournaledRing::attach(prepared.memory(), PreparedRing::kPages, layout,
                                            {.path = path});
  if (!ring) return state.SkipWithError("the ring cannot be attached");
  const auto batch = static_cast<std::uint32_t>(state.range(0));
  const auto first_words = full_write(layout).get<std::uint64_t>(0);
  std::array<ringio::InFlightJournal::Index, 32> entries = {};
  for (auto _ : state) {
    prepared.publish(batch);
    if (ring->look() != ringio::RingState::waiting) return state.SkipWithError("no requests");
    for (std::uint32_t n = 0; n < batch; ++n) {
      const auto raw = ring->copy_next();
      benchmark::DoNotOptimize(ringio::decode(raw, layout, kLimits));
      entries[n] = ring->consume(raw);
    }
    for (std::uint32_t n = 0; n < batch; ++n) ring->put(entries[n], {.id = first_words});
    benchmark::DoNotOptimize(ring->publish());
  }
  state.SetItemsProcessed(state.iterations() * batch);
  ::unlink(path.c_str());
}
BENCHMARK_CAPTURE(journaled_pass, x86_64, blkif::Layout::x86_64)->Arg(1)->Arg(32);

}  // namespace
}  // namespace xenblk::bench

BENCHMARK_MAIN();
