#include "vhd/image_spec.h"

#include <algorithm>
#include <string>

#include "tests/fuzz/targets.h"

namespace xenblk::fuzz {
namespace {

bool is_printable(const std::string& text) {
  return std::ranges::all_of(
      text, [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
}

}  // namespace

// What is understood says the same when it is written out and read again.
void image_spec(Input input) {
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  FUZZ_EXPECT(is_printable(vhd::printable(text)));
  const auto spec = vhd::parse_image_spec(text);
  if (!spec) {
    FUZZ_EXPECT(spec.error().code == Errc::bad_spec);
    FUZZ_EXPECT(is_printable(spec.error().text));
    return;
  }
  switch (spec->format) {
    case vhd::Format::null:
      FUZZ_EXPECT(spec->path.empty() && spec->null_size.n > 0);
      FUZZ_EXPECT(vhd::parse_image_spec("null:" +
                                        std::to_string(spec->null_size.n * kSectorBytes)) == spec);
      return;
    case vhd::Format::raw:
    case vhd::Format::vhd:
      FUZZ_EXPECT(spec->path.starts_with('/') && spec->path.find('\0') == std::string::npos);
      const std::string prefix = spec->format == vhd::Format::raw ? "raw:" : "vhd:";
      FUZZ_EXPECT(vhd::parse_image_spec(prefix + spec->path) == spec);
      return;
  }
}

}  // namespace xenblk::fuzz
