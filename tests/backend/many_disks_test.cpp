// What a thousand disks cost a host while nothing happens on them. The processor time is that of
// the whole process: with the guests, the toolstack and XenStore it is more than the backend's.
#include <time.h>

#include <fstream>
#include <vector>

#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint32_t kDisks = 20;  // for what the sanitizers see; the costs are theirs
constexpr bool kCostsCount = false;
#else
constexpr std::uint32_t kDisks = 1000;
constexpr bool kCostsCount = true;
#endif
constexpr DomainId kManyDisksGuest{8};
constexpr double kConnectMsPerDiskMax = 5;
constexpr double kKibPerDiskMax = 128;

double process_seconds() {
  timespec used = {};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

// The guests' memory, rings included, is shared and does not count.
double private_kib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  double kib = 0;
  while (status >> word) {
    if (word == "RssAnon:" && status >> kib) return kib;
  }
  return 0;
}

class ManyDisks : public LoopbackTest {
 protected:
  // As the virtual devices xvda, xvdb and on after the first sixteen (xen-vbd-interface,
  // "Extended").
  static loopback::Disk disk_number(std::uint32_t n) {
    return {.guest = kManyDisksGuest, .params = "null:1G", .device = {(1U << 28U) | (n << 8U)}};
  }
};

TEST_F(ManyDisks, CostLittleWhileTheyAreIdle) {
  const auto guest = xen_.create_domain(kManyDisksGuest, kDisks * 80);
  std::vector<std::unique_ptr<loopback::SimulatedFrontend>> frontends;
  const double kib_before = private_kib();
  const double seconds_before = process_seconds();
  for (std::uint32_t n = 0; n < kDisks; ++n) {
    const auto disk = disk_number(n);
    toolstack_.add_disk(disk);
    frontends.push_back(std::make_unique<loopback::SimulatedFrontend>(
        guest, loopback::FrontendOptions{
                   .device = disk.device, .queue = {.segments_max = 1}, .patience = kPatience}));
    const auto connected = frontends.back()->connect();
    ASSERT_TRUE(connected.has_value()) << n << ": " << describe(connected.error()) << log_text();
  }
  const double ms_each = (process_seconds() - seconds_before) * 1000 / kDisks;
  const double kib_each = (private_kib() - kib_before) / kDisks;
  RecordProperty("connect_cpu_ms_per_disk", std::to_string(ms_each));
  RecordProperty("kib_per_disk", std::to_string(kib_each));
  if (kCostsCount) {
    EXPECT_LT(ms_each, kConnectMsPerDiskMax);
    EXPECT_LT(kib_each, kKibPerDiskMax);
  }
  std::vector<std::byte> sector(kSectorBytes);
  for (auto& frontend : frontends) expect_okay(frontend->read({0}, sector));
}

}  // namespace
}  // namespace xenblk::backend
