// The journals of all devices' queues: where they are, and which of them nobody needs any more. The
// data plane writes them (ringio/in_flight_journal.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backend/negotiation/paths.h"
#include "backend/negotiation/session.h"
#include "ringio/journaled_ring.h"
#include "xenblk/error.h"
#include "xenblk/xen.h"

namespace xenblk::backend {

// A value; the loop's thread.
class RingJournals {
 public:
  // Without a directory there are no journals.
  explicit RingJournals(std::string directory) : directory_(std::move(directory)) {}

  bool in_use() const { return !directory_.empty(); }
  // Makes the directory, for its owner alone. Errors: permission, no_space, io.
  Expected<void> prepare() const;

  // "<directory>/vbd-3-51712-0".
  std::string path(const negotiation::DeviceKey& key, std::size_t queue) const;
  // Where a queue of this session has its journal, and what it must say to be taken over.
  std::optional<ringio::JournalPlace> place(const negotiation::DeviceKey& key,
                                            const negotiation::Session& session,
                                            std::size_t queue) const;
  // The frontend has done with the rings, or has yet to make them.
  void remove(const negotiation::DeviceKey& key) const;
  // Those of devices of these kinds that XenStore does not know any more.
  void remove_strays(XenStore& store, const std::vector<std::string>& kinds) const;

 private:
  std::vector<std::string> files() const;
  std::string directory_;
};

}  // namespace xenblk::backend
