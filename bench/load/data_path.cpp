#include "bench/load/data_path.h"

#include <fmt/format.h>
#include <time.h>

#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "backend/platform/loopback/loopback_xen.h"
#include "bench/load/guest_disk.h"
#include "ringio/worker.h"
#include "vhd/image_registry.h"
#include "vhd/image_spec.h"

namespace xenblk::bench {
namespace {

using Time = std::chrono::steady_clock::time_point;
using Disks = std::vector<std::unique_ptr<GuestDisk>>;

bool writes(Pattern pattern) {
  return pattern != Pattern::read && pattern != Pattern::randread;
}

std::chrono::nanoseconds process_cpu() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

Expected<void> check(const Load& load, SectorCount capacity) {
  const auto block = load.block_bytes;
  if (block == 0 || block % kSectorBytes != 0) return fail(Errc::bad_spec, "block size");
  if (capacity.n < block / kSectorBytes) return fail(Errc::bad_spec, "image smaller than a block");
  if (load.queues == 0 || load.disks == 0) return fail(Errc::bad_spec, "no queues or no disks");
  if (load.depth < load.queues) return fail(Errc::bad_spec, "fewer operations than queues");
  if (!GuestDisk::fits_rings(load)) return fail(Errc::bad_spec, "more requests than a ring holds");
  return {};
}

// The backend: workers with every queue of every disk connected. Disconnects in its destructor, so
// it must be gone before the guests are.
class Backend {
 public:
  static Expected<std::unique_ptr<Backend>> start(Xen& xen, std::uint32_t workers) {
    auto backend = std::unique_ptr<Backend>(new Backend);
    for (std::uint32_t n = 0; n < workers; ++n) {
      auto worker = ringio::Worker::start(xen, {.name = fmt::format("bench-{}", n)});
      if (!worker) return std::unexpected(worker.error());
      backend->workers_.push_back(std::move(*worker));
    }
    return backend;
  }

  ~Backend() {
    for (const auto& [worker, queue] : connected_) {
      std::promise<void> done;
      worker->disconnect(queue, [&done] { done.set_value(); });
      done.get_future().wait();
    }
  }
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  Expected<void> connect(ringio::QueueSetup setup) {
    auto& worker = *workers_[connected_.size() % workers_.size()];
    std::promise<Expected<ringio::QueueId>> done;
    worker.connect(std::move(setup),
                   [&done](Expected<ringio::QueueId> queue) { done.set_value(std::move(queue)); });
    const auto queue = done.get_future().get();
    if (!queue) return std::unexpected(queue.error());
    connected_.emplace_back(&worker, *queue);
    return {};
  }

 private:
  Backend() = default;

  std::vector<std::unique_ptr<ringio::Worker>> workers_;
  std::vector<std::pair<ringio::Worker*, ringio::QueueId>> connected_;
};

Disks make_disks(loopback::LoopbackXen& xen, const Load& load, SectorCount capacity) {
  Disks disks;
  for (std::uint32_t n = 0; n < load.disks; ++n) {
    const DomainId id{static_cast<std::uint16_t>(n + 1)};
    auto guest = xen.create_domain(id, GuestDisk::memory_pages(load));
    disks.push_back(std::make_unique<GuestDisk>(std::move(guest), load, capacity, n + 1));
  }
  return disks;
}

Expected<void> connect_all(Backend& backend, const Disks& disks, const Load& load,
                           const std::shared_ptr<Image>& image) {
  std::uint16_t peer = 0;
  for (const auto& disk : disks) {
    ++peer;
    for (auto& offer : disk->offers()) {
      ringio::QueueSetup setup;
      setup.peer = {peer};
      setup.layout = load.layout;
      setup.ring_refs = std::move(offer.ring_refs);
      setup.remote_port = offer.port;
      setup.image = image;
      setup.access = image->info().access;
      if (auto connected = backend.connect(std::move(setup)); !connected) return connected;
    }
  }
  return {};
}

// All guests at once, each on a thread of its own as on a virtual processor of its own.
Expected<Measurement> run_guests(const Disks& disks, std::chrono::nanoseconds duration) {
  const auto started = std::chrono::steady_clock::now();
  const auto cpu_before = process_cpu();
  std::vector<std::string> breaches(disks.size());
  {
    std::vector<std::jthread> guests;
    for (std::size_t n = 0; n < disks.size(); ++n) {
      guests.emplace_back([&, n] { breaches[n] = disks[n]->run(started + duration); });
    }
  }
  Measurement seen;
  seen.backend_cpu = process_cpu() - cpu_before;
  seen.elapsed = std::chrono::steady_clock::now() - started;
  for (std::size_t n = 0; n < disks.size(); ++n) {
    if (!breaches[n].empty()) return fail(Errc::io, fmt::format("guest {}: {}", n, breaches[n]));
    seen.operations += disks[n]->seen().operations;
    seen.bytes += disks[n]->seen().bytes;
    seen.errors += disks[n]->seen().errors;
    seen.latency.add(disks[n]->seen().latency);
    seen.backend_cpu -= disks[n]->own_cpu();
  }
  return seen;
}

Expected<Measurement> measure_on(const DataPath& path, const std::shared_ptr<Image>& image) {
  if (auto good = check(path.load, image->info().capacity); !good) {
    return std::unexpected(good.error());
  }
  loopback::LoopbackXen xen;
  const auto disks = make_disks(xen, path.load, image->info().capacity);
  auto backend = Backend::start(xen.host(), path.workers);
  if (!backend) return std::unexpected(backend.error());
  if (auto connected = connect_all(**backend, disks, path.load, image); !connected) {
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
