// What is fuzzed: each target takes any bytes and aborts, saying why, when the code under test
// breaks a promise. libFuzzer makes up the bytes; the ordinary tests replay those of corpus/NAME.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace xenblk::fuzz {

using Input = std::span<const std::uint8_t>;

void image_spec(Input input);
void footer(Input input);
void block_table(Input input);
void open_vhd(Input input);
void use_vhd(Input input);

struct Target {
  std::string_view name;
  void (*run)(Input);
};
inline constexpr std::array kTargets{
    Target{"image_spec", image_spec},   Target{"footer", footer},
    Target{"block_table", block_table}, Target{"open_vhd", open_vhd},
    Target{"use_vhd", use_vhd},
};

// Our own assertions say as little as they must; this one is for what a test expects.
[[noreturn]] void broken(const char* expectation, const char* file, int line);

}  // namespace xenblk::fuzz

#define FUZZ_EXPECT(expectation) \
  ((expectation) ? void() : ::xenblk::fuzz::broken(#expectation, __FILE__, __LINE__))
