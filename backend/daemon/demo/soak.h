// Guests that come and go for as long as one likes while the backend is replaced under them: what
// a daemon holds must be the same after each round.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/daemon/demo/demo_guest.h"
#include "xenblk/error.h"

namespace xenblk::demo {

struct SoakReport {
  std::uint64_t rounds = 0;
  std::uint64_t restarts = 0;
  std::uint64_t bytes_verified = 0;
  std::size_t descriptors = 0;     // open after the last round
  std::uint64_t memory_bytes = 0;  // resident, as well
  std::string failure;             // empty: everything went well, and nothing has grown
};

// Blocks. Rounds until the time is over, at least four, in each of which every guest of `plans`
// writes and verifies its disk. Meanwhile the backend ends and is followed by the next one at
// random moments, events come twice, and transactions conflict. `options` has a journal directory.
SoakReport soak(loopback::LoopbackXen& xen, const std::vector<GuestPlan>& plans,
                const backend::BackendOptions& options, spdlog::logger& log,
                std::chrono::seconds time);

}  // namespace xenblk::demo
