// xenblk-sim: runs a simulation for as long as one likes, seed after seed, until something is
// wrong. Exit status: 0 nothing was, 1 something was (the last line says how to see it again), 2
// wrong usage.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <random>
#include <string>

#include "tests/sim/simulations.h"

namespace xenblk::sim {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string target = "system";
  std::string sabotage = "none";
  std::optional<std::uint64_t> seed;
  std::optional<std::uint64_t> seeds;
  std::optional<double> minutes;
  bool verbose = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// An assertion or a bad access ends the program: the seed must be known then too.
char last_words[200];

extern "C" void say_last_words(int signal) {
  [[maybe_unused]] const auto said = ::write(STDOUT_FILENO, last_words, std::strlen(last_words));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void prepare_last_words(const Options& options, std::uint64_t seed) {
  const auto text =
      fmt::format("seed {}: the program dies\nagain: ./dev sim --target {} --seed {}\n", seed,
                  options.target, seed);
  text.copy(last_words, sizeof last_words - 1);
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) std::signal(signal, say_last_words);
}

int simulate(const Options& options) {
  const auto simulation = make_simulation(options.target, options.sabotage, options.verbose);
  const auto first = options.seed.value_or(std::random_device{}());
  const auto start = Clock::now();
  const auto seconds_max = options.minutes.value_or(options.seeds ? 1e9 : 1) * 60;
  const auto seeds_max = options.seeds.value_or(options.seed && !options.minutes ? 1 : ~0ULL);
  const auto say = [&](const char* what, std::uint64_t seeds) {
    const auto seconds = seconds_since(start);
    fmt::print("{}: {} seeds from {} in {:.0f} s, {}\n", what, seeds, first, seconds,
               simulation.summary(seconds));
    std::fflush(stdout);
  };
  double said = 0;
  std::uint64_t done = 0;
  for (; done < seeds_max && seconds_since(start) < seconds_max; ++done) {
    const auto seed = first + done;
    prepare_last_words(options, seed);
    const auto wrong = simulation.run(seed);
    if (!wrong.empty()) {
      fmt::print("seed {}: {}\nagain: ./dev sim --target {} --seed {}\n", seed, wrong,
                 options.target, seed);
      return 1;
    }
    if (const auto now = seconds_since(start); now - said >= 5) {
      said = now;
      say("so far", done + 1);
    }
  }
  say("nothing wrong", done);
  return 0;
}

int run(int argc, char** argv) {
  CLI::App app("Simulates what tests cannot wait for");
  Options options;
  app.add_option("--target", options.target,
                 "what is simulated: system (a whole host with guests, honest and hostile) or vhd "
                 "(power cuts under an image)")
      ->check(CLI::IsMember({"system", "vhd"}));
  app.add_option("--seed", options.seed, "the first seed; alone: only this one");
  app.add_option("--seeds", options.seeds, "how many");
  app.add_option("--minutes", options.minutes, "for how long; 1 if nothing else is said");
  app.add_option("--sabotage", options.sabotage, "with a bug built in that must be found (system)")
      ->check(CLI::IsMember({"none", "flush_dropped", "request_lost", "read_too_early",
                             "write_misplaced", "answered_twice", "fetched_twice", "unmapped_late",
                             "slot_leaked"}));
  app.add_flag("--verbose", options.verbose, "the daemon's log (system)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return simulate(options);
}

}  // namespace
}  // namespace xenblk::sim

int main(int argc, char** argv) {
  return xenblk::sim::run(argc, argv);
}
