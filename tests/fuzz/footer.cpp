#include "vhd/format/footer.h"

#include <algorithm>
#include <span>

#include "tests/fuzz/targets.h"
#include "vhd/format/bytes.h"
#include "vhd/format/checksum.h"
#include "vhd/format/dynamic_header.h"

namespace xenblk::fuzz {
namespace {

template <std::size_t n>
std::array<std::byte, n> padded(Input input) {
  std::array<std::byte, n> bytes{};
  const auto part = std::as_bytes(input.first(std::min(n, input.size())));
  std::ranges::copy(part, bytes.begin());
  return bytes;
}

// Almost no random bytes have a right checksum, so it is put right first.
template <std::size_t n>
void fix_checksum(std::array<std::byte, n>& bytes, std::size_t offset) {
  vhd::store_big_endian(std::span<std::byte>(bytes), offset, vhd::checksum_of(bytes, offset));
}

void try_footer(Input input) {
  constexpr std::size_t kChecksum = 64;
  auto bytes = padded<vhd::kFooterBytes>(input);
  static_cast<void>(vhd::parse_footer(bytes));
  fix_checksum(bytes, kChecksum);
  const auto footer = vhd::parse_footer(bytes);
  if (!footer) return FUZZ_EXPECT(!footer.error().text.empty());
  static_cast<void>(vhd::guest_bytes(*footer));
  FUZZ_EXPECT(vhd::same_identity(*footer, *footer));
  const auto again = vhd::parse_footer(vhd::write_footer(*footer));
  FUZZ_EXPECT(again && *again == *footer);
}

void try_header(Input input) {
  constexpr std::size_t kChecksum = 36;
  auto bytes = padded<vhd::kDynamicHeaderBytes>(input);
  static_cast<void>(vhd::parse_dynamic_header(bytes));
  fix_checksum(bytes, kChecksum);
  const auto header = vhd::parse_dynamic_header(bytes);
  if (!header) return FUZZ_EXPECT(!header.error().text.empty());
  const auto again = vhd::parse_dynamic_header(vhd::write_dynamic_header(*header));
  FUZZ_EXPECT(again && *again == *header);
}

}  // namespace

// A footer or a header that is understood is the same after it was written and read again.
void footer(Input input) {
  if (input.empty()) return;
  input.front() % 2 == 0 ? try_footer(input.subspan(1)) : try_header(input.subspan(1));
}

}  // namespace xenblk::fuzz
