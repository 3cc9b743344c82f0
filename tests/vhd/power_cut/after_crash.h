// Looks at what a crash left, as the next program that opens the image would.
#pragma once

#include <random>
#include <string>

#include "tests/vhd/power_cut/operation.h"
#include "tests/vhd/power_cut/scenario.h"
#include "vhd/aligned_buffer.h"

namespace xenblk::power_cut {

// What there may be: the disk, and what is under way on it.
struct DiskState {
  Scenario scenario;
  std::uint64_t sectors = 0;
  std::optional<Operation> operation;  // begun, and not known to be complete
  // A resize that is under way may be there or not.
  bool may_have(std::uint64_t found) const {
    return found == sectors || (operation && found == operation->sectors);
  }
};

class AfterCrash {
 public:
  AfterCrash(const DiskState& state, const SectorModel& model, std::uint64_t seed)
      : state_(state),
        model_(model),
        random_(seed),
        found_(model.size() * kSectorBytes),
        again_(model.size() * kSectorBytes) {}

  // Empty, or what is wrong. Changes the contents, as opening for writing may.
  std::string check(SimContents& contents, Crash crash);
  // Only undoes what was interrupted, and reads.
  std::string look(SimContents& contents, Crash crash);

  // Of the last check: the disk's size, its sectors, and whether its file ended with a footer.
  std::uint64_t sectors() const { return sectors_; }
  std::span<const std::byte> content() const { return found_.first(sectors_ * kSectorBytes); }
  bool had_footer_at_end() const { return had_footer_at_end_; }

 private:
  std::string check_work(SimFiles& files);
  std::string check_operation(SimFiles& files);
  std::string read_again(const Scenario& scenario, SimFiles& files, const char* when);
  std::string write_some(Image& image);
  static std::string check_rules(SimFiles& files, std::size_t image);
  static IoStatus run(Image& image, ImageOp op, std::uint64_t first, std::span<std::byte> data);

  const DiskState& state_;
  const SectorModel& model_;
  std::mt19937_64 random_;
  std::uint64_t sectors_ = 0;
  vhd::AlignedBuffer found_;  // what the crash left, and what was written since
  vhd::AlignedBuffer again_;
  bool had_footer_at_end_ = false;
};

}  // namespace xenblk::power_cut
