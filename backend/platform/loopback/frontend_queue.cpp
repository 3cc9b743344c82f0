#include "backend/platform/loopback/frontend_queue.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {
namespace {

bool carries_data(blkif::Op op) {
  return op == blkif::Op::read || op == blkif::Op::write || op == blkif::Op::write_barrier;
}

std::uint32_t indirect_pages_of(std::uint32_t segments) {
  return (segments + blkif::kSegmentsPerIndirectPage - 1) / blkif::kSegmentsPerIndirectPage;
}

std::uint32_t pages_of(SectorCount count) {
  return static_cast<std::uint32_t>((count.n + kSectorsPerPage - 1) / kSectorsPerPage);
}

}  // namespace

FrontendQueue::FrontendQueue(std::shared_ptr<GuestDomain> guest, const QueueOptions& options)
    : guest_(std::move(guest)),
      options_(options),
      ring_(guest_, options.backend, options.layout, options.ring_pages),
      port_(guest_->allocate_port(options.backend)),
      ios_(std::min(options.depth, ring_.entries())) {
  require(options.segments_max <= blkif::kMaxIndirectSegments,
          "a request has at most eight indirect pages");
  const auto count = static_cast<std::uint32_t>(ios_.size());
  const std::size_t bytes = std::size_t{options.segments_max} * kPageBytes;
  const std::size_t indirect = std::size_t{indirect_pages_of(options.segments_max)} * kPageBytes;
  memory_ =
      guest_->allocate_pages(static_cast<std::uint32_t>(count * ((bytes + indirect) / kPageBytes)));
  for (std::uint32_t i = 0; i < count; ++i) {
    ios_[i].id = i;
    ios_[i].data = memory_.subspan(i * (bytes + indirect), bytes);
    ios_[i].indirect_pages = memory_.subspan(i * (bytes + indirect) + bytes, indirect);
    free_.push_back(&ios_[i]);
  }
}

FrontendQueue::~FrontendQueue() {
  bool mapped = false;
  for (FrontendIo& io : ios_) {
    for (const auto* const refs : {&io.refs, &io.indirect_refs}) {
      for (const GrantRef ref : *refs) mapped |= guest_->revoke(ref) == Revoked::still_mapped;
    }
  }
  if (!mapped) guest_->release_pages(memory_);
}

void FrontendQueue::use(Grants grants, std::uint32_t segments_max) {
  require(segments_max >= 1 && segments_max <= options_.segments_max,
          "a queue uses no more segments than it has memory for");
  grants_ = grants;
  segments_max_ = segments_max;
}

FrontendIo* FrontendQueue::acquire() {
  if (free_.empty()) return nullptr;
  FrontendIo* const io = free_.back();
  free_.pop_back();
  return io;
}

void FrontendQueue::start(FrontendIo& io) {
  require(!carries_data(io.op) || io.count.n <= transfer_max().n, "a request fits its buffer");
  if (carries_data(io.op)) grant(io);
  ring_.put(describe(io));
}

void FrontendQueue::grant(FrontendIo& io) {
  // The backend maps persistent grants once for both directions (blkif.h, note 8).
  const bool read_only = grants_ == Grants::per_request && io.op != blkif::Op::read;
  const auto access = read_only ? Access::read_only : Access::read_write;
  while (io.refs.size() < pages_of(io.count)) {
    const std::byte* const page = io.data.data() + io.refs.size() * kPageBytes;
    io.refs.push_back(guest_->grant(page, options_.backend, access));
  }
}

FrontendRequest FrontendQueue::describe(FrontendIo& io) {
  FrontendRequest request{.op = wire(io.op), .id = io.id, .sector = io.first};
  if (io.op == blkif::Op::discard) request.discard_count = io.count;
  if (!carries_data(io.op)) return request;
  if (pages_of(io.count) > blkif::kMaxSegments) {
    fill_indirect(request, io);
  } else {
    request.segments = segments_of(io);
  }
  return request;
}

std::vector<FrontendSegment> FrontendQueue::segments_of(const FrontendIo& io) const {
  std::vector<FrontendSegment> segments;
  for (std::uint64_t left = io.count.n; left > 0;) {
    const auto here = std::min<std::uint64_t>(left, kSectorsPerPage);
    segments.push_back({io.refs.at(segments.size()), 0, static_cast<std::uint8_t>(here - 1)});
    left -= here;
  }
  return segments;
}

void FrontendQueue::fill_indirect(FrontendRequest& request, FrontendIo& io) {
  const auto segments = segments_of(io);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const auto bytes = encode(segments[i]);
    std::ranges::copy(bytes, io.indirect_pages.begin() + static_cast<long>(i * bytes.size()));
  }
  const auto access = grants_ == Grants::persistent ? Access::read_write : Access::read_only;
  const auto pages = indirect_pages_of(static_cast<std::uint32_t>(segments.size()));
  while (io.indirect_refs.size() < pages) {
    const auto* const page = io.indirect_pages.data() + io.indirect_refs.size() * kPageBytes;
    io.indirect_refs.push_back(guest_->grant(page, options_.backend, access));
  }
  request.op = wire(blkif::Op::indirect);
  request.indirect_op = wire(io.op);
  request.indirect_segment_count = static_cast<std::uint16_t>(segments.size());
  std::ranges::copy_n(io.indirect_refs.begin(), pages, request.indirect_refs.begin());
}

void FrontendQueue::kick() {
  if (ring_.publish()) port_->notify();
}

FrontendIo* FrontendQueue::reap() {
  if (violation_) return nullptr;
  const auto response = ring_.take_response();
  if (!response) return nullptr;
  FrontendIo& io = ios_.at(response->id);
  io.status = response->status;
  if (grants_ == Grants::per_request) end_grants(io);
  return violation_ ? nullptr : &io;
}

void FrontendQueue::end_grants(FrontendIo& io) {
  for (const GrantRef ref : io.refs) end_grant(ref);
  for (const GrantRef ref : io.indirect_refs) end_grant(ref);
  io.refs.clear();
  io.indirect_refs.clear();
}

void FrontendQueue::end_grant(GrantRef ref) {
  if (guest_->revoke(ref) == Revoked::ended || violation_) return;
  violation_ = fmt::format("grant {} of an answered request is still mapped", ref.n);
}

bool FrontendQueue::wait_for_answers(const Patience& patience) {
  const auto step = [&] {
    port_->take();
    return ring_.arm() || violation();
  };
  return wait_until(step, port_->fd(), patience);
}

std::optional<std::string> FrontendQueue::violation() const {
  return violation_ ? violation_ : ring_.violation();
}

}  // namespace xenblk::loopback
