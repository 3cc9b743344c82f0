#include "backend/platform/loopback/frontend_load.h"

#include <cstring>
#include <random>

#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {
namespace {

// splitmix64, so that neighbouring sectors differ in every byte.
std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

// Word `word` of a disk, counted in eight bytes.
std::uint64_t pattern_word(SectorIndex first, std::size_t word, std::uint64_t seed) {
  return mix(seed ^ (first.n * (kSectorBytes / sizeof(word)) + word));
}

class Runner {
 public:
  Runner(FrontendQueue& queue, const Load& load)
      : queue_(queue), load_(load), places_(load.length.n / load.request.n), random_(load.seed) {
    require(places_ > 0, "a load has room for one request");
  }

  LoadResult run() {
    while (result_.answered < load_.requests && !result_.violation) {
      start_more();
      if (!reap_all()) wait();
    }
    return result_;
  }

 private:
  void start_more() {
    bool any = false;
    while (started_ < load_.requests && started_ - result_.answered < load_.depth) {
      FrontendIo* const io = queue_.acquire();
      if (io == nullptr) break;
      prepare(*io);
      queue_.start(*io);
      ++started_;
      any = true;
    }
    if (any) queue_.kick();
  }

  void prepare(FrontendIo& io) {
    const std::uint64_t place =
        load_.order == Order::random ? random_() % places_ : started_ % places_;
    io.op = load_.op;
    io.first = {load_.first.n + place * load_.request.n};
    io.count = load_.request;
    const bool fills = load_.op == blkif::Op::write && load_.content == Content::pattern;
    if (fills) fill_pattern(data_of(io), io.first, load_.seed);
  }

  bool reap_all() {
    bool any = false;
    while (FrontendIo* const io = queue_.reap()) {
      any = true;
      ++result_.answered;
      check(*io);
      queue_.release(*io);
    }
    return any;
  }

  void check(FrontendIo& io) {
    if (io.status != blkif::Status::okay) {
      ++result_.failed;
    } else if (load_.op == blkif::Op::read && load_.content == Content::pattern &&
               !has_pattern(data_of(io), io.first, load_.seed)) {
      ++result_.mismatched;
    }
  }

  void wait() {
    if (!queue_.wait_for_answers(load_.patience)) result_.violation = "the backend does not answer";
    if (const auto rule = queue_.violation()) result_.violation = rule;
  }

  static std::span<std::byte> data_of(FrontendIo& io) {
    return io.data.first(io.count.n * kSectorBytes);
  }

  FrontendQueue& queue_;
  const Load& load_;
  std::uint64_t places_;
  std::mt19937_64 random_;
  std::uint64_t started_ = 0;
  LoadResult result_;
};

}  // namespace

LoadResult run_load(FrontendQueue& queue, const Load& load) {
  return Runner(queue, load).run();
}

void fill_pattern(std::span<std::byte> data, SectorIndex first, std::uint64_t seed) {
  for (std::size_t word = 0; word < data.size() / sizeof(std::uint64_t); ++word) {
    const std::uint64_t value = pattern_word(first, word, seed);
    std::memcpy(data.data() + word * sizeof(value), &value, sizeof(value));
  }
}

bool has_pattern(std::span<const std::byte> data, SectorIndex first, std::uint64_t seed) {
  for (std::size_t word = 0; word < data.size() / sizeof(std::uint64_t); ++word) {
    std::uint64_t value;
    std::memcpy(&value, data.data() + word * sizeof(value), sizeof(value));
    if (value != pattern_word(first, word, seed)) return false;
  }
  return true;
}

}  // namespace xenblk::loopback
