// The configuration file: any text, and settings that are mostly right.
#include <algorithm>
#include <array>
#include <string>

#include "backend/daemon/config_file.h"
#include "tests/fuzz/reader.h"

namespace xenblk::fuzz {
namespace {

constexpr std::array<std::string_view, 32> kWords{
    "backend-names",
    "max-ring-order",
    "max-queues",
    "workers",
    "image-roots",
    "data-path",
    "log-level",
    "[confinement]\n",
    "user",
    "system-calls",
    "metrics-file",
    "raw-parents",
    "slow-request-ms",
    " = ",
    "\n",
    "true",
    "false",
    "2026-01-01",
    "T12:30:00",
    "\"grant-copy\"",
    "\"info\"",
    "[\"/srv\"]",
    "[",
    "]",
    "{",
    "}",
    "\"\"\"",
    "'",
    "# ",
    ".",
    "0x1f",
    "_",
};

// Words of the language in any order, with bytes between them now and then.
std::string some_text(Reader& input) {
  std::string text;
  while (!input.empty() && text.size() < 2000) {
    const auto kind = input.u8();
    if (kind < 32) {
      text += kWords.at(kind);
    } else if (kind < 64) {
      text += std::string(kWords.at(kind - 32)) + " = " + std::to_string(input.u8()) + "\n";
    } else if (kind < 96) {
      text += std::string(kWords.at(kind - 64)) + " = " +
              std::string(kWords.at(15 + input.below(7))) + "\n";
    } else if (kind < 128) {
      text += static_cast<char>(input.u8());
    } else {
      text += static_cast<char>(kind & 0x7f);
    }
  }
  return text;
}

bool is_one_line(const std::string& text) {
  return std::ranges::none_of(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

}  // namespace

// What is accepted is in range; what is not gets one line with the place.
void config(Input bytes) {
  Reader input(bytes);
  const bool raw = input.below(2) == 0;
  const auto rest = input.rest();
  Reader words(rest);
  const auto text =
      raw ? std::string(reinterpret_cast<const char*>(rest.data()), rest.size()) : some_text(words);
  const auto settings = daemon::parse_config(text, "file");
  if (settings) return FUZZ_EXPECT(daemon::check_settings(*settings).has_value());
  FUZZ_EXPECT(settings.error().code == Errc::bad_spec);
  FUZZ_EXPECT(is_one_line(describe(settings.error())));
  const auto& said = settings.error().text;
  FUZZ_EXPECT(said.starts_with("file:") && said.size() > 6 && said[5] >= '1' && said[5] <= '9');
}

}  // namespace xenblk::fuzz
