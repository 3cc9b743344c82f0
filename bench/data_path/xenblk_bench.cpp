// xenblk-bench: makes load on the whole data path, or on a part of it, and prints what it saw.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "bench/load/data_path.h"
#include "bench/load/image_load.h"
#include "bench/load/limit.h"
#include "bench/load/scale.h"

namespace xenblk::bench {
namespace {

constexpr const char* kImageHelp = "raw:/path, vhd:/path or null:SIZE";

struct Options {
  DataPath path;
  std::vector<std::string> images;
  std::uint64_t stride_bytes = 0;  // image only, as the next
  std::uint64_t first_bytes = 0;
  std::string pattern = "randread";
  double seconds = 5;
  double warm_up_seconds = 0;
  bool json = false;
};

std::chrono::nanoseconds nanoseconds_of(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(seconds));
}

// What every load has.
void declare(CLI::App& command, Options& options) {
  auto& load = options.path.load;
  command.add_option("--rw", options.pattern, "read, write, randread, randwrite or randrw")
      ->check(CLI::IsMember({"read", "write", "randread", "randwrite", "randrw"}));
  command.add_option("--bs", load.block_bytes, "bytes of one operation (4096, 4k)")
      ->transform(CLI::AsSizeValue(false));
  command.add_option("--qd", load.depth, "operations in flight on a disk, over all its queues");
  command.add_option("--seconds", options.seconds)->check(CLI::PositiveNumber);
  command.add_option("--warm-up", options.warm_up_seconds, "seconds of load before measuring")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--json", options.json);
}

// The same for all that have disks, so that a command line can be used with each of them.
void declare_disks(CLI::App& command, Options& options) {
  declare(command, options);
  command.add_option("--image", options.path.image, kImageHelp)->required();
  auto& load = options.path.load;
  const std::map<std::string, blkif::Layout> layouts{{"x86_64", blkif::Layout::x86_64},
                                                     {"x86_32", blkif::Layout::x86_32}};
  options.path.workers = std::max(1U, std::thread::hardware_concurrency());
  load.layout = blkif::Layout::x86_64;
  command.add_option("--queues", load.queues, "queues of a disk");
  command.add_option("--vbds", load.disks, "disks, each of a guest of its own");
  command.add_option("--workers", options.path.workers, "workers of the backend");
  command.add_option("--segments", load.segments, "pages of a request; more than 11: indirect");
  command.add_option_function<std::uint32_t>(
      "--polling-us",
      [&options](std::uint32_t us) { options.path.polling.window = std::chrono::microseconds(us); },
      "polling window of the workers");
  command.add_option_function<std::uint32_t>(
      "--guest-polling-us",
      [&load](std::uint32_t us) { load.polling = std::chrono::microseconds(us); },
      "how long the guests, or `limit`, look for a completion before they sleep");
  command.add_flag("--persistent", options.path.persistent_grants, "pages stay mapped");
  command.add_option("--journal", options.path.journal_directory,
                     "directory for journals of what is in flight");
  command.add_option("--layout", load.layout, "ABI of the guests: x86_64 or x86_32")
      ->transform(CLI::CheckedTransformer(layouts));
}

void declare_image(CLI::App& image, Options& options) {
  declare(image, options);
  image.add_option("--image", options.images, "as for the others; several take turns")->required();
  image.add_option("--stride", options.stride_bytes, "from one operation to the next, to the end")
      ->transform(CLI::AsSizeValue(false));
  image.add_option("--first", options.first_bytes, "where the first of these goes")
      ->transform(CLI::AsSizeValue(false));
}

int print_error(const Options& options, const Error& error) {
  fmt::print(stderr, "xenblk-bench: {}{}: {}\n", options.path.image,
             fmt::join(options.images, ", "), describe(error));
  return 1;
}

Expected<std::vector<Measurement>> measure_images(const Options& options) {
  return measure(ImageLoad{.load = options.path.load,
                           .images = options.images,
                           .stride_bytes = options.stride_bytes,
                           .first_bytes = options.first_bytes,
                           .warm_up = options.path.warm_up});
}

int print_measurement(const Options& options, const Expected<Measurement>& seen) {
  if (!seen) return print_error(options, seen.error());
  fmt::print("{}\n", options.json ? to_json(*seen) : to_text(*seen));
  if (seen->errors > 0) fmt::print(stderr, "xenblk-bench: {} operations failed\n", seen->errors);
  return seen->errors > 0 ? 1 : 0;
}

int print_measurements(const Options& options) {
  const auto seen = measure_images(options);
  if (!seen) return print_measurement(options, std::unexpected(seen.error()));
  int status = 0;
  for (const auto& one : *seen) status = std::max(status, print_measurement(options, one));
  return status;
}

int print_scale(const Options& options) {
  const auto seen = measure_scale(options.path);
  if (!seen) return print_error(options, seen.error());
  fmt::print("{}\n", to_json(options.path, *seen));
  return seen->one.errors + seen->all.errors > 0 ? 1 : 0;
}

int print_memory(const Options& options) {
  const auto held = bytes_held_by(options.path.image);
  if (!held) return print_error(options, held.error());
  fmt::print("{}\n", *held);
  return 0;
}

int run(int argc, char** argv) {
  CLI::App app("Measures xenblk's data path");
  app.require_subcommand(1);
  Options options;
  auto& loopback =
      *app.add_subcommand("loopback", "rings, workers and image, with guests in this process");
  auto& limit = *app.add_subcommand("limit", "the same load straight through io_uring");
  auto& scale = *app.add_subcommand("scale", "what many disks cost, idle and loaded");
  auto& image = *app.add_subcommand("image", "an image alone, from one thread");
  auto& memory = *app.add_subcommand("memory", "bytes of memory that an open image holds");
  for (auto* subject : {&loopback, &limit, &scale}) declare_disks(*subject, options);
  declare_image(image, options);
  memory.add_option("--image", options.path.image)->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (memory.parsed()) return print_memory(options);
  options.path.load.pattern = *parse_pattern(options.pattern);
  options.path.load.duration = nanoseconds_of(options.seconds);
  options.path.warm_up = nanoseconds_of(options.warm_up_seconds);
  if (scale.parsed()) return print_scale(options);
  if (image.parsed()) return print_measurements(options);
  return print_measurement(options,
                           limit.parsed() ? measure_limit(options.path) : measure(options.path));
}

}  // namespace
}  // namespace xenblk::bench

int main(int argc, char** argv) {
  return xenblk::bench::run(argc, argv);
}
