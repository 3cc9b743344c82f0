#include "tools/img/progress.h"

#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "tools/img/output.h"
#include "tools/img/sizes.h"

namespace xenblk::img {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr std::uint64_t kUpdateNs = kSecondNs / 5;
// Before that a rate says nothing.
constexpr std::uint64_t kRateNs = kSecondNs / 2;
constexpr std::size_t kBarColumnsMax = 40;

Instant now() {
  timespec time = {};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return {static_cast<std::uint64_t>(time.tv_sec) * kSecondNs +
          static_cast<std::uint64_t>(time.tv_nsec)};
}

std::size_t terminal_columns() {
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string duration(double seconds) {
  if (seconds > 359999) return "99:59:59";
  const auto whole = static_cast<std::uint64_t>(seconds + 0.5);
  const auto hours = whole / 3600;
  const auto rest = fmt::format("{:02}:{:02}", whole / 60 % 60, whole % 60);
  return hours > 0 ? fmt::format("{}:{}", hours, rest) : rest;
}

// " 1.2 GiB/s, 00:12 left"
std::string rate_and_rest(const ProgressFigures& figures, double fraction,
                          std::uint64_t elapsed_ns) {
  if (elapsed_ns < kRateNs) return {};
  const auto seconds = static_cast<double>(elapsed_ns) / static_cast<double>(kSecondNs);
  const auto rate = static_cast<std::uint64_t>(static_cast<double>(figures.moved_bytes) / seconds);
  auto text = fmt::format(" {}/s", short_size(rate));
  if (fraction > 0) text += fmt::format(", {} left", duration(seconds / fraction - seconds));
  return text;
}

}  // namespace

std::string progress_line(std::string_view what, const ProgressFigures& figures,
                          std::uint64_t elapsed_ns, std::size_t columns) {
  if (figures.total == 0) {
    const auto rate = rate_and_rest(figures, 0, elapsed_ns);
    return fmt::format("{} {}{}", what, short_size(figures.moved_bytes), rate).substr(0, columns);
  }
  const double fraction = static_cast<double>(figures.done) / static_cast<double>(figures.total);
  const auto head = fmt::format("{} {:3}%", what, static_cast<unsigned>(fraction * 100));
  const auto tail = rate_and_rest(figures, fraction, elapsed_ns);
  const auto used = head.size() + tail.size() + 3;  // " [" and "]"
  if (used + 4 > columns) return head.substr(0, columns);
  const auto width = std::min(columns - used, kBarColumnsMax);
  const auto full = static_cast<std::size_t>(fraction * static_cast<double>(width));
  return fmt::format("{} [{}{}]{}", head, std::string(full, '#'), std::string(width - full, ' '),
                     tail);
}

ProgressBar::ProgressBar(std::string what, ShowProgress show)
    : what_(std::move(what)),
      shown_(show == ShowProgress::on_terminal && ::isatty(STDERR_FILENO) == 1),
      started_(now()),
      next_update_{started_.ns + kUpdateNs} {}

ProgressBar::~ProgressBar() {
  if (line_is_there_) write_message("\r\x1b[K");
}

void ProgressBar::update(const ProgressFigures& figures) {
  if (!shown_) return;
  const auto time = now();
  if (time < next_update_) return;
  next_update_ = {time.ns + kUpdateNs};
  // One column is left free: some terminals wrap when the last one is written.
  const auto line = progress_line(what_, figures, time.ns - started_.ns, terminal_columns() - 1);
  write_message(fmt::format("\r\x1b[K{}", line));
  line_is_there_ = true;
}

}  // namespace xenblk::img
