#include "bench/load/workers.h"

#include <fmt/format.h>

#include <future>

namespace xenblk::bench {

Expected<std::unique_ptr<Workers>> Workers::start(Xen& xen, std::uint32_t count,
                                                  ringio::WorkerOptions options) {
  auto workers = std::unique_ptr<Workers>(new Workers);
  for (std::uint32_t n = 0; n < count; ++n) {
    options.name = fmt::format("bench-{}", n);
    auto worker = ringio::Worker::start(xen, options);
    if (!worker) return std::unexpected(worker.error());
    workers->workers_.push_back(std::move(*worker));
  }
  return workers;
}

Workers::~Workers() {
  for (const auto& [worker, queue] : connected_) {
    std::promise<void> done;
    worker->disconnect(queue, [&done] { done.set_value(); });
    done.get_future().wait();
  }
}

Expected<void> Workers::connect(ringio::QueueSetup setup) {
  auto& worker = *workers_[connected_.size() % workers_.size()];
  std::promise<Expected<ringio::QueueId>> done;
  worker.connect(std::move(setup),
                 [&done](Expected<ringio::QueueId> queue) { done.set_value(std::move(queue)); });
  const auto queue = done.get_future().get();
  if (!queue) return std::unexpected(queue.error());
  connected_.emplace_back(&worker, *queue);
  return {};
}

ringio::QueueSetup setup_of(DomainId peer, const Load& load, GuestDisk::QueueOffer offer,
                            std::shared_ptr<Image> image) {
  ringio::QueueSetup setup;
  setup.peer = peer;
  setup.layout = load.layout;
  setup.ring_refs = std::move(offer.ring_refs);
  setup.remote_port = offer.port;
  setup.access = image->info().access;
  setup.image = std::move(image);
  setup.indirect_segments_max = load.segments > blkif::kMaxSegments ? load.segments : 0;
  return setup;
}

}  // namespace xenblk::bench
