#include "tools/img/sizes.h"

#include <array>
#include <charconv>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "vhd/image_spec.h"

namespace xenblk::img {
namespace {

constexpr std::string_view kUnits = "KMGTP";

// The power of 1024 that a suffix means.
std::optional<unsigned> power_of(std::string_view suffix) {
  if (suffix.empty() || suffix == "B") return 0;
  const auto position = kUnits.find(suffix.front());
  const auto rest = suffix.substr(1);
  if (position == std::string_view::npos || (!rest.empty() && rest != "iB")) return std::nullopt;
  return static_cast<unsigned>(position + 1);
}

std::unexpected<Error> not_a_size(std::string_view text) {
  return fail(Errc::bad_spec,
              fmt::format("'{}' is not a size (like 512M or 20G)", vhd::printable(text)));
}

}  // namespace

Expected<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{}) return not_a_size(text);
  const auto power = power_of({rest, static_cast<std::size_t>(end - rest)});
  if (!power || number > std::numeric_limits<std::uint64_t>::max() >> (10 * *power)) {
    return not_a_size(text);
  }
  return number << (10 * *power);
}

Expected<SectorCount> parse_disk_size(std::string_view text) {
  const auto bytes = parse_size(text);
  if (!bytes) return std::unexpected(bytes.error());
  if (*bytes == 0) return fail(Errc::bad_spec, "a disk of no size");
  if (*bytes % kSectorBytes != 0) {
    return fail(Errc::bad_spec, fmt::format("size {} is not a multiple of 512 bytes", *bytes));
  }
  return SectorCount{*bytes / kSectorBytes};
}

std::string short_size(std::uint64_t bytes) {
  unsigned power = 0;
  while (power < kUnits.size() && bytes >> (10 * power) >= 1024) ++power;
  if (power == 0) return fmt::format("{} B", bytes);
  const auto unit = std::uint64_t{1} << (10 * power);
  if (bytes % unit == 0) return fmt::format("{} {}iB", bytes / unit, kUnits[power - 1]);
  const auto value = static_cast<double>(bytes) / static_cast<double>(unit);
  return fmt::format("{:.1f} {}iB", value, kUnits[power - 1]);
}

std::string describe_size(std::uint64_t bytes) {
  return fmt::format("{} ({} bytes)", short_size(bytes), bytes);
}

}  // namespace xenblk::img
