// Looks at what a crash left, as the next program that opens the image would.
#pragma once

#include <random>
#include <string>

#include "tests/vhd/power_cut/content_file.h"
#include "tests/vhd/power_cut/scenario.h"
#include "vhd/aligned_buffer.h"

namespace xenblk::power_cut {

class AfterCrash {
 public:
  AfterCrash(const Scenario& scenario, const SectorModel& model, std::uint64_t seed)
      : scenario_(scenario),
        model_(model),
        random_(seed),
        found_(model.size() * kSectorBytes),
        again_(model.size() * kSectorBytes) {}

  // Empty, or what is wrong. Changes the contents, as opening for writing may.
  std::string check(SimContents& contents, Crash crash);
  // Only reads.
  std::string look(SimContents& contents, Crash crash);

  // Of the last check: all sectors, and whether the file ended with a footer.
  std::span<const std::byte> content() const { return found_.all(); }
  bool had_footer_at_end() const { return had_footer_at_end_; }

 private:
  std::string check_work(SimContents& contents);
  std::string read_again(SimContents& contents, const char* when);
  std::string write_some(Image& image);
  Expected<std::unique_ptr<Image>> open(SimContents& contents, Access access) const;
  static IoStatus run(Image& image, ImageOp op, std::uint64_t first, std::span<std::byte> data);

  const Scenario& scenario_;
  const SectorModel& model_;
  std::mt19937_64 random_;
  vhd::AlignedBuffer found_;  // what the crash left, and what was written since
  vhd::AlignedBuffer again_;
  bool had_footer_at_end_ = false;
};

}  // namespace xenblk::power_cut
