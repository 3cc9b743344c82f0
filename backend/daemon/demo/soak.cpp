#include "backend/daemon/demo/soak.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "backend/daemon/demo/loopback_host.h"

namespace xenblk::demo {
namespace {

// Caches, pools and the heap fill up in the first rounds.
constexpr std::uint64_t kWarmRounds = 3;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kMemorySlack = std::uint64_t{1}
                                       << 30;  // what was freed is kept for a while
#else
constexpr std::uint64_t kMemorySlack = std::uint64_t{48} << 20;
#endif

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

std::uint64_t resident_bytes() {
  std::uint64_t all = 0;
  std::uint64_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

class Soak {
 public:
  Soak(loopback::LoopbackXen& xen, const std::vector<GuestPlan>& plans,
       const backend::BackendOptions& options, spdlog::logger& log)
      : xen_(xen), plans_(plans), options_(options), log_(log) {}

  SoakReport run(std::chrono::seconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    start();
    while (report_.failure.empty() &&
           (report_.rounds <= kWarmRounds || std::chrono::steady_clock::now() < end)) {
      round();
      ++report_.rounds;
      if (report_.failure.empty()) look_at_what_is_held();
    }
    host_.reset();
    return report_;
  }

 private:
  void start() {
    auto host = LoopbackHost::start(xen_, options_, log_);
    if (!host) return fail("the daemon does not start: " + describe(host.error()));
    host_ = std::move(*host);
  }

  void round() {
    std::atomic<std::size_t> left = plans_.size();
    std::vector<GuestReport> reports(plans_.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      threads.emplace_back([&, i] {
        reports[i] = run_guest(xen_, plans_[i]);
        --left;
      });
    }
    while (left > 0 && host_) trouble();
    for (auto& thread : threads) thread.join();
    for (const auto& report : reports) {
      report_.bytes_verified += report.bytes_verified;
      if (!report.failure.empty()) fail(report.failure);
    }
  }

  void trouble() {
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + random_() % 400));
    xen_.faults().doubled_events.set(static_cast<std::uint32_t>(random_() % 5));
    xen_.faults().commit_conflicts.set(static_cast<std::uint32_t>(random_() % 3));
    if (random_() % 3 != 0) return;
    host_.reset();
    ++report_.restarts;
    start();
  }

  // Only the daemon is left, and it serves nobody.
  void look_at_what_is_held() {
    host_.reset();
    if (!xen_.usage().nothing_held()) fail("something is still mapped or bound");
    report_.descriptors = open_descriptors();
    report_.memory_bytes = resident_bytes();
    start();
    if (report_.rounds == kWarmRounds) warm_ = report_;
    if (report_.rounds <= kWarmRounds) return;
    if (report_.descriptors != warm_.descriptors) {
      fail(fmt::format("{} descriptors are open, {} were", report_.descriptors, warm_.descriptors));
    }
    if (report_.memory_bytes > warm_.memory_bytes + kMemorySlack) {
      fail(fmt::format("{} MiB are resident, {} were", report_.memory_bytes >> 20,
                       warm_.memory_bytes >> 20));
    }
  }

  void fail(const std::string& why) {
    if (report_.failure.empty()) report_.failure = why;
  }

  loopback::LoopbackXen& xen_;
  const std::vector<GuestPlan>& plans_;
  const backend::BackendOptions& options_;
  spdlog::logger& log_;
  std::unique_ptr<LoopbackHost> host_;
  std::mt19937_64 random_{std::random_device{}()};
  SoakReport report_, warm_;
};

}  // namespace

SoakReport soak(loopback::LoopbackXen& xen, const std::vector<GuestPlan>& plans,
                const backend::BackendOptions& options, spdlog::logger& log,
                std::chrono::seconds time) {
  return Soak(xen, plans, options, log).run(time);
}

}  // namespace xenblk::demo
