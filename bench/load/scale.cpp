#include "bench/load/scale.h"

#include <fmt/format.h>

#include <fstream>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "backend/platform/loopback/loopback_xen.h"
#include "bench/load/cpu_time.h"
#include "bench/load/workers.h"
#include "vhd/image_registry.h"
#include "vhd/image_spec.h"

namespace xenblk::bench {
namespace {

// A simulated guest has a table of grants of its own: several disks share one.
constexpr std::uint32_t kDisksPerGuest = 32;
constexpr auto kIdle = std::chrono::milliseconds(500);

using Disks = std::vector<std::unique_ptr<GuestDisk>>;

DomainId guest_of(std::size_t disk) {
  return {static_cast<std::uint16_t>(disk / kDisksPerGuest + 1)};
}

// Memory that belongs to this process alone; the guests' is shared with them.
double private_bytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    std::uint64_t kib = 0;
    if (word == "RssAnon:" && status >> kib) return static_cast<double>(kib) * 1024;
  }
  return 0;
}

Disks make_disks(loopback::LoopbackXen& xen, const Load& load, SectorCount capacity) {
  Disks disks;
  for (std::uint32_t n = 0; n < load.disks; ++n) {
    auto guest = xen.find_domain(guest_of(n));
    if (guest == nullptr) {
      guest = xen.create_domain(guest_of(n), kDisksPerGuest * GuestDisk::memory_pages(load));
    }
    disks.push_back(std::make_unique<GuestDisk>(std::move(guest), load, capacity, n + 1));
  }
  return disks;
}

Expected<void> connect_all(Workers& workers, const Disks& disks, const Load& load,
                           const std::shared_ptr<Image>& image) {
  for (std::size_t n = 0; n < disks.size(); ++n) {
    for (auto& offer : disks[n]->offers()) {
      auto setup = setup_of(guest_of(n), load, std::move(offer), image);
      if (auto connected = workers.connect(std::move(setup)); !connected) return connected;
    }
  }
  return {};
}

double measure_idle() {
  const auto before = process_cpu();
  std::this_thread::sleep_for(kIdle);
  return std::chrono::duration<double>(process_cpu() - before) / kIdle;
}

// All of them from one thread, so that a guest's own cost is the same for one disk and for many.
Expected<Measurement> run_loaded(std::span<const std::unique_ptr<GuestDisk>> disks,
                                 std::chrono::nanoseconds duration) {
  const auto started = std::chrono::steady_clock::now();
  const auto cpu_before = process_cpu();
  const auto driven = drive(disks, started + duration);
  if (!driven.breach.empty()) return fail(Errc::io, driven.breach);
  Measurement seen;
  seen.backend_cpu = process_cpu() - cpu_before - driven.own_cpu;
  seen.elapsed = std::chrono::steady_clock::now() - started;
  for (const auto& disk : disks) {
    seen.operations += disk->seen().operations;
    seen.bytes += disk->seen().bytes;
    seen.errors += disk->seen().errors;
    seen.latency.add(disk->seen().latency);
  }
  return seen;
}

Expected<Scale> measure_on(const DataPath& path, const std::shared_ptr<Image>& image) {
  loopback::LoopbackXen xen;
  const auto disks = make_disks(xen, path.load, image->info().capacity);
  auto workers = Workers::start(xen.host(), path.workers, {.polling = path.polling});
  if (!workers) return std::unexpected(workers.error());
  Scale seen;
  const auto memory_before = private_bytes();
  const auto started = std::chrono::steady_clock::now();
  const auto cpu_before = process_cpu();
  if (auto connected = connect_all(**workers, disks, path.load, image); !connected) {
    return std::unexpected(connected.error());
  }
  seen.connect_each = (std::chrono::steady_clock::now() - started) / path.load.disks;
  seen.connect_cpu_each = (process_cpu() - cpu_before) / path.load.disks;
  seen.memory_bytes_each = (private_bytes() - memory_before) / path.load.disks;
  seen.idle_cpu_share = measure_idle();
  for (auto [measurement, loaded] :
       {std::pair(&seen.one, std::size_t{1}), std::pair(&seen.all, disks.size())}) {
    const auto some = std::span(disks).first(loaded);
    if (auto warm = run_loaded(some, path.warm_up); !warm) return std::unexpected(warm.error());
    auto measured = run_loaded(some, path.load.duration);
    if (!measured) return std::unexpected(measured.error());
    *measurement = *measured;
  }
  return seen;
}

}  // namespace

Expected<Scale> measure_scale(const DataPath& path) {
  const auto spec = vhd::parse_image_spec(path.image);
  if (!spec) return std::unexpected(spec.error());
  if (path.load.disks == 0 || path.load.depth < path.load.queues || path.load.queues == 0) {
    return fail(Errc::bad_spec, "no disks, no queues, or fewer operations than queues");
  }
  vhd::ImageRegistry images;
  const auto access = writes(path.load.pattern) ? Access::read_write : Access::read_only;
  auto image = images.open(*spec, access);
  if (!image) return std::unexpected(image.error());
  auto seen = measure_on(path, *image);
  if (auto closed = images.close(std::move(*image)); !closed && seen) {
    return std::unexpected(closed.error());
  }
  return seen;
}

std::string to_json(const DataPath& path, const Scale& seen) {
  return fmt::format(
      R"({{"disks": {}, "queues": {}, "connect_us": {:.1f}, "connect_cpu_us": {:.1f}, )"
      R"("memory_kib": {:.2f}, "idle_cpu_percent": {:.3f}, "one": {}, "all": {}}})",
      path.load.disks, path.load.queues,
      std::chrono::duration<double, std::micro>(seen.connect_each).count(),
      std::chrono::duration<double, std::micro>(seen.connect_cpu_each).count(),
      seen.memory_bytes_each / 1024, 100 * seen.idle_cpu_share, to_json(seen.one),
      to_json(seen.all));
}

}  // namespace xenblk::bench
