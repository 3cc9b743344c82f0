// A line on the terminal that shows how far a long work is. Nothing where stderr is no terminal.
// One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "xenblk/clock.h"

namespace xenblk::img {

enum class ShowProgress : std::uint8_t { never, on_terminal };

// How far a work is: sectors of the disk, and the bytes that were moved for it. A total of 0:
// nobody knows yet.
struct ProgressFigures {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  std::uint64_t moved_bytes = 0;
};

// The line, `columns` wide at most, `elapsed_ns` after the start. Pure.
std::string progress_line(std::string_view what, const ProgressFigures& figures,
                          std::uint64_t elapsed_ns, std::size_t columns);

class ProgressBar {
 public:
  ProgressBar(std::string what, ShowProgress show);
  ~ProgressBar();  // takes the line away
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // As often as one likes.
  void update(const ProgressFigures& figures);

 private:
  const std::string what_;
  const bool shown_;
  const Instant started_;
  Instant next_update_;
  bool line_is_there_ = false;
};

}  // namespace xenblk::img
