// Uses an image as a guest would, several requests at once and completed in any order, and holds
// everything it reads beside a map of sectors.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tests/fuzz/recipe.h"
#include "tests/vhd/direct_engine.h"
#include "vhd/aligned_buffer.h"
#include "xenblk/image.h"

namespace xenblk::fuzz {

// The reference: a word for what each sector holds.
class SectorMap {
 public:
  // `rest`: of the sectors that are not in `known`; nothing when that is learnt by reading.
  explicit SectorMap(std::optional<std::uint64_t> rest) : rest_(rest) {}

  void know(const KnownSectors& sectors);
  // From there on it is learnt by reading.
  void forget_from(std::uint64_t first) {
    std::erase_if(sectors_, [&](const auto& sector) { return sector.first >= first; });
    rest_end_ = std::min(rest_end_, first);
  }
  void set(std::uint64_t sector, std::uint64_t value) { sectors_[sector] = value; }
  // A request on it failed: until the next one that does not, it holds the old or the new, and
  // after another opening perhaps the other of them.
  void forget(std::uint64_t sector) { sectors_[sector] = std::nullopt; }
  void expect(std::uint64_t sector, std::span<const std::byte, kSectorBytes> data);
  // Where something was written: worth reading again.
  void add_place(std::uint64_t sector);
  std::span<const std::uint64_t> places() const { return places_; }

 private:
  std::optional<std::uint64_t> rest_;
  std::uint64_t rest_end_ = ~std::uint64_t{0};
  std::vector<std::uint64_t> places_;
  std::unordered_map<std::uint64_t, std::optional<std::uint64_t>> sectors_;
};

// Completes its operations in an order, and with errors, that follow from a number.
class ShuffledEngine final : public test::TestEngine {
 public:
  ShuffledEngine(std::uint64_t seed, unsigned errors_of_256)
      : state_(seed), errors_(errors_of_256) {}
  ~ShuffledEngine() override { assert(queue_.empty()); }
  void submit(IoOp& op) noexcept override { queue_.push_back(&op); }
  bool poll() override;

 private:
  std::uint64_t random();

  std::uint64_t state_;
  unsigned errors_;
  std::vector<IoOp*> queue_;
};

class Session {
 public:
  Session(Image& image, SectorMap& map, ShuffledEngine& engine)
      : image_(image), map_(map), engine_(engine) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // What the bytes say: reads, writes, flushes, and what else the image can do.
  void run(Reader& reader, std::uint64_t block_sectors);
  // The beginning of the disk, `places`, and where something was written.
  void read_all(std::span<const std::uint64_t> places);

 private:
  static constexpr std::uint64_t kSectorsMax = 64;
  struct Request : ImageRequest {
    Session* session = nullptr;
    bool busy = false;
  };

  void check_extents(std::uint64_t end);
  void submit(ImageOp op, std::uint64_t first, std::uint64_t count);
  void drain();
  bool is_busy(std::uint64_t first, std::uint64_t count) const;
  void done(Request& request);
  static std::span<std::byte, kSectorBytes> sector_of(const Request& request, std::uint64_t s) {
    return std::span(request.data + s * kSectorBytes, kSectorBytes).first<kSectorBytes>();
  }
  std::byte* buffer_of(const Request& request) const;

  Image& image_;
  SectorMap& map_;
  ShuffledEngine& engine_;
  std::uint64_t last_value_ = std::uint64_t{1} << 60;
  std::array<Request, 6> requests_;
};

}  // namespace xenblk::fuzz
