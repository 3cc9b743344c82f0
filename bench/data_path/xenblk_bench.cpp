// xenblk-bench: makes load on the whole data path and prints what it saw.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <thread>

#include "bench/load/data_path.h"
#include "bench/load/limit.h"
#include "bench/load/scale.h"

namespace xenblk::bench {
namespace {

struct Options {
  DataPath path;
  std::string pattern = "randread";
  double seconds = 5;
  double warm_up_seconds = 0;
  bool json = false;
};

std::chrono::nanoseconds nanoseconds_of(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(seconds));
}

enum class Subject : std::uint8_t { loopback, limit, scale };

// The same for all, so that a command line can be used with each of them.
void declare(CLI::App& loopback, Options& options) {
  auto& load = options.path.load;
  const std::map<std::string, blkif::Layout> layouts{{"x86_64", blkif::Layout::x86_64},
                                                     {"x86_32", blkif::Layout::x86_32}};
  options.path.workers = std::max(1U, std::thread::hardware_concurrency());
  load.layout = blkif::Layout::x86_64;
  loopback.add_option("--image", options.path.image, "raw:/path, vhd:/path or null:SIZE")
      ->required();
  loopback.add_option("--rw", options.pattern, "read, write, randread, randwrite or randrw")
      ->check(CLI::IsMember({"read", "write", "randread", "randwrite", "randrw"}));
  loopback.add_option("--bs", load.block_bytes, "bytes of one operation (4096, 4k)")
      ->transform(CLI::AsSizeValue(false));
  loopback.add_option("--qd", load.depth, "operations in flight on a disk, over all its queues");
  loopback.add_option("--queues", load.queues, "queues of a disk");
  loopback.add_option("--vbds", load.disks, "disks, each of a guest of its own");
  loopback.add_option("--workers", options.path.workers, "workers of the backend");
  loopback.add_option("--segments", load.segments, "pages of a request; more than 11: indirect");
  loopback.add_option_function<std::uint32_t>(
      "--polling-us",
      [&options](std::uint32_t us) { options.path.polling.window = std::chrono::microseconds(us); },
      "polling window of the workers");
  loopback.add_flag("--persistent", options.path.persistent_grants, "pages stay mapped");
  loopback.add_option("--layout", load.layout, "ABI of the guests: x86_64 or x86_32")
      ->transform(CLI::CheckedTransformer(layouts));
  loopback.add_option("--seconds", options.seconds)->check(CLI::PositiveNumber);
  loopback.add_option("--warm-up", options.warm_up_seconds, "seconds of load before measuring")
      ->check(CLI::NonNegativeNumber);
  loopback.add_flag("--json", options.json);
}

int fail_with(const Options& options, const Error& error) {
  fmt::print(stderr, "xenblk-bench: {}: {}\n", options.path.image, describe(error));
  return 1;
}

int print_scale(const Options& options) {
  const auto seen = measure_scale(options.path);
  if (!seen) return fail_with(options, seen.error());
  fmt::print("{}\n", to_json(options.path, *seen));
  return seen->busy.errors > 0 ? 1 : 0;
}

int measure_and_print(Options& options, Subject subject) {
  options.path.load.pattern = *parse_pattern(options.pattern);
  options.path.load.duration = nanoseconds_of(options.seconds);
  options.path.warm_up = nanoseconds_of(options.warm_up_seconds);
  if (subject == Subject::scale) return print_scale(options);
  const auto seen = subject == Subject::limit ? measure_limit(options.path) : measure(options.path);
  if (!seen) return fail_with(options, seen.error());
  fmt::print("{}\n", options.json ? to_json(*seen) : to_text(*seen));
  if (seen->errors > 0) fmt::print(stderr, "xenblk-bench: {} operations failed\n", seen->errors);
  return seen->errors > 0 ? 1 : 0;
}

int run(int argc, char** argv) {
  CLI::App app("Measures xenblk's data path");
  app.require_subcommand(1);
  Options options;
  auto& loopback =
      *app.add_subcommand("loopback", "rings, workers and image, with guests in this process");
  auto& limit = *app.add_subcommand("limit", "the same load straight through io_uring");
  auto& scale = *app.add_subcommand("scale", "what many disks cost, most of them idle");
  for (auto* subject : {&loopback, &limit, &scale}) declare(*subject, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return measure_and_print(options, limit.parsed()   ? Subject::limit
                                    : scale.parsed() ? Subject::scale
                                                     : Subject::loopback);
}

}  // namespace
}  // namespace xenblk::bench

int main(int argc, char** argv) {
  return xenblk::bench::run(argc, argv);
}
