// The backend of a benchmark: workers, and every queue that was connected to them in turn.
// Disconnects in its destructor, so it must be gone before the guests are.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "bench/load/guest_disk.h"
#include "ringio/worker.h"
#include "xenblk/error.h"
#include "xenblk/xen.h"

namespace xenblk::bench {

class Workers {
 public:
  static Expected<std::unique_ptr<Workers>> start(Xen& xen, std::uint32_t count,
                                                  ringio::WorkerOptions options = {});
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Returns when the queue is being served.
  Expected<void> connect(ringio::QueueSetup setup);

 private:
  Workers() = default;

  std::vector<std::unique_ptr<ringio::Worker>> workers_;
  std::vector<std::pair<ringio::Worker*, ringio::QueueId>> connected_;
};

ringio::QueueSetup setup_of(DomainId peer, const Load& load, GuestDisk::QueueOffer offer,
                            std::shared_ptr<Image> image);

}  // namespace xenblk::bench
