// Reads and writes of SimulatedFrontend, one after the other.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "backend/platform/loopback/frontend.h"
#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {

Expected<blkif::Status> SimulatedFrontend::read(SectorIndex first, std::span<std::byte> data) {
  require(data.size() % kSectorBytes == 0, "a guest reads whole sectors");
  while (!data.empty()) {
    FrontendIo& io = *queue().acquire();
    io.op = blkif::Op::read;
    io.first = first;
    io.count = {std::min<std::uint64_t>(data.size() / kSectorBytes, queue().transfer_max().n)};
    const auto status = run_one(io);
    if (!status) return status;
    const std::size_t bytes = io.count.n * kSectorBytes;
    if (*status == blkif::Status::okay) std::memcpy(data.data(), io.data.data(), bytes);
    queue().release(io);
    if (*status != blkif::Status::okay) return status;
    first.n += io.count.n;
    data = data.subspan(bytes);
  }
  return blkif::Status::okay;
}

Expected<blkif::Status> SimulatedFrontend::write(SectorIndex first,
                                                 std::span<const std::byte> data) {
  return send(blkif::Op::write, first, data);
}

Expected<blkif::Status> SimulatedFrontend::write_barrier(SectorIndex first,
                                                         std::span<const std::byte> data) {
  if (data.empty()) return send_empty(blkif::Op::write_barrier, first, {0});
  return send(blkif::Op::write_barrier, first, data);
}

Expected<blkif::Status> SimulatedFrontend::flush() {
  return send_empty(blkif::Op::flush_diskcache, {0}, {0});
}

Expected<blkif::Status> SimulatedFrontend::discard(SectorIndex first, SectorCount count) {
  return send_empty(blkif::Op::discard, first, count);
}

Expected<blkif::Status> SimulatedFrontend::send(blkif::Op op, SectorIndex first,
                                                std::span<const std::byte> data) {
  require(data.size() % kSectorBytes == 0, "a guest writes whole sectors");
  // Barriers have no indirect form.
  const auto most =
      op == blkif::Op::write_barrier
          ? std::min<std::uint64_t>(queue().transfer_max().n, blkif::kMaxSegments * kSectorsPerPage)
          : queue().transfer_max().n;
  while (!data.empty()) {
    FrontendIo& io = *queue().acquire();
    io.op = op;
    io.first = first;
    io.count = {std::min<std::uint64_t>(data.size() / kSectorBytes, most)};
    const std::size_t bytes = io.count.n * kSectorBytes;
    std::memcpy(io.data.data(), data.data(), bytes);
    const auto status = run_one(io);
    if (!status) return status;
    queue().release(io);
    if (*status != blkif::Status::okay) return status;
    first.n += io.count.n;
    data = data.subspan(bytes);
  }
  return blkif::Status::okay;
}

Expected<blkif::Status> SimulatedFrontend::send_empty(blkif::Op op, SectorIndex first,
                                                      SectorCount count) {
  FrontendIo& io = *queue().acquire();
  io.op = op;
  io.first = first;
  io.count = count;
  const auto status = run_one(io);
  if (status) queue().release(io);
  return status;
}

Expected<blkif::Status> SimulatedFrontend::run_one(FrontendIo& io) {
  queue().start(io);
  queue().kick();
  for (;;) {
    if (FrontendIo* const answered = queue().reap()) {
      require(answered == &io, "synchronous calls are not mixed with requests in flight");
      return io.status;
    }
    if (const auto rule = queue().violation()) return fail(Errc::closed, *rule);
    if (!queue().wait_for_answers(options_.patience)) {
      return fail(Errc::closed, fmt::format("{} does not answer", backend_path_));
    }
  }
}

std::optional<std::string> SimulatedFrontend::violation() const {
  for (const auto& queue : queues_) {
    if (auto rule = queue->violation()) return rule;
  }
  return std::nullopt;
}

}  // namespace xenblk::loopback
