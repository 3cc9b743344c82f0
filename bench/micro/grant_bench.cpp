// Moving a request's data to and from a guest: batches of grant copies on the loopback Xen, where a
// copy is a look-up of the grant and a copy of memory, without the hypervisor's entry.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/platform/loopback/guest_domain.h"
#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::bench {
namespace {

constexpr DomainId kGuest{1};

void grant_copy(benchmark::State& state, CopyDirection direction) {
  const auto batch = static_cast<std::uint32_t>(state.range(0));
  loopback::LoopbackXen xen;
  const auto guest = xen.create_domain(kGuest, batch + 1);
  auto table = xen.host().open_grant_table();
  if (!table) return state.SkipWithError("no grant table");
  const auto pages = guest->allocate_pages(batch);
  std::vector<std::byte> local(std::size_t{batch} * kPageBytes);
  std::vector<GrantCopy> copies;
  for (std::uint32_t n = 0; n < batch; ++n) {
    const std::size_t offset = std::size_t{n} * kPageBytes;
    copies.push_back({.ref = guest->grant(pages.data() + offset, {0}, Access::read_write),
                      .bytes = kPageBytes,
                      .local = local.data() + offset});
  }
  for (auto _ : state) (*table)->copy(kGuest, copies, direction);
  if (copies.back().status != CopyStatus::okay) state.SkipWithError("a copy failed");
  state.SetItemsProcessed(state.iterations() * batch);
  for (const auto& copy : copies) guest->revoke(copy.ref);
  guest->release_pages(pages);
}
BENCHMARK_CAPTURE(grant_copy, to_guest, CopyDirection::to_guest)->Arg(1)->Arg(16)->Arg(256);
BENCHMARK_CAPTURE(grant_copy, from_guest, CopyDirection::from_guest)->Arg(1)->Arg(16)->Arg(256);

}  // namespace
}  // namespace xenblk::bench
