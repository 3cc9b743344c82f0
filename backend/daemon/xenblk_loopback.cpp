// xenblk-loopback: the daemon's core and simulated guests on a Xen inside this process.
#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "backend/daemon/confinement/confinement.h"
#include "backend/daemon/demo/demo_guest.h"
#include "backend/daemon/demo/loopback_host.h"
#include "backend/daemon/demo/soak.h"
#include "backend/negotiation/layout_name.h"
#include "vhd/create.h"

namespace {

using namespace xenblk;
using demo::GuestPlan;
using demo::GuestReport;

struct Options {
  std::uint64_t mib_per_guest = 32;
  std::string directory = "/tmp";
  double soak_minutes = 0;
  bool confined = false;
  bool verbose = false;
};

// A directory for the images that goes away with its content.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(const std::string& parent) : path_(parent + "/xenblk-demo-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Expected<void> make_image(const std::string& image, std::uint64_t bytes) {
  const auto path = image.substr(image.find(':') + 1);
  if (image.starts_with("vhd:")) {
    return vhd::create_vhd_file(path, {.capacity = {bytes / kSectorBytes}});
  }
  std::ofstream file(path);
  if (!file || ::truncate(path.c_str(), static_cast<off_t>(bytes)) != 0)
    return fail_os(errno, path);
  return {};
}

// Every layout with every kind of image, small and large rings, one and several queues, old and new
// keys.
std::vector<GuestPlan> plan_guests(const Options& options, const std::string& directory) {
  using blkif::Layout;
  using loopback::RingKeys;
  const auto bytes = options.mib_per_guest << 20;
  std::vector<GuestPlan> plans;
  const auto add = [&](const char* kind, Layout layout, std::uint32_t pages, std::uint32_t queues,
                       RingKeys keys) {
    const auto number = static_cast<std::uint16_t>(plans.size() + 1);
    plans.push_back({{number},
                     fmt::format("{}:{}/{}.{}", kind, directory, number, kind),
                     layout,
                     pages,
                     queues,
                     keys,
                     bytes});
  };
  add("raw", Layout::native, 1, 1, RingKeys::ring_ref);
  add("vhd", Layout::native, 16, 4, RingKeys::ring_page_order);
  add("raw", Layout::x86_32, 16, 1, RingKeys::num_ring_pages);
  add("vhd", Layout::x86_32, 4, 2, RingKeys::ring_page_order);
  add("raw", Layout::x86_64, 16, 4, RingKeys::ring_page_order);
  add("vhd", Layout::x86_64, 1, 1, RingKeys::ring_ref);
  return plans;
}

void print_table(const std::vector<GuestPlan>& plans, const std::vector<GuestReport>& reports) {
  fmt::print("guest  image  layout  ring pages  queues  MiB verified  writes/s  reads/s  result\n");
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const auto& plan = plans[i];
    const auto& report = reports[i];
    fmt::print("{:>5}  {:<5}  {:<6}  {:>10}  {:>6}  {:>12}  {:>8.0f}  {:>7.0f}  {}\n",
               plan.domain.n, plan.image.substr(0, 3), negotiation::name(plan.layout),
               plan.ring_pages, plan.queues, report.bytes_verified >> 20, report.writes_per_second,
               report.reads_per_second, report.failure.empty() ? "verified" : report.failure);
  }
}

// The guests run side by side. True when all of them found everything as it must be.
bool run_guests(loopback::LoopbackXen& xen, const std::vector<GuestPlan>& plans) {
  std::vector<GuestReport> reports(plans.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    threads.emplace_back([&, i] { reports[i] = demo::run_guest(xen, plans[i]); });
  }
  for (auto& thread : threads) thread.join();
  print_table(plans, reports);
  return std::ranges::all_of(reports, [](const auto& report) { return report.failure.empty(); });
}

bool run_soak(loopback::LoopbackXen& xen, const std::vector<GuestPlan>& plans,
              const backend::BackendOptions& options, spdlog::logger& log, double minutes) {
  const auto report =
      demo::soak(xen, plans, options, log, std::chrono::seconds(static_cast<int>(minutes * 60)));
  fmt::print(
      "{} rounds, {} restarts under guests, {} MiB verified, {} descriptors and {} MiB held: {}\n",
      report.rounds, report.restarts, report.bytes_verified >> 20, report.descriptors,
      report.memory_bytes >> 20, report.failure.empty() ? "nothing has grown" : report.failure);
  return report.failure.empty();
}

Expected<bool> run(const Options& options) {
  const ScratchDirectory scratch(options.directory);
  if (scratch.path().empty()) return fail_os(errno, options.directory);
  const auto plans = plan_guests(options, scratch.path());
  for (const auto& plan : plans) {
    if (auto made = make_image(plan.image, plan.disk_bytes); !made) {
      return std::unexpected(std::move(made.error()));
    }
  }
  spdlog::logger log("xenblk-loopback", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  log.set_level(options.verbose ? spdlog::level::debug : spdlog::level::warn);
  loopback::LoopbackXen xen;
  // The directory above goes away at the end.
  const daemon::ConfinementOptions confinement{
      .user = "",
      .state_directory = options.directory,
      .more_system_calls = {SYS_memfd_create} /* the guests' memory */};
  if (options.confined) {
    auto confined = daemon::confine_before_threads(confinement, log);
    if (!confined) return std::unexpected(std::move(confined.error()));
  }
  const backend::BackendOptions backend{
      .journal_directory = options.soak_minutes > 0 ? scratch.path() + "/journal" : "",
      .offer = {.max_ring_order = 4, .max_queues = 4},
      .workers = 2};
  if (options.soak_minutes > 0) {
    return run_soak(xen, plans, backend, log, options.soak_minutes);
  }
  auto host = demo::LoopbackHost::start(xen, backend, log);
  if (!host) return std::unexpected(std::move(host.error()));
  if (options.confined) {
    auto confined = daemon::confine_after_start(confinement);
    if (!confined) return std::unexpected(std::move(confined.error()));
  }
  const bool verified = run_guests(xen, plans);
  (*host)->end();
  const bool nothing_left = xen.usage().nothing_held();
  fmt::print(
      "{}, {}\n", verified ? "all disks verified" : "NOT all disks verified",
      nothing_left ? "nothing mapped or bound is left" : "but something is STILL mapped or bound");
  return verified && nothing_left;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Runs the backend with simulated guests in one process: each writes a disk, flushes it, "
      "reads it\n"
      "back, verifies it, and verifies it again after the disk was detached and attached.",
      "xenblk-loopback"};
  app.add_option("--mib", options.mib_per_guest, "Size of each guest's disk in MiB [32]")
      ->check(CLI::Range(1, 4096));
  app.add_option("--directory", options.directory, "Where the images are made [/tmp]");
  app.add_option(
      "--minutes", options.soak_minutes,
      "Instead, for as long: guests come and go while the daemon is replaced under them, "
      "and nothing may grow");
  app.add_flag("--confined", options.confined,
               "Like xenblkd: files, capabilities and system calls only as needed");
  app.add_flag("-v,--verbose", options.verbose, "Log every step to stderr");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const auto result = run(options);
  if (!result) {
    fmt::print(stderr, "xenblk-loopback: {}\n", describe(result.error()));
    return 1;
  }
  return *result ? 0 : 1;
}
