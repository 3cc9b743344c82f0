// xenblk-sim: runs a simulation for as long as one likes, seed after seed, until something is
// wrong. Exit status: 0 nothing was, 1 something was (the last line says how to see it again), 2
// wrong usage.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>
#include <string>

#include "tests/vhd/power_cut/power_cut.h"

namespace xenblk::power_cut {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string target = "vhd";
  std::optional<std::uint64_t> seed;
  std::optional<std::uint64_t> seeds;
  std::optional<double> minutes;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void say(const char* what, std::uint64_t seeds, const PowerCutResult& all, double seconds) {
  fmt::print(
      "{}: {} seeds, {} kills, {} power cuts, {} operations in {:.0f} s: {:.0f} cuts a second\n",
      what, seeds, all.kills, all.power_cuts, all.operations, seconds,
      static_cast<double>(all.cuts()) / std::max(seconds, 0.001));
  std::fflush(stdout);
}

int simulate_vhd(const Options& options) {
  const auto first = options.seed.value_or(std::random_device{}());
  const auto start = Clock::now();
  const auto seconds_max = options.minutes.value_or(options.seeds ? 1e9 : 1) * 60;
  const auto seeds_max = options.seeds.value_or(options.seed && !options.minutes ? 1 : ~0ULL);
  PowerCutResult all;
  double said = 0;
  std::uint64_t done = 0;
  for (; done < seeds_max && seconds_since(start) < seconds_max; ++done) {
    const auto seed = first + done;
    const bool faults = seed % 4 == 0;
    const auto result = run_power_cuts({.seed = seed, .faults = faults});
    all.add(result);
    if (!result.wrong.empty()) {
      fmt::print("seed {}: {}\nagain: ./dev sim --target vhd --seed {}\n", seed, result.wrong,
                 seed);
      return 1;
    }
    if (const auto now = seconds_since(start); now - said >= 5) {
      said = now;
      say("so far", done + 1, all, now);
    }
  }
  say("nothing wrong", done, all, seconds_since(start));
  return 0;
}

int run(int argc, char** argv) {
  CLI::App app("Simulates what tests cannot wait for");
  Options options;
  app.add_option("--target", options.target, "what is simulated: vhd (power cuts under an image)")
      ->check(CLI::IsMember({"vhd"}));
  app.add_option("--seed", options.seed, "the first seed; alone: only this one");
  app.add_option("--seeds", options.seeds, "how many");
  app.add_option("--minutes", options.minutes, "for how long; 1 if nothing else is said");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return simulate_vhd(options);
}

}  // namespace
}  // namespace xenblk::power_cut

int main(int argc, char** argv) {
  return xenblk::power_cut::run(argc, argv);
}
