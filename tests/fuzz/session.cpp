#include "tests/fuzz/session.h"

#include <algorithm>

#include "tests/vhd/power_cut/sector_model.h"

namespace xenblk::fuzz {
namespace {

constexpr std::array<std::byte, kSectorBytes> kZeroes{};

// A sector of our own making is its number; any other is told from others well enough by a sum.
std::uint64_t word_of(std::span<const std::byte, kSectorBytes> sector) {
  if (const auto value = power_cut::value_of(sector)) return *value;
  std::uint64_t sum = 14695981039346656037U;
  for (std::size_t i = 0; i < kSectorBytes; i += sizeof sum) {
    std::uint64_t word = 0;
    std::memcpy(&word, sector.data() + i, sizeof word);
    sum = (sum ^ word) * 1099511628211U;
    sum ^= sum >> 29;
  }
  return sum;
}

// Made once: an input is over in microseconds.
std::span<std::byte> buffers(std::size_t bytes) {
  static const vhd::AlignedBuffer kBuffer(bytes);
  return kBuffer.all();
}

}  // namespace

void SectorMap::know(const KnownSectors& sectors) {
  for (const auto& [sector, value] : sectors) {
    sectors_[sector] = value;
    if (!sectors.contains(sector - 1)) add_place(sector);
  }
}

void SectorMap::add_place(std::uint64_t sector) {
  constexpr std::size_t kPlacesMax = 32;
  if (places_.size() < kPlacesMax) places_.push_back(sector);
}

void SectorMap::expect(std::uint64_t sector, std::span<const std::byte, kSectorBytes> data) {
  const auto word = word_of(data);
  const auto found = sectors_.find(sector);
  if (found == sectors_.end() && rest_ && sector < rest_end_) {
    FUZZ_EXPECT(word == *rest_);
  } else if (found == sectors_.end()) {
    sectors_[sector] = word;
  } else if (found->second) {
    FUZZ_EXPECT(word == *found->second);
  }
}

bool ShuffledEngine::poll() {
  const bool any = run_tasks();
  if (queue_.empty()) return any;
  const auto i = static_cast<std::ptrdiff_t>(random() % queue_.size());
  auto& op = *queue_[static_cast<std::size_t>(i)];
  queue_.erase(queue_.begin() + i);
  const bool fails = errors_ != 0 && random() % 256 < errors_;
  op.result = fails ? (random() % 2 == 0 ? -EIO : -ENOSPC) : test::perform_by_file(op);
  op.done(op);
  return true;
}

std::uint64_t ShuffledEngine::random() {
  state_ = state_ * 6364136223846793005U + 1442695040888963407U;
  return state_ >> 33;
}

void Session::run(Reader& reader, std::uint64_t block_sectors) {
  const auto capacity = image_.info().capacity.n;
  constexpr int kStepsMax = 64;
  for (int step = 0; step < kStepsMax && !reader.empty(); ++step) {
    const auto what = reader.u8();
    const auto count = std::min(1 + reader.u8() % kSectorsMax, capacity);
    // Near the border of a block, or of the disk.
    const auto block = reader.below(capacity / block_sectors + 1);
    const auto around = block * block_sectors + reader.u8() % 32U;
    const auto first = std::min(around, capacity - count);
    switch (what % 8) {
      case 0:
      case 1:
        submit(ImageOp::read, first, count);
        break;
      case 2:
        submit(ImageOp::flush, 0, 0);
        break;
      case 3:
        if (image_.info().discard) submit(ImageOp::discard, first, count);
        break;
      case 4:
        if (image_.info().discard) submit(ImageOp::write_zeroes, first, count);
        break;
      default:
        submit(ImageOp::write, first, count);
        break;
    }
    for (auto polls = what / 64; polls > 0; --polls) engine_.poll();
  }
  drain();
}

void Session::read_all(std::span<const std::uint64_t> places) {
  constexpr std::uint64_t kBeginning = 2 * kSectorsMax;
  const auto capacity = image_.info().capacity.n;
  const auto read_from = [&](std::uint64_t first) {
    if (first < capacity) submit(ImageOp::read, first, std::min(kSectorsMax, capacity - first));
    drain();
  };
  for (std::uint64_t first = 0; first < kBeginning; first += kSectorsMax) read_from(first);
  check_extents(std::min(capacity, kBeginning));
  std::ranges::for_each(places, read_from);
  std::ranges::for_each(map_.places(), read_from);
}

// What is said to be zeroes was read as zeroes.
void Session::check_extents(std::uint64_t end) {
  for (std::uint64_t first = 0; first < end;) {
    const auto extent = image_.extent_at({first});
    if (!extent) return;
    FUZZ_EXPECT(extent->count.n > 0 && extent->count.n <= image_.info().capacity.n - first);
    const auto next = std::min(end, first + extent->count.n);
    for (; first < next; ++first) {
      if (extent->kind == ImageExtent::Kind::zero) map_.expect(first, kZeroes);
    }
  }
}

void Session::submit(ImageOp op, std::uint64_t first, std::uint64_t count) {
  if (op != ImageOp::flush && is_busy(first, count)) return;
  auto free = std::ranges::find(requests_, false, &Request::busy);
  if (free == requests_.end()) {
    drain();
    free = requests_.begin();
  }
  auto& request = *free;
  request.session = this;
  request.busy = true;
  request.op = op;
  request.first = {first};
  request.count = {count};
  request.data = buffer_of(request);
  request.engine = &engine_;
  request.done = [](ImageRequest& r) noexcept {
    auto& finished = static_cast<Request&>(r);
    finished.session->done(finished);
  };
  if (op != ImageOp::read && op != ImageOp::flush) map_.add_place(first);
  if (op == ImageOp::write) {
    for (std::uint64_t s = 0; s < count; ++s) {
      power_cut::fill_sector(sector_of(request, s), ++last_value_);
    }
  }
  image_.submit(request);
  FUZZ_EXPECT(request.busy);  // not answered inside submit
}

void Session::drain() {
  while (engine_.poll()) {
  }
  FUZZ_EXPECT(std::ranges::none_of(requests_, &Request::busy));
}

bool Session::is_busy(std::uint64_t first, std::uint64_t count) const {
  return std::ranges::any_of(requests_, [&](const Request& other) {
    return other.busy && other.op != ImageOp::flush && first < other.first.n + other.count.n &&
           other.first.n < first + count;
  });
}

void Session::done(Request& request) {
  FUZZ_EXPECT(request.busy);  // not answered twice
  request.busy = false;
  const bool okay = request.status == IoStatus::okay;
  const bool read_only = image_.info().access == Access::read_only;
  if (request.op != ImageOp::read && request.op != ImageOp::flush && read_only) {
    return FUZZ_EXPECT(request.status == IoStatus::read_only);
  }
  for (std::uint64_t s = 0; s < request.count.n; ++s) {
    const auto sector = request.first.n + s;
    switch (request.op) {
      case ImageOp::read:
        if (okay) map_.expect(sector, sector_of(request, s));
        break;
      case ImageOp::write:
        okay ? map_.set(sector, *power_cut::value_of(sector_of(request, s))) : map_.forget(sector);
        break;
      case ImageOp::discard:
      case ImageOp::write_zeroes:
        okay ? map_.set(sector, 0) : map_.forget(sector);
        break;
      case ImageOp::flush:
        break;
    }
  }
}

std::byte* Session::buffer_of(const Request& request) const {
  constexpr auto kBytes = kSectorsMax * kSectorBytes;
  const auto index = static_cast<std::size_t>(&request - requests_.data());
  return buffers(requests_.size() * kBytes).subspan(index * kBytes).data();
}

}  // namespace xenblk::fuzz
