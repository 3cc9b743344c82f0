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
void use_chain(Input input);
void operations(Input input);
void host_files(Input input);
void ring(Input input);
void session_nodes(Input input);
void device_states(Input input);
void device_paths(Input input);
void journal_recovery(Input input);
void journal_files(Input input);
void control_line(Input input);
void control_server(Input input);
void config(Input input);

struct Target {
  std::string_view name;
  void (*run)(Input);
  bool slow = false;  // waits for a disk
};
inline constexpr std::array kTargets{
    Target{"image_spec", image_spec},
    Target{"footer", footer},
    Target{"block_table", block_table},
    Target{"open_vhd", open_vhd},
    Target{"use_vhd", use_vhd},
    Target{"use_chain", use_chain},
    Target{"operations", operations},
    Target{"host_files", host_files, true},
    Target{"ring", ring},
    Target{"session_nodes", session_nodes},
    Target{"device_states", device_states},
    Target{"device_paths", device_paths},
    Target{"journal_recovery", journal_recovery},
    Target{"journal_files", journal_files},
    Target{"control_line", control_line},
    Target{"control_server", control_server},
    Target{"config", config},
};

// Our own assertions say as little as they must; this one is for what a test expects.
[[noreturn]] void broken(const char* expectation, const char* file, int line);

}  // namespace xenblk::fuzz

#define FUZZ_EXPECT(expectation) \
  ((expectation) ? void() : ::xenblk::fuzz::broken(#expectation, __FILE__, __LINE__))
// Of an Expected: why not is said, too.
#define FUZZ_EXPECT_OK(result)                                                                 \
  ((result) ? void()                                                                           \
            : ::xenblk::fuzz::broken((#result ": " + (result).error().text).c_str(), __FILE__, \
                                     __LINE__))
