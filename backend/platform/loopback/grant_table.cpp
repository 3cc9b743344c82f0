#include "backend/platform/loopback/grant_table.h"

#include <sys/mman.h>

#include <cstring>

#include "backend/platform/loopback/copy_bytes.h"
#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::loopback {
namespace {

void unpin_all(GuestDomain& guest, std::span<const GrantRef> refs) {
  for (const GrantRef ref : refs) guest.entries().unpin(ref);
}

// The frames of all references, pinned; none when one of them is unusable.
std::optional<std::vector<Frame>> pin_all(GuestDomain& guest, std::span<const GrantRef> refs,
                                          DomainId by, Access access) {
  std::vector<Frame> frames;
  for (const GrantRef ref : refs) {
    const auto frame = guest.entries().pin(ref, by, access);
    if (!frame) {
      unpin_all(guest, refs.first(frames.size()));
      return std::nullopt;
    }
    frames.push_back(*frame);
  }
  return frames;
}

bool in_range(const GrantCopy& segment) {
  return segment.bytes > 0 && segment.offset <= kPageBytes &&
         segment.bytes <= kPageBytes - segment.offset;
}

}  // namespace

LoopbackGrantTable::LoopbackGrantTable(LoopbackXen& xen, Usage& usage, DomainId own)
    : xen_(xen), usage_(usage), own_(own) {
  ++usage_.grant_tables;
}

LoopbackGrantTable::~LoopbackGrantTable() {
  require(mapped_.empty(), "a mapping does not outlive its grant table");
  --usage_.grant_tables;
}

Expected<GrantMapping> LoopbackGrantTable::map(DomainId peer, std::span<const GrantRef> refs,
                                               Access access) {
  const SingleCaller::Inside inside(caller_);
  require(!refs.empty() && refs.size() <= kMaxMapPages, "map takes 1 to kMaxMapPages references");
  ++usage_.map_calls;
  if (xen_.faults().refuse_map.hit()) return fail(Errc::bad_grant, "map refused by the test");
  if (xen_.faults().map_without_memory.hit()) return fail_os(ENOMEM, "map refused by the test");
  auto guest = xen_.find_domain(peer);
  if (guest == nullptr) return fail(Errc::bad_grant, "no such domain");
  const auto frames = pin_all(*guest, refs, own_, access);
  if (!frames) return fail(Errc::bad_grant, "a grant reference is unusable");

  const std::size_t bytes = refs.size() * kPageBytes;
  void* const area = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(area != MAP_FAILED, "the process has address space left");
  auto* const address = static_cast<std::byte*>(area);
  for (std::size_t i = 0; i < frames->size(); ++i) {
    guest->memory().map_at(address + i * kPageBytes, (*frames)[i], access);
  }
  usage_.mapped_pages += refs.size();
  mapped_.emplace(address, Mapped{std::move(guest), {refs.begin(), refs.end()}});
  return GrantMapping(*this, address, refs.size());
}

void LoopbackGrantTable::unmap(std::byte* address, std::size_t pages) noexcept {
  const SingleCaller::Inside inside(caller_);
  const auto found = mapped_.find(address);
  require(found != mapped_.end() && found->second.refs.size() == pages,
          "only what was mapped is unmapped, whole and once");
  require(::munmap(address, pages * kPageBytes) == 0, "a mapping can be unmapped");
  unpin_all(*found->second.guest, found->second.refs);
  usage_.mapped_pages -= pages;
  mapped_.erase(found);
}

void LoopbackGrantTable::release_all() noexcept {
  while (!mapped_.empty()) {
    const auto& [address, mapped] = *mapped_.begin();
    unmap(address, mapped.refs.size());
  }
}

void LoopbackGrantTable::copy(DomainId peer, std::span<GrantCopy> segments,
                              CopyDirection direction) {
  const SingleCaller::Inside inside(caller_);
  ++usage_.copy_calls;
  usage_.copy_segments += segments.size();
  const auto guest = xen_.find_domain(peer);
  for (GrantCopy& segment : segments) {
    if (!in_range(segment)) {
      segment.status = CopyStatus::bad_range;
    } else if (xen_.faults().refuse_copy.hit()) {
      segment.status = xen_.faults().copy_refusal;
    } else {
      segment.status = guest ? copy_one(*guest, segment, direction) : CopyStatus::failed;
    }
  }
}

CopyStatus LoopbackGrantTable::copy_one(GuestDomain& guest, const GrantCopy& segment,
                                        CopyDirection direction) {
  const bool reads = direction == CopyDirection::from_guest;
  const auto wanted = reads ? Access::read_only : Access::read_write;
  const auto frame = guest.entries().pin(segment.ref, own_, wanted);
  if (!frame) return frame.error();
  std::byte* const page = guest.memory().hypervisor_view(*frame) + segment.offset;
  if (reads) {
    copy_from_shared(segment.local, page, segment.bytes);
  } else {
    copy_to_shared(page, segment.local, segment.bytes);
  }
  guest.entries().unpin(segment.ref);
  return CopyStatus::okay;
}

}  // namespace xenblk::loopback
