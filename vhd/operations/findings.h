// Collects what a check finds. A broken table may have millions of faults, so of each code only the
// first hundred are kept, and how many there were.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "vhd/operations/check.h"

namespace xenblk::vhd {

class Findings {
 public:
  void add(FindingLevel level, std::string_view code, std::string text) {
    auto& count = count_of(code, level);
    if (++count <= kOfOneCodeMax) report_.findings.push_back({level, code, std::move(text)});
  }

  bool has_any(std::initializer_list<std::string_view> codes) const {
    return std::ranges::any_of(codes, [&](std::string_view code) { return report_.has(code); });
  }

  // Errors first; within a level in the order in which they were found.
  CheckReport take() {
    for (const auto& count : counts_) {
      if (count.found <= kOfOneCodeMax) continue;
      report_.findings.push_back(
          {count.level, count.code, fmt::format("and {} more", count.found - kOfOneCodeMax)});
    }
    CheckReport sorted;
    for (const auto level : {FindingLevel::error, FindingLevel::warning, FindingLevel::info}) {
      std::ranges::copy_if(report_.findings, std::back_inserter(sorted.findings),
                           [&](const Finding& finding) { return finding.level == level; });
    }
    return sorted;
  }

 private:
  static constexpr std::uint64_t kOfOneCodeMax = 100;
  struct Count {
    std::string_view code;
    FindingLevel level;
    std::uint64_t found = 0;
  };

  std::uint64_t& count_of(std::string_view code, FindingLevel level) {
    const auto found = std::ranges::find(counts_, code, &Count::code);
    if (found != counts_.end()) return found->found;
    return counts_.emplace_back(Count{code, level}).found;
  }

  CheckReport report_;
  std::vector<Count> counts_;
};

}  // namespace xenblk::vhd
