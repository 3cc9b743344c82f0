#include "bench/load/data_path.h"

#include <fmt/format.h>

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "backend/platform/loopback/loopback_xen.h"
#include "bench/load/cpu_time.h"
#include "bench/load/guest_disk.h"
#include "bench/load/workers.h"
#include "vhd/image_registry.h"
#include "vhd/image_spec.h"

namespace xenblk::bench {
namespace {

using Time = std::chrono::steady_clock::time_point;
using Disks = std::vector<std::unique_ptr<GuestDisk>>;

Expected<void> check(const Load& load, SectorCount capacity) {
  const auto block = load.block_bytes;
  if (block == 0 || block % kSectorBytes != 0) return fail(Errc::bad_spec, "block size");
  if (capacity.n < block / kSectorBytes) return fail(Errc::bad_spec, "image smaller than a block");
  if (load.queues == 0 || load.disks == 0) return fail(Errc::bad_spec, "no queues or no disks");
  if (load.depth < load.queues) return fail(Errc::bad_spec, "fewer operations than queues");
  if (load.segments == 0 || load.segments > GuestDisk::kMostSegments) {
    return fail(Errc::bad_spec, "segments of a request");
  }
  if (!GuestDisk::fits_rings(load)) return fail(Errc::bad_spec, "more requests than a ring holds");
  return {};
}

Disks make_disks(loopback::LoopbackXen& xen, const Load& load, SectorCount capacity) {
  Disks disks;
  for (std::uint32_t n = 0; n < load.disks; ++n) {
    const DomainId id{static_cast<std::uint16_t>(n + 1)};
    auto guest = xen.create_domain(id, GuestDisk::memory_pages(load));
    disks.push_back(std::make_unique<GuestDisk>(std::move(guest), load, capacity, n + 1));
  }
  return disks;
}

Expected<void> connect_all(Workers& workers, const Disks& disks, const DataPath& path,
                           const std::shared_ptr<Image>& image) {
  std::uint16_t peer = 0;
  unsigned queue = 0;
  for (const auto& disk : disks) {
    ++peer;
    for (auto& offer : disk->offers()) {
      auto setup = setup_of({peer}, path.load, std::move(offer), image);
      setup.persistent_grants = path.persistent_grants;
      if (!path.journal_directory.empty()) {
        setup.journal = ringio::JournalPlace{
            .path = fmt::format("{}/bench-{}-{}", path.journal_directory, peer, queue++)};
      }
      if (auto connected = workers.connect(std::move(setup)); !connected) return connected;
    }
  }
  return {};
}

// All guests at once, each on a thread of its own as on a virtual processor of its own.
Expected<Measurement> run_guests(const Disks& disks, std::chrono::nanoseconds duration) {
  const auto started = std::chrono::steady_clock::now();
  const auto cpu_before = process_cpu();
  std::vector<Driven> driven(disks.size());
  {
    std::vector<std::jthread> guests;
    for (std::size_t n = 0; n < disks.size(); ++n) {
      guests.emplace_back(
          [&, n] { driven[n] = drive(std::span(disks).subspan(n, 1), started + duration); });
    }
  }
  Measurement seen;
  seen.backend_cpu = process_cpu() - cpu_before;
  seen.elapsed = std::chrono::steady_clock::now() - started;
  for (std::size_t n = 0; n < disks.size(); ++n) {
    const auto& breach = driven[n].breach;
    if (!breach.empty()) return fail(Errc::io, fmt::format("guest {}: {}", n, breach));
    seen.operations += disks[n]->seen().operations;
    seen.bytes += disks[n]->seen().bytes;
    seen.errors += disks[n]->seen().errors;
    seen.latency.add(disks[n]->seen().latency);
    seen.backend_cpu -= driven[n].own_cpu;
  }
  return seen;
}

Expected<Measurement> measure_on(const DataPath& path, const std::shared_ptr<Image>& image) {
  if (auto good = check(path.load, image->info().capacity); !good) {
    return std::unexpected(good.error());
  }
  loopback::LoopbackXen xen;
  const auto disks = make_disks(xen, path.load, image->info().capacity);
  auto workers = Workers::start(xen.host(), path.workers, {.polling = path.polling});
  if (!workers) return std::unexpected(workers.error());
  if (auto connected = connect_all(**workers, disks, path, image); !connected) {
    return std::unexpected(connected.error());
  }
  if (path.warm_up.count() > 0) {
    if (auto warm = run_guests(disks, path.warm_up); !warm) return warm;
  }
  return run_guests(disks, path.load.duration);
}

}  // namespace

Expected<Measurement> measure(const DataPath& path) {
  const auto spec = vhd::parse_image_spec(path.image);
  if (!spec) return std::unexpected(spec.error());
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

}  // namespace xenblk::bench
