#include "backend/platform/libxen/grant_table.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

namespace xenblk::libxen {

namespace {

// A page that the guest's host has paged out comes back within a few attempts or not at all: the
// kernel itself repeats a mapping, but not a copy.
constexpr int kCopyAttempts = 4;

CopyStatus to_status(std::int16_t status) {
  switch (status) {
    case GNTST_okay:
      return CopyStatus::okay;
    case GNTST_bad_gntref:
      return CopyStatus::bad_ref;
    case GNTST_permission_denied:
      return CopyStatus::permission;
    case GNTST_bad_copy_arg:
      return CopyStatus::bad_range;
    case GNTST_eagain:
      return CopyStatus::again;
    default:
      return CopyStatus::failed;
  }
}

// A segment that crosses a page would make the whole call fail with the rest not done (Linux
// drivers/xen/gntdev.c, gntdev_grant_copy_seg).
bool in_one_page(const GrantCopy& segment) {
  return segment.bytes > 0 && segment.bytes <= kPageBytes &&
         segment.offset <= kPageBytes - segment.bytes;
}

xengnttab_grant_copy_segment_t library_segment(DomainId peer, const GrantCopy& segment,
                                               CopyDirection direction) {
  xengnttab_grant_copy_segment_t result{};
  const bool from_guest = direction == CopyDirection::from_guest;
  auto& guest = from_guest ? result.source : result.dest;
  auto& ours = from_guest ? result.dest : result.source;
  guest.foreign.ref = segment.ref.n;
  guest.foreign.offset = segment.offset;
  guest.foreign.domid = peer.n;
  ours.virt = segment.local;
  result.len = segment.bytes;
  result.flags = from_guest ? GNTCOPY_source_gref : GNTCOPY_dest_gref;
  result.status = GNTST_general_error;
  return result;
}

}  // namespace

Expected<std::unique_ptr<GrantTable>> LibxenGrantTable::open() {
  auto logger = make_quiet_logger();
  Handle handle(xengnttab_open(logger.get(), 0));
  if (!handle) {
    return fail(Errc::unavailable,
                "/dev/xen/gntdev cannot be opened: is this dom0 of a Xen host? "
                "(modprobe xen-gntdev)",
                errno);
  }
  return std::unique_ptr<GrantTable>(new LibxenGrantTable(std::move(logger), std::move(handle)));
}

Expected<GrantMapping> LibxenGrantTable::map(DomainId peer, std::span<const GrantRef> refs,
                                             Access access) {
  if (refs.empty() || refs.size() > kMaxMapPages) {
    return fail(Errc::bad_grant, fmt::format("cannot map {} pages at once", refs.size()));
  }
  std::array<std::uint32_t, kMaxMapPages> numbers;
  std::ranges::transform(refs, numbers.begin(), &GrantRef::n);
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void* address = xengnttab_map_domain_grant_refs(
      handle_.get(), static_cast<std::uint32_t>(refs.size()), peer.n, numbers.data(), protection);
  if (address == nullptr) {
    // EINVAL is what the kernel makes of every reference that the hypervisor refuses.
    const auto code = errno == ENOMEM ? Errc::no_memory : Errc::bad_grant;
    return fail(code,
                fmt::format("mapping {} page(s) of domain {}, the first with grant {}", refs.size(),
                            peer.n, refs[0].n),
                errno);
  }
  return GrantMapping(*this, static_cast<std::byte*>(address), refs.size());
}

void LibxenGrantTable::unmap(std::byte* address, std::size_t pages) noexcept {
  [[maybe_unused]] const int failed =
      xengnttab_unmap(handle_.get(), address, static_cast<std::uint32_t>(pages));
  assert(failed == 0);
}

void LibxenGrantTable::copy(DomainId peer, std::span<GrantCopy> segments, CopyDirection direction) {
  while (!segments.empty()) {
    const auto batch = segments.first(std::min(segments.size(), kCopyBatch));
    copy_staged(stage(peer, batch, direction));
    segments = segments.subspan(batch.size());
  }
}

std::size_t LibxenGrantTable::stage(DomainId peer, std::span<GrantCopy> segments,
                                    CopyDirection direction) {
  std::size_t count = 0;
  for (auto& segment : segments) {
    segment.status = in_one_page(segment) ? CopyStatus::failed : CopyStatus::bad_range;
    if (segment.status == CopyStatus::bad_range) continue;
    staged_[count] = library_segment(peer, segment, direction);
    origin_[count++] = &segment;
  }
  return count;
}

void LibxenGrantTable::copy_staged(std::size_t count) {
  for (int attempt = 0; count > 0 && attempt < kCopyAttempts; ++attempt) {
    run(count);
    // Only those that are to be tried again stay.
    std::size_t left = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (origin_[i]->status != CopyStatus::again) continue;
      staged_[left] = staged_[i];
      origin_[left++] = origin_[i];
    }
    count = left;
  }
}

void LibxenGrantTable::run(std::size_t count) {
  const int failed =
      xengnttab_grant_copy(handle_.get(), static_cast<std::uint32_t>(count), staged_.data());
  for (std::size_t i = 0; i < count; ++i) {
    origin_[i]->status = failed != 0 ? CopyStatus::failed : to_status(staged_[i].status);
  }
}

}  // namespace xenblk::libxen
