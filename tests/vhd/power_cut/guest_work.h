// A guest that keeps an image busy with random requests from several engines, and checks what it
// reads against the model. Single-threaded: everything follows from the storage's seed.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "tests/vhd/power_cut/sector_model.h"
#include "tests/vhd/power_cut/sim_storage.h"
#include "vhd/aligned_buffer.h"
#include "xenblk/image.h"

namespace xenblk::power_cut {

class GuestWork {
 public:
  // All borrowed; they outlive the work, which is drained before its end.
  GuestWork(SimStorage& storage, SectorModel& model, Image& image);

  // One step is one request submitted, in a third of the cases, and one operation completed.
  void run(int steps);
  // Answers what is in flight.
  void drain();

  int failed() const { return failed_; }
  // Empty, or the first thing that was not as promised.
  const std::string& wrong() const { return wrong_; }

 private:
  static constexpr std::uint64_t kSectorsMax = 64;
  static constexpr std::size_t kEngines = 3;
  struct Request : ImageRequest {
    GuestWork* work = nullptr;
    bool busy = false;
    vhd::AlignedBuffer buffer{kSectorsMax * kSectorBytes};
    std::vector<std::uint64_t> promises;  // of a flush
  };

  void submit();
  ImageOp choose_op();
  void choose_range(Request& request);
  void begin(Request& request);
  void done(Request& request);
  static std::span<std::byte> data(Request& request) {
    return request.buffer.first(request.count.n * kSectorBytes);
  }

  SimStorage& storage_;
  SectorModel& model_;
  Image& image_;
  const std::uint64_t sectors_;
  std::array<SimEngine, kEngines> engines_;
  std::array<Request, 12> requests_;
  int failed_ = 0;
  std::string wrong_;
};

}  // namespace xenblk::power_cut
