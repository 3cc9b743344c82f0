// Everything that can be wrong with an image, told in words. Reads only. Control path, blocking.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vhd/vhd_layout.h"

namespace xenblk::vhd {

enum class FindingLevel : std::uint8_t {
  info,     // legal and unusual
  warning,  // readers disagree about it, or it costs something
  error,    // the image is refused, or other programs would refuse it
};
std::string_view name_of(FindingLevel level);

// The code is a word that stays the same; the text says field, value and offset.
struct Finding {
  FindingLevel level = FindingLevel::info;
  std::string_view code;
  std::string text;
  friend bool operator==(const Finding&, const Finding&) = default;
};

struct CheckReport {
  std::vector<Finding> findings;  // of one code at most 100, and then how many more
  bool has_errors() const;
  bool has(std::string_view code) const;
  // In one word: good, warnings or broken.
  std::string_view status() const;
};

struct CheckOptions {
  // Read the bitmap of every block, and what lies under its clear bits.
  bool bitmaps = true;
  // Finds the parent of a differencing image and gives its unique id (all zeroes: a raw disk).
  // Without it the parent is not looked for.
  std::function<Expected<Uuid>(const VhdLayout& child)> find_parent;
};

// However broken the image is, this is a report; an error is one of reading the file.
Expected<CheckReport> check_image(File& file, const CheckOptions& options = {});

// The layout of an image that may be damaged: its blocks may be anywhere. Where a block covers what
// looks like a footer, the reading with fewer blocks out of place is taken. For repair.
Expected<VhdLayout> read_damaged_layout(File& file, const Footers& footers);

// The blocks that cannot be where the table says, by the rules that opening uses. Shared with
// repair, so that both mean the same.
std::vector<BadEntry> bad_entries_of(const VhdLayout& layout);

}  // namespace xenblk::vhd
