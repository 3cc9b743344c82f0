// xenblk-bench: makes load on the whole data path and prints what it saw.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <thread>

#include "bench/load/data_path.h"

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
  loopback.add_option("--layout", load.layout, "ABI of the guests: x86_64 or x86_32")
      ->transform(CLI::CheckedTransformer(layouts));
  loopback.add_option("--seconds", options.seconds)->check(CLI::PositiveNumber);
  loopback.add_option("--warm-up", options.warm_up_seconds, "seconds of load before measuring")
      ->check(CLI::NonNegativeNumber);
  loopback.add_flag("--json", options.json);
}

int measure_and_print(Options& options) {
  options.path.load.pattern = *parse_pattern(options.pattern);
  options.path.load.duration = nanoseconds_of(options.seconds);
  options.path.warm_up = nanoseconds_of(options.warm_up_seconds);
  const auto seen = measure(options.path);
  if (!seen) {
    fmt::print(stderr, "xenblk-bench: {}: {}\n", options.path.image, describe(seen.error()));
    return 1;
  }
  fmt::print("{}\n", options.json ? to_json(*seen) : to_text(*seen));
  if (seen->errors > 0) fmt::print(stderr, "xenblk-bench: {} operations failed\n", seen->errors);
  return seen->errors > 0 ? 1 : 0;
}

int run(int argc, char** argv) {
  CLI::App app("Measures xenblk's data path");
  app.require_subcommand(1);
  Options options;
  declare(*app.add_subcommand("loopback", "rings, workers and image, with guests in this process"),
          options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return measure_and_print(options);
}

}  // namespace
}  // namespace xenblk::bench

int main(int argc, char** argv) {
  return xenblk::bench::run(argc, argv);
}
