#include "bench/load/guest_disk.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <bit>
#include <cassert>

#include "bench/load/cpu_time.h"

namespace xenblk::bench {
namespace {

constexpr DomainId kBackend{0};
// A request that is not answered for so long is lost: an error, not a slow disk.
constexpr int kLostAfterMs = 30'000;

std::uint32_t pages_of(const Load& load) {
  return (load.block_bytes + kPageBytes - 1) / kPageBytes;
}

std::uint32_t requests_of(const Load& load) {
  return (pages_of(load) + load.segments - 1) / load.segments;
}

std::uint32_t tables_of(const Load& load) {
  const bool indirect = std::min(pages_of(load), load.segments) > blkif::kMaxSegments;
  return indirect ? requests_of(load) : 0;
}

std::uint32_t queue_requests_of(const Load& load) {
  return (load.depth + load.queues - 1) / load.queues * requests_of(load);
}

// The smallest ring that holds all requests of one queue, or the largest there is.
std::uint32_t ring_pages_of(const Load& load) {
  for (std::uint32_t pages = 1; pages < blkif::kMaxRingPages; pages *= 2) {
    if (blkif::ring_entries(load.layout, pages) >= queue_requests_of(load)) return pages;
  }
  return blkif::kMaxRingPages;
}

}  // namespace

GuestDisk::GuestDisk(std::shared_ptr<loopback::GuestDomain> guest, const Load& load,
                     SectorCount capacity, std::uint64_t seed)
    : guest_(std::move(guest)), load_(load), sequence_(load, capacity, seed), queues_(load.queues) {
  for (auto& queue : queues_) {
    queue.ring = std::make_unique<loopback::FrontendRing>(guest_, kBackend, load.layout,
                                                          ring_pages_of(load));
    queue.port = guest_->allocate_port(kBackend);
  }
  for (std::uint32_t n = 0; n < load.depth; ++n) add_place(queues_[n % load.queues]);
}

GuestDisk::~GuestDisk() {
  for (auto& place : places_) {
    for (const auto ref : place.refs) guest_->revoke(ref);
    for (const auto ref : place.table_refs) guest_->revoke(ref);
    guest_->release_pages(place.pages);
    if (!place.tables.empty()) guest_->release_pages(place.tables);
  }
}

void GuestDisk::add_place(Queue& queue) {
  Place place;
  place.pages = guest_->allocate_pages(pages_of(load_));
  for (std::uint32_t page = 0; page < pages_of(load_); ++page) {
    const auto* address = place.pages.data() + (std::size_t{page} * kPageBytes);
    place.refs.push_back(guest_->grant(address, kBackend, Access::read_write));
  }
  if (tables_of(load_) != 0) place.tables = guest_->allocate_pages(tables_of(load_));
  for (std::uint32_t table = 0; table < tables_of(load_); ++table) {
    const auto* address = place.tables.data() + (std::size_t{table} * kPageBytes);
    place.table_refs.push_back(guest_->grant(address, kBackend, Access::read_only));
  }
  queue.places.push_back(static_cast<std::uint32_t>(places_.size()));
  places_.push_back(std::move(place));
}

std::uint32_t GuestDisk::memory_pages(const Load& load) {
  return (load.depth * (pages_of(load) + tables_of(load))) + (load.queues * ring_pages_of(load)) +
         1;
}

bool GuestDisk::fits_rings(const Load& load) {
  return queue_requests_of(load) <= blkif::ring_entries(load.layout, ring_pages_of(load));
}

std::vector<GuestDisk::QueueOffer> GuestDisk::offers() const {
  std::vector<QueueOffer> offers;
  for (const auto& queue : queues_) {
    offers.push_back({queue.ring->refs(), queue.port->port()});
  }
  return offers;
}

void GuestDisk::begin(Time now) {
  seen_ = {};
  for (auto& queue : queues_) {
    for (const auto place : queue.places) start(queue, place, now);
    kick(queue);
  }
}

bool GuestDisk::reap(Time end) {
  bool answered = false;
  for (auto& queue : queues_) answered = reap(queue, end) || answered;
  return answered;
}

void GuestDisk::start(Queue& queue, std::uint32_t place_index, Time now) {
  auto& place = places_[place_index];
  const auto operation = sequence_.next();
  place.started = now;
  place.write = operation.write;
  place.failed = false;
  place.requests_left = requests_of(load_);
  ++in_flight_;
  for (std::uint32_t page = 0; page < pages_of(load_); page += load_.segments) {
    const auto first = operation.first.n + (std::uint64_t{page} * kSectorsPerPage);
    put_request(queue, place_index, page, {first});
  }
}

// The request for as many pages of the operation as one may have, from its page `page` on.
void GuestDisk::put_request(Queue& queue, std::uint32_t place_index, std::uint32_t page,
                            SectorIndex first) {
  const auto& place = places_[place_index];
  const auto pages = std::min(load_.segments, pages_of(load_) - page);
  loopback::FrontendRequest request;
  request.op = loopback::wire(place.write ? blkif::Op::write : blkif::Op::read);
  request.id = (std::uint64_t{place_index} << 32U) | page;
  request.sector = first;
  for (std::uint32_t n = page; n < page + pages; ++n) {
    const auto bytes = std::min(kPageBytes, load_.block_bytes - (n * kPageBytes));
    const auto last = static_cast<std::uint8_t>((bytes / kSectorBytes) - 1);
    request.segments.push_back({.ref = place.refs[n], .last_sector = last});
  }
  if (pages > blkif::kMaxSegments) make_indirect(request, place, page);
  queue.ring->put(request);
}

void GuestDisk::make_indirect(loopback::FrontendRequest& request, const Place& place,
                              std::uint32_t page) {
  const std::size_t table = page / load_.segments;
  auto* to = place.tables.data() + (table * kPageBytes);
  for (const auto& segment : request.segments) {
    to = std::ranges::copy(loopback::encode(segment), to).out;
  }
  request.indirect_op = request.op;
  request.op = loopback::wire(blkif::Op::indirect);
  request.indirect_segment_count = static_cast<std::uint16_t>(request.segments.size());
  request.indirect_refs[0] = place.table_refs[table];
}

void GuestDisk::kick(Queue& queue) {
  if (queue.ring->publish()) queue.port->notify();
}

// Takes the answers that are there and starts the next operations. False when there were none.
bool GuestDisk::reap(Queue& queue, Time end) {
  bool answered = false;
  while (const auto response = queue.ring->take_response()) {
    answered = true;
    const auto place_index = static_cast<std::uint32_t>(response->id >> 32U);
    auto& place = places_[place_index];
    place.failed = place.failed || response->status != blkif::Status::okay;
    if (--place.requests_left > 0) continue;
    const auto now = std::chrono::steady_clock::now();
    finish(place, now);
    if (now < end) start(queue, place_index, now);
  }
  if (answered) kick(queue);
  return answered;
}

void GuestDisk::finish(Place& place, Time now) {
  --in_flight_;
  ++seen_.operations;
  seen_.bytes += load_.block_bytes;
  seen_.errors += place.failed ? 1 : 0;
  seen_.latency.add(static_cast<std::uint64_t>((now - place.started).count()));
}

// From here on an event comes with the next answer. True: one is there already.
bool GuestDisk::arm() {
  bool there = false;
  for (auto& queue : queues_) there = queue.ring->arm() || there;
  return there;
}

std::string GuestDisk::breach() const {
  for (const auto& queue : queues_) {
    if (queue.ring->violation()) return *queue.ring->violation();
  }
  return {};
}

class Driver {
 public:
  using Time = GuestDisk::Time;
  using Disks = std::span<const std::unique_ptr<GuestDisk>>;

  explicit Driver(Disks disks) : disks_(disks) {
    for (const auto& disk : disks_) {
      for (const auto& queue : disk->queues_) descriptors_.push_back({queue.port->fd(), POLLIN, 0});
    }
  }

  std::string run(Time end) {
    for (const auto& disk : disks_) disk->begin(std::chrono::steady_clock::now());
    auto answered_at = std::chrono::steady_clock::now();
    while (in_flight() > 0) {
      bool answered = false;
      for (const auto& disk : disks_) answered = disk->reap(end) || answered;
      const auto now = std::chrono::steady_clock::now();
      if (answered) answered_at = now;
      if (answered || now - answered_at < disks_.front()->load_.polling) continue;
      if (auto breach = first_breach(); !breach.empty()) return breach;
      if (!wait()) return fmt::format("{} operations were never answered", in_flight());
    }
    return first_breach();
  }

 private:
  std::uint32_t in_flight() const {
    std::uint32_t all = 0;
    for (const auto& disk : disks_) all += disk->in_flight_;
    return all;
  }

  std::string first_breach() const {
    for (const auto& disk : disks_) {
      if (auto breach = disk->breach(); !breach.empty()) return breach;
    }
    return {};
  }

  // False when nothing came for so long that something must be lost.
  bool wait() {
    bool there = false;
    for (const auto& disk : disks_) there = disk->arm() || there;
    if (there) return true;
    const int ready = ::poll(descriptors_.data(), descriptors_.size(), kLostAfterMs);
    auto descriptor = descriptors_.begin();
    for (const auto& disk : disks_) {
      for (const auto& queue : disk->queues_) {
        if ((descriptor++)->revents != 0) queue.port->take();
      }
    }
    return ready != 0;
  }

  Disks disks_;
  std::vector<pollfd> descriptors_;
};

Driven drive(std::span<const std::unique_ptr<GuestDisk>> disks,
             std::chrono::steady_clock::time_point end) {
  const auto cpu_before = own_thread_cpu();
  auto breach = Driver(disks).run(end);
  return {std::move(breach), own_thread_cpu() - cpu_before};
}

}  // namespace xenblk::bench
